// Any valid text: its words follow each other, leave out white space alone and lose nothing.
#include <stdlib.h>

#include "predict_words.h"
#include "utf8.h"
#include "white_space.h"

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t size) {
    static pages words;
    char *copy = malloc(size + 1);
    if (!copy) return 0;
    __builtin_memcpy(copy, bytes, size);
    text_span text = {copy, utf8_valid_size((const uint8_t *)copy, size)};
    size_t count = 0, at = 0;
    if (predict_words_split(text, &words, &count)) abort();
    const text_span *spans = (const text_span *)(const void *)words.bytes;
    for (size_t word = 0; word < count; word++) {
        at = white_space_end(text, at);
        if (spans[word].bytes != text.bytes + at || !spans[word].size) abort();
        at += spans[word].size;
    }
    if (white_space_end(text, at) != text.size) abort();
    predict_words_check_marked(text, "text 1");
    free(copy);
    return 0;
}
