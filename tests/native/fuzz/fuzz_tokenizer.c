/* Arbitrary texts for a sound tokenizer: EDGESEQ_RUNNER_BIN names its runner.bin.

   libFuzzer. The first byte of an input chooses the call, the second the longest length; words are
   divided by newlines. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner_file.h"
#include "status.h"
#include "tokenizer.h"

enum { WORDS_LIMIT = 4096 };

static runner_file *file;
static tokenizer *t;

static void open_file(void)
{
    const char *path = getenv("EDGESEQ_RUNNER_BIN");
    if (!path || runner_file_open(&file, path) || tokenizer_open(&t, file)) {
        fprintf(stderr, "%s\n", path ? status_message() : "EDGESEQ_RUNNER_BIN is not set");
        exit(2);
    }
}

static void check_encoding(const encoding *out, size_t limit)
{
    const runner_settings *settings = runner_file_settings(file);
    if (limit >= settings->num_special_before + settings->num_special_after && limit > 0 &&
        out->count > limit)
        abort();
    for (size_t i = 0; i < out->count; i++)
        if (out->ids[i] < 0 || (uint32_t)out->ids[i] >= settings->vocabulary_size)
            abort();
}

static void encode_words(const char *text, size_t size)
{
    static text_span words[WORDS_LIMIT];
    size_t count = 0;
    encoding out;
    for (const char *at = text, *end = text + size; at <= end && count < WORDS_LIMIT;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        words[count++] = (text_span){at, (size_t)(stop - at)};
        at = stop + 1;
    }
    if (tokenizer_encode_words(t, words, count, &out))
        return;
    check_encoding(&out, 0);
    int32_t last = -1;
    for (size_t i = 0; i < out.count; i++) {
        if (out.words[i] < -1 || out.words[i] >= (int32_t)count)
            abort();
        if (out.words[i] >= 0 && out.words[i] < last)
            abort();
        last = out.words[i] >= 0 ? out.words[i] : last;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!t)
        open_file();
    if (size < 2)
        return 0;
    encoding out;
    const size_t limit = data[1];
    /* A copy that is exactly as long, so that reading behind it is seen. */
    char *text = malloc(size - 2 ? size - 2 : 1);
    memcpy(text, data + 2, size - 2);
    const text_span span = {text, size - 2};
    if (data[0] % 3 == 0)
        encode_words(text, size - 2);
    else if (data[0] % 3 == 1 && tokenizer_encode(t, span, limit, &out) == 0)
        check_encoding(&out, limit);
    else if (data[0] % 3 == 2 && tokenizer_encode_exact(t, span, limit, &out) == 0)
        check_encoding(&out, limit);
    free(text);
    return 0;
}
