#define _DEFAULT_SOURCE /* mmap(2), O_CLOEXEC */

#include "buffer.h"

#include <sys/mman.h>

#include "status.h"

/* Small: less than a huge page, which the kernel would fill at the first touch. */
enum { FIRST_BYTES = 1 << 16 };

int buffer_reserve(buffer *b, size_t size)
{
    size = (size + FIRST_BYTES - 1) / FIRST_BYTES * FIRST_BYTES;
    void *bytes = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == MAP_FAILED)
        return status_fail("no address space for %zu bytes of the tokenizer", size);
    *b = (buffer){bytes, 0, size};
    return buffer_grow(b, 1);
}

int buffer_grow(buffer *b, size_t size)
{
    if (size > b->reserved)
        return status_fail("the text is too long once it is normalized");
    size_t usable = b->usable ? b->usable : FIRST_BYTES;
    while (usable < size)
        usable *= 2;
    if (usable > b->reserved)
        usable = b->reserved;
    if (mprotect(b->bytes, usable, PROT_READ | PROT_WRITE) != 0)
        return status_fail("no memory for a text of this length");
    b->usable = usable;
    return STATUS_OK;
}

void buffer_release(buffer *b)
{
    if (b->bytes)
        munmap(b->bytes, b->reserved);
    *b = (buffer){0};
}
