#define _GNU_SOURCE
#include "predict_words.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "failure.h"
#include "white_space.h"

// The bytes of the code point at `at`; texts are valid UTF-8.
static size_t code_size(text_span text, size_t at) {
    unsigned char first = (unsigned char)text.bytes[at];
    size_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    return size <= text.size - at ? size : text.size - at;
}

static bool is_letter(text_span text, size_t at) {
    const unsigned char *bytes = (const unsigned char *)text.bytes + at;
    unsigned char first = bytes[0];
    if (first < 0x80)
        return (first >= '0' && first <= '9') || (first >= 'a' && first <= 'z') ||
               (first >= 'A' && first <= 'Z') || first == '_';
    if (white_space_begin(text, at) == at) return false;
    if (code_size(text, at) < 3) return first != 0xc2; // U+0080 to U+00BF are signs
    bool is_general = first == 0xe2 && (bytes[1] == 0x80 || (bytes[1] == 0x81 && bytes[2] < 0xb0));
    return !is_general && !(first == 0xe3 && bytes[1] == 0x80);
}

// The size of a sign that joins two parts of a word, 0 where there is none.
static size_t joint_size(text_span text, size_t at) {
    char byte = text.bytes[at];
    if (byte == '\'' || byte == '.' || byte == '-') return 1;
    bool is_apostrophe = text.size - at >= 3 && memcmp(text.bytes + at, "\xe2\x80\x99", 3) == 0;
    return is_apostrophe ? 3 : 0;
}

static size_t word_end(text_span text, size_t at) {
    if (!is_letter(text, at)) return at + code_size(text, at);
    for (;;) {
        while (at < text.size && is_letter(text, at)) at += code_size(text, at);
        size_t joint = at < text.size ? joint_size(text, at) : 0;
        if (!joint || at + joint >= text.size || !is_letter(text, at + joint)) return at;
        at += joint;
    }
}

int predict_words_split(text_span text, pages *words, size_t *count) {
    size_t at = 0;
    *count = 0;
    while ((at = white_space_end(text, at)) < text.size) {
        size_t end = word_end(text, at);
        if (pages_reserve_array(words, *count + 1, sizeof(text_span))) return -1;
        ((text_span *)(void *)words->bytes)[(*count)++] = (text_span){text.bytes + at, end - at};
        at = end;
    }
    return 0;
}

// How often `sign` is in a text; `*place` is where it is first.
static int count_signs(text_span text, const char *sign, size_t *place) {
    int count = 0;
    size_t size = strlen(sign);
    for (size_t at = 0; at + size <= text.size; at++)
        if (memcmp(text.bytes + at, sign, size) == 0 && count++ == 0) *place = at;
    return count;
}

int predict_words_check_marked(text_span text, const char *where) {
    static const char *const NAMES[] = {"P", "A", "B"};
    for (size_t index = 0; index < 3; index++) {
        char opening[8], closing[8];
        size_t begin = 0, end = 0;
        snprintf(opening, sizeof opening, "[%s]", NAMES[index]);
        snprintf(closing, sizeof closing, "[/%s]", NAMES[index]);
        int openings = count_signs(text, opening, &begin);
        int closings = count_signs(text, closing, &end);
        if (openings == 1 && closings == 1 && begin < end) continue;
        fail(FAILURE_DEVICE, "a mention must be marked once", where,
             "write for example: [A] Ada [/A] met [B] Eve [/B] when [P] she [/P] came");
        fail_found("%s %d times, %s %d times", opening, openings, closing, closings);
        return fail_expected("%s … %s", opening, closing);
    }
    return 0;
}
