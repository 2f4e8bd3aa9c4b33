#define _GNU_SOURCE
#include "pages.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "failure.h"

static int refuse(size_t size) {
    fail(FAILURE_DEVICE, "is out of memory", "this machine", "free memory, or raise the limit");
    return fail_found("%zu more bytes are needed", size);
}

int pages_reserve(pages *memory, size_t size) {
    if (size <= memory->capacity) return 0;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (size > SIZE_MAX / 2 - page) return refuse(size);
    size_t capacity = (size + page - 1) / page * page;
    void *bytes;
    if (memory->bytes)
        bytes = mremap(memory->bytes, memory->capacity, capacity, MREMAP_MAYMOVE);
    else
        bytes = mmap(NULL, capacity, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == MAP_FAILED) return refuse(size);
    memory->bytes = bytes;
    memory->capacity = capacity;
    return 0;
}

int pages_reserve_array(pages *memory, size_t count, size_t size) {
    if (size && count > SIZE_MAX / 4 / size) return refuse(SIZE_MAX);
    size_t needed = count * size;
    if (needed <= memory->capacity) return 0;
    size_t doubled = memory->capacity > SIZE_MAX / 4 ? needed : memory->capacity * 2;
    return pages_reserve(memory, needed > doubled ? needed : doubled);
}

void pages_release(pages *memory) {
    if (memory->bytes) munmap(memory->bytes, memory->capacity);
    memory->bytes = NULL;
    memory->capacity = 0;
}
