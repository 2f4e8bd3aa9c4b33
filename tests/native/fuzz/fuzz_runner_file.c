/* A hostile runner.bin: opened, asked for everything, and used on a few texts.

   libFuzzer; seeds are runner files of small tokenizers (tests/native/fuzz_seeds.py). The header is
   mended, so that changes of length reach what lies behind it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"
#include "runner_file.h"
#include "tokenizer.h"

static const char *const TEXTS[] = {
    "the quick [MASK] fox don't 12 3,4!",
    "Caf\xC3\xA9 e\xCC\x81\xCC\xA3 \xEA\xB0\x80\xEA\xB0\x81 \xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8",
    "\xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80 \t\r\n \xC2\xA0x",
    "[P] she [/P] <mask>  unbelievableunbelievableunbelievableunbelievableunbelievable",
    "\xFF",
    "",
};
enum { NUM_TEXTS = sizeof TEXTS / sizeof *TEXTS };

static volatile size_t sink; /* so that nothing is left out */

static void use_settings(const runner_file *file)
{
    const runner_settings *settings = runner_file_settings(file);
    size_t total = strlen(settings->bundle_name) + strlen(settings->task) +
                            strlen(settings->signature_key);
    for (uint32_t i = 0; i < settings->num_labels; i++)
        total += strlen(runner_file_label(file, i));
    for (uint32_t i = 0; i < settings->num_inputs; i++)
        total += strlen(runner_file_input(file, i).name);
    for (uint32_t i = 0; i < settings->num_outputs; i++)
        total += strlen(runner_file_output(file, i).name);
    for (uint32_t i = 0; i < settings->num_special_before + settings->num_special_after; i++)
        total += (size_t)settings->special_ids[i];
    size_t num_scores = ((size_t)settings->num_labels + 2) * settings->num_labels;
    for (size_t i = 0; settings->transitions && i < num_scores; i++)
        total += settings->transitions[i] > 0;
    if (runner_file_label(file, settings->num_labels) ||
        runner_file_input(file, settings->num_inputs).name ||
        runner_file_output(file, settings->num_outputs).name)
        abort();
    sink = total;
}

static void check_encoding(const runner_file *file, const encoding *out)
{
    for (size_t i = 0; i < out->count; i++)
        if (out->ids[i] < 0 ||
            (uint32_t)out->ids[i] >= runner_file_settings(file)->vocabulary_size)
            abort();
}

static void use_tokenizer(const runner_file *file)
{
    tokenizer *t;
    if (tokenizer_open(&t, file))
        return;
    text_span spans[NUM_TEXTS];
    encoding out;
    for (size_t i = 0; i < NUM_TEXTS; i++) {
        spans[i] = (text_span){TEXTS[i], strlen(TEXTS[i])};
        if (tokenizer_encode(t, spans[i], i % 3 * 4, &out) == 0)
            check_encoding(file, &out);
        if (tokenizer_encode_exact(t, spans[i], 5, &out) == 0)
            check_encoding(file, &out);
    }
    if (tokenizer_encode_words(t, spans, NUM_TEXTS - 2, &out) == 0)
        check_encoding(file, &out);
    for (int32_t id = -2; id < 40; id++)
        tokenizer_token(t, id);
    tokenizer_token(t, INT32_MAX);
    tokenizer_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    runner_file *file;
    uint8_t *bytes = malloc(size ? size : 1); /* exactly as long, so that reading behind is seen */
    memcpy(bytes, data, size);
    if (size >= sizeof(header_record)) {
        header_record header;
        memcpy(&header, bytes, sizeof header);
        memcpy(header.magic, "edgeseqR", 8);
        header.version = FORMAT_VERSION;
        header.num_sections = SECTION_COUNT;
        header.size = size;
        memcpy(bytes, &header, sizeof header);
    }
    if (runner_file_from_memory(&file, bytes, size) == 0) {
        use_settings(file);
        use_tokenizer(file);
        runner_file_close(file);
    }
    free(bytes);
    return 0;
}
