// Memory in whole pages from the kernel: a page that was never touched costs nothing, growing copies
// nothing, and what is released goes back to the system at once, so that the runner's own memory
// is what it uses and never a heap's leftovers.
#ifndef EDGESEQ_PAGES_H
#define EDGESEQ_PAGES_H

#include <stddef.h>

typedef struct {
    char *bytes;     // page-aligned; NULL while nothing is reserved
    size_t capacity; // bytes; a multiple of the page size
} pages;

// Makes room for at least `size` bytes and keeps the content; new bytes are zero. Pointers into
// the old room are no longer valid. Returns -1 with a failure when the system refuses.
int pages_reserve(pages *memory, size_t size);

// As `pages_reserve` for `count` elements of `size` bytes, with room to grow by doubling.
int pages_reserve_array(pages *memory, size_t count, size_t size);

// Gives everything back.
void pages_release(pages *memory);

#endif
