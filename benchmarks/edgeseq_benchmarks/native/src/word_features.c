#include "word_features.h"

#include <stdbool.h>
#include <stddef.h>

#include "utf8.h"

enum { AFFIX_LENGTH = 3, RUN_LENGTH = 4 };

// Every `step`-th code point from `first` to `last` is upper case; its lower case is `offset`
// further.
typedef struct {
    uint32_t first, last, step;
    int32_t offset;
} case_range;

// Latin, Greek, Cyrillic and Armenian capitals.
static const case_range UPPER_CASE[] = {
    {0x41, 0x5A, 1, 32},    {0xC0, 0xD6, 1, 32},    {0xD8, 0xDE, 1, 32},
    {0x100, 0x12E, 2, 1},   {0x132, 0x136, 2, 1},   {0x139, 0x147, 2, 1},
    {0x14A, 0x176, 2, 1},   {0x178, 0x178, 1, -121}, {0x179, 0x17D, 2, 1},
    {0x386, 0x386, 1, 38},  {0x388, 0x38A, 1, 37},  {0x38C, 0x38C, 1, 64},
    {0x38E, 0x38F, 1, 63},  {0x391, 0x3A1, 1, 32},  {0x3A3, 0x3AB, 1, 32},
    {0x400, 0x40F, 1, 80},  {0x410, 0x42F, 1, 32},  {0x531, 0x556, 1, 48},
    {0x1E00, 0x1E94, 2, 1}, {0x1EA0, 0x1EFE, 2, 1},
};

// First and last code points that stand for themselves in a shape.
static const uint32_t SIGNS[][2] = {
    {0x00, 0x2F}, {0x3A, 0x40}, {0x5B, 0x60},     {0x7B, 0xBF},
    {0xD7, 0xD7}, {0xF7, 0xF7}, {0x2000, 0x2BFF}, {0x3000, 0x303F},
};

// FNV-1a of 32 bits (Fowler, Noll & Vo).
static const uint32_t FNV_OFFSET = 2166136261u, FNV_PRIME = 16777619u;

static uint32_t lower_case(uint32_t code) {
    for (size_t index = 0; index < sizeof UPPER_CASE / sizeof *UPPER_CASE; index++) {
        const case_range *range = &UPPER_CASE[index];
        if (code < range->first) break; // the ranges rise
        if (code <= range->last && (code - range->first) % range->step == 0)
            return (uint32_t)((int32_t)code + range->offset);
    }
    return code;
}

static uint32_t shape_of(uint32_t code, uint32_t lower) {
    if (lower != code) return 'X';
    if (code >= '0' && code <= '9') return 'd';
    for (size_t index = 0; index < sizeof SIGNS / sizeof *SIGNS; index++)
        if (code >= SIGNS[index][0] && code <= SIGNS[index][1]) return code;
    return 'x';
}

static uint32_t add_code(uint32_t hash, uint32_t code) {
    uint8_t bytes[4];
    size_t size = utf8_put(bytes, code);
    for (size_t index = 0; index < size; index++) hash = (hash ^ bytes[index]) * FNV_PRIME;
    return hash;
}

static uint32_t hash_shape(text_span word) {
    const uint8_t *at = (const uint8_t *)word.bytes, *end = at + word.size;
    uint32_t hash = FNV_OFFSET, last = UINT32_MAX;
    size_t run = 0;
    while (at < end) {
        uint32_t code = utf8_next(&at), sign = shape_of(code, lower_case(code));
        run = sign == last ? run + 1 : 1;
        last = sign;
        if (run <= RUN_LENGTH) hash = add_code(hash, sign);
    }
    return hash;
}

// The first code points from `at` on, in lower case.
static uint32_t hash_affix(const uint8_t *at, const uint8_t *end) {
    uint32_t hash = FNV_OFFSET;
    for (size_t count = 0; at < end && count < AFFIX_LENGTH; count++)
        hash = add_code(hash, lower_case(utf8_next(&at)));
    return hash;
}

void word_features_rows(text_span word, uint32_t num_rows, int32_t *rows) {
    const uint8_t *begin = (const uint8_t *)word.bytes, *end = begin + word.size, *suffix = end;
    for (size_t count = 0; suffix > begin && count < AFFIX_LENGTH; count++)
        suffix = utf8_previous(suffix);
    const uint32_t hashes[WORD_FEATURES] = {hash_shape(word), hash_affix(begin, end),
                                            hash_affix(suffix, end)};
    for (uint32_t feature = 0; feature < WORD_FEATURES; feature++)
        rows[feature] = (int32_t)(1 + feature * num_rows + hashes[feature] % num_rows);
}
