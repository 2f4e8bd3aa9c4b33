#include "white_space.h"

// The size of the white space at `at`, 0 where there is none. Everything but ASCII begins with the
// bytes C2, E1, E2 or E3.
static size_t space_size(text_span text, size_t at) {
    const unsigned char *bytes = (const unsigned char *)text.bytes + at;
    size_t left = text.size - at;
    unsigned char first = bytes[0];
    if (first < 0x80) return first == ' ' || (first >= 9 && first <= 13) ||
                             (first >= 28 && first <= 31);
    if (left >= 2 && first == 0xc2) return bytes[1] == 0x85 || bytes[1] == 0xa0 ? 2 : 0;
    if (left < 3) return 0;
    if (first == 0xe1) return bytes[1] == 0x9a && bytes[2] == 0x80 ? 3 : 0; // U+1680
    if (first == 0xe3) return bytes[1] == 0x80 && bytes[2] == 0x80 ? 3 : 0; // U+3000
    if (first != 0xe2) return 0;
    if (bytes[1] == 0x81) return bytes[2] == 0x9f ? 3 : 0; // U+205F
    // U+2000 to U+200A, U+2028, U+2029, U+202F
    int is_space = bytes[2] <= 0x8a || bytes[2] == 0xa8 || bytes[2] == 0xa9 || bytes[2] == 0xaf;
    return bytes[1] == 0x80 && is_space ? 3 : 0;
}

size_t white_space_end(text_span text, size_t at) {
    size_t size;
    while (at < text.size && (size = space_size(text, at)) > 0) at += size;
    return at;
}

size_t white_space_begin(text_span text, size_t at) {
    while (at < text.size && space_size(text, at) == 0) at++;
    return at;
}
