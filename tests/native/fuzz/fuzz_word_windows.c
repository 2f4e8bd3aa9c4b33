// Words in windows of any length by a hostile runner.bin: each word has its place in a window.
#include <stdlib.h>
#include <string.h>

#include "runner_file.h"
#include "tokenizer.h"
#include "word_windows.h"

static const char *const TEXTS[] = {
    "the teapot was lovely",
    "",
    "na\xc3\xafve \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x98\x80 [A] Ada [/A] [B] Eve [/B] [P] she [/P]",
    "a\x01 b\xc2\xa0\x63 ''' 1234567 engines unheard-of",
};

// Each token of a window has three rows of the table.
static void check_rows(const runner_settings *settings, const windowed_text *windowed,
                       size_t window) {
    int64_t last = 3 * (int64_t)settings->word_feature_rows;
    if (!windowed->word_rows != !last) abort();
    for (size_t at = window ? windowed->ends[window - 1] : 0; last && at < windowed->ends[window];
         at++)
        for (size_t feature = 0; feature < 3; feature++)
            if (windowed->word_rows[3 * at + feature] < 0 ||
                windowed->word_rows[3 * at + feature] > last)
                abort();
}

static void divide_words(tokenizer *tokenizer, const runner_settings *settings, text_span text) {
    word_encoder encoder;
    windowed_text windowed;
    const text_span *words;
    size_t count;
    for (size_t max_tokens = 1; max_tokens < 40; max_tokens *= 3) {
        word_encoder_open(&encoder, tokenizer, settings, max_tokens);
        if (word_encoder_split(&encoder, text, &words, &count) == 0 &&
            word_encoder_encode(&encoder, words, count, &windowed) == 0)
            for (size_t word = 0; word < windowed.num_words; word++) {
                size_t window = (size_t)windowed.inputs[word];
                if (window >= windowed.num_windows) abort();
                size_t begin = window ? windowed.ends[window - 1] : 0;
                int32_t token = windowed.tokens[word];
                if (token >= 0 && begin + (size_t)token >= windowed.ends[window]) abort();
                check_rows(settings, &windowed, window);
            }
        word_encoder_close(&encoder);
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t size) {
    runner_file *file = NULL;
    tokenizer *tokenizer = NULL;
    void *copy = malloc(size + 1); // aligned for every type
    if (!copy) return 0;
    memcpy(copy, bytes, size);
    if (runner_file_from_memory(&file, copy, size) == 0) {
        if (tokenizer_open(&tokenizer, file) == 0) {
            for (size_t index = 0; index < sizeof TEXTS / sizeof *TEXTS; index++) {
                text_span text = {TEXTS[index], strlen(TEXTS[index])};
                divide_words(tokenizer, runner_file_settings(file), text);
            }
            tokenizer_close(tokenizer);
        }
        runner_file_close(file);
    }
    free(copy);
    return 0;
}
