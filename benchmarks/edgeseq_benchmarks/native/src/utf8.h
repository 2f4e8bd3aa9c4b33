/* UTF-8 that was checked once, as code points. */
#ifndef EDGESEQ_UTF8_H
#define EDGESEQ_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many bytes from the start are UTF-8 (RFC 3629: shortest forms, no surrogates). */
size_t utf8_valid_size(const uint8_t *bytes, size_t size);

bool utf8_is_ascii(const uint8_t *bytes, size_t size);

/* The code point at *at, which moves behind it; the bytes are valid. */
static inline uint32_t utf8_next(const uint8_t **at)
{
    const uint8_t *p = *at;
    uint32_t c = p[0];
    if (c < 0x80) {
        *at = p + 1;
        return c;
    }
    if (c < 0xE0) {
        *at = p + 2;
        return (c & 0x1F) << 6 | (p[1] & 0x3Fu);
    }
    if (c < 0xF0) {
        *at = p + 3;
        return (c & 0x0F) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    }
    *at = p + 4;
    return (c & 0x07) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
}

/* Where the code point before `at` begins; there is one. */
static inline const uint8_t *utf8_previous(const uint8_t *at)
{
    do
        at--;
    while ((*at & 0xC0) == 0x80);
    return at;
}

/* Writes at most 4 bytes and returns their number. */
static inline size_t utf8_put(uint8_t *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xC0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xE0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (c & 0x3F));
    return 4;
}

#endif
