/* Counts what the runner's own code asks of the allocator and of the kernel for memory while it
   answers: after the first answer nothing of the heap, and no mapping for a text that is no longer
   than one before.

   allocations LIBRARY BUNDLE < texts, one per line. Prints "heap N mappings N" of a second pass.
   Linked with --wrap for each of the functions below, which libraries do not go through. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "failure.h"
#include "line_reader.h"
#include "litert.h"
#include "session.h"

static size_t heap_calls, mapping_calls;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *bytes, size_t size);
void *__real_mmap(void *at, size_t size, int rights, int flags, int descriptor, off_t offset);
void *__real_mremap(void *old, size_t old_size, size_t size, int flags, ...);
int __real_mprotect(void *bytes, size_t size, int rights);

void *__wrap_malloc(size_t size)
{
    heap_calls++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    heap_calls++;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *bytes, size_t size)
{
    heap_calls++;
    return __real_realloc(bytes, size);
}

void *__wrap_mmap(void *at, size_t size, int rights, int flags, int descriptor, off_t offset)
{
    mapping_calls++;
    return __real_mmap(at, size, rights, flags, descriptor, offset);
}

void *__wrap_mremap(void *old, size_t old_size, size_t size, int flags, ...)
{
    mapping_calls++;
    return __real_mremap(old, old_size, size, flags);
}

int __wrap_mprotect(void *bytes, size_t size, int rights)
{
    mapping_calls++;
    return __real_mprotect(bytes, size, rights);
}

static int load(session *own, const char *bundle)
{
    static char runner[4096], model[4096];
    static text_span labels[64];
    snprintf(runner, sizeof runner, "%s/runner.bin", bundle);
    snprintf(model, sizeof model, "%s/model.tflite", bundle);
    if (session_open_tokenizer(own, runner))
        return -1;
    const runner_settings *settings = runner_file_settings(own->file);
    for (uint32_t index = 0; index < settings->num_labels && index < 64; index++) {
        const char *label = runner_file_label(own->file, index);
        labels[index] = (text_span){label, strlen(label)};
    }
    steps_settings steps = {
        .model_path = model,
        .signature_key = settings->signature_key,
        .input_name = "input_ids",
        .output_name = "logits",
        .head = settings->head,
        .max_tokens = settings->max_tokens,
        .num_logits = settings->num_logits,
        .threads = 1,
        .span_labels = labels,
        .num_span_labels = settings->span_labels ? settings->num_labels : 0,
    };
    return session_open_model(own, &steps);
}

int main(int count, char **arguments)
{
    static session own;
    static query_input texts[4096];
    static char bytes[1 << 20];
    size_t num_texts = 0;
    if (count != 3 || litert_open(arguments[1]) || load(&own, arguments[2])) {
        failure_print(stderr);
        return 1;
    }
    size_t size = fread(bytes, 1, sizeof bytes, stdin);
    for (char *line = bytes; line < bytes + size && num_texts < 4096;) {
        char *end = memchr(line, '\n', (size_t)(bytes + size - line));
        if (!end)
            break;
        texts[num_texts++] = (query_input){.text = {line, (size_t)(end - line)}};
        line = end + 1;
    }
    for (int pass = 0; pass < 2; pass++) {
        size_t heap = 0;
        mapping_calls = 0;
        for (size_t number = 0; number < num_texts; number++) {
            classes found;
            if (steps_tokenize(&own.steps, &texts[number]) || steps_infer(&own.steps) ||
                steps_decode(&own.steps, &found)) {
                failure_print(stderr);
                return 1;
            }
            if (pass == 0 && number == 0)
                heap_calls = 0; /* from the first answer on */
            heap = heap_calls;
        }
        if (pass == 1)
            printf("texts %zu heap %zu mappings %zu\n", num_texts, heap, mapping_calls);
    }
    return 0;
}
