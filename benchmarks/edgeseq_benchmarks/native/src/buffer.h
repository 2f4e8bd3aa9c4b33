/* Memory that is reserved once and taken as it is needed: addresses without pages, made writable
   in steps. Nothing moves, nothing is allocated later, and untouched pages cost nothing. */
#ifndef EDGESEQ_BUFFER_H
#define EDGESEQ_BUFFER_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t *bytes;
    size_t usable, reserved;
} buffer;

int buffer_reserve(buffer *b, size_t size);
int buffer_grow(buffer *b, size_t size);
void buffer_release(buffer *b);

/* Makes at least `size` bytes usable. */
static inline int buffer_need(buffer *b, size_t size)
{
    return size <= b->usable ? 0 : buffer_grow(b, size);
}

#endif
