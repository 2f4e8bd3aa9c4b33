#define _GNU_SOURCE
#include "page_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json_writer.h"

void page_cache_evict(const char *path) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    close(descriptor);
}

// The resident pages of a mapping, whose addresses are never read.
static int64_t count_resident(char *bytes, int64_t size) {
    enum { STEP = 4096 }; // pages per call
    int64_t page = sysconf(_SC_PAGESIZE), resident = 0;
    unsigned char states[STEP];
    for (int64_t at = 0; at < size; at += STEP * page) {
        int64_t part = size - at < STEP * page ? size - at : STEP * page;
        if (mincore(bytes + at, (size_t)part, states)) return 0;
        for (int64_t index = 0; index < (part + page - 1) / page; index++)
            resident += states[index] & 1;
    }
    return resident * page;
}

int64_t page_cache_resident_bytes(const char *path, int64_t *size_bytes) {
    struct stat found;
    int64_t resident = 0;
    *size_bytes = 0;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return 0;
    if (fstat(descriptor, &found) == 0 && S_ISREG(found.st_mode) && found.st_size > 0) {
        size_t size = (size_t)found.st_size;
        *size_bytes = (int64_t)size;
        char *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (bytes != MAP_FAILED) {
            resident = count_resident(bytes, *size_bytes);
            munmap(bytes, size);
        }
    }
    close(descriptor);
    return resident;
}

int page_cache_main(int count, char **paths) {
    static json_writer writer;
    writer_begin(&writer, STDOUT_FILENO);
    for (int index = 0; index < count; index++) page_cache_evict(paths[index]);
    writer_open(&writer, '{');
    writer_name(&writer, "files");
    writer_open(&writer, '[');
    for (int index = 0; index < count; index++) {
        int64_t size, resident = page_cache_resident_bytes(paths[index], &size);
        writer_open(&writer, '{');
        writer_text_member(&writer, "path", paths[index]);
        writer_integer_member(&writer, "size_bytes", size);
        writer_integer_member(&writer, "resident_bytes", resident);
        writer_close(&writer, '}');
    }
    writer_close(&writer, ']');
    writer_close(&writer, '}');
    return writer_end_line(&writer) ? 1 : 0;
}
