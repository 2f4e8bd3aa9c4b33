#include "utf8.h"

#include <string.h>

static size_t ascii_size(const uint8_t *bytes, size_t size)
{
    size_t i = 0;
    uint64_t eight;
    for (; i + sizeof eight <= size; i += sizeof eight) {
        memcpy(&eight, bytes + i, sizeof eight);
        if (eight & UINT64_C(0x8080808080808080))
            break;
    }
    while (i < size && bytes[i] < 0x80)
        i++;
    return i;
}

bool utf8_is_ascii(const uint8_t *bytes, size_t size)
{
    return ascii_size(bytes, size) == size;
}

/* The size of the code point that begins here, 0 where none does. */
static size_t code_size(const uint8_t *p, size_t left)
{
    size_t size = p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF5 ? 4 : 0;
    if (size == 0 || size > left)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    /* Longer than need be, a surrogate, or beyond U+10FFFF. */
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] >= 0xA0) ||
        (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] >= 0x90))
        return 0;
    return size;
}

size_t utf8_valid_size(const uint8_t *bytes, size_t size)
{
    size_t i = 0;
    while ((i += ascii_size(bytes + i, size - i)) < size) {
        size_t step = code_size(bytes + i, size - i);
        if (step == 0)
            break;
        i += step;
    }
    return i;
}
