#include "line_reader.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "failure.h"

enum { FIRST_BYTES = 1 << 14, KEEP_BYTES = 1 << 16 };

// Reads more; 1 when something came, 0 at the end, -1 with a failure.
static int fill(line_reader *reader) {
    if (reader->begin) {
        memmove(reader->bytes.bytes, reader->bytes.bytes + reader->begin,
                reader->used - reader->begin);
        reader->used -= reader->begin;
        reader->begin = 0;
    }
    if (reader->used >= reader->limit) {
        fail(FAILURE_DEVICE, "is too long a line", "stdin", NULL);
        return fail_expected("<= %zu bytes", reader->limit);
    }
    if (pages_reserve_array(&reader->bytes, reader->used + FIRST_BYTES, 1)) return -1;
    ssize_t size;
    do {
        size = read(reader->descriptor, reader->bytes.bytes + reader->used,
                    reader->bytes.capacity - reader->used);
    } while (size < 0 && errno == EINTR);
    if (size <= 0) return 0;
    reader->used += (size_t)size;
    return 1;
}

int line_read(line_reader *reader, char **line, size_t *size) {
    size_t searched = 0; // from `begin` on
    for (;;) {
        size_t held = reader->used - reader->begin;
        char *start = held ? reader->bytes.bytes + reader->begin : NULL;
        char *end = held > searched ? memchr(start + searched, '\n', held - searched) : NULL;
        if (end) {
            *line = start;
            *size = (size_t)(end - start);
            reader->begin += *size + 1;
            return 1;
        }
        searched = held;
        int filled = fill(reader);
        if (filled < 0) return -1;
        if (filled) continue;
        *line = reader->bytes.bytes + reader->begin;
        *size = held;
        reader->begin = reader->used;
        return held > 0;
    }
}

void line_release(line_reader *reader) {
    if (reader->begin < reader->used || reader->bytes.capacity <= KEEP_BYTES) return;
    reader->begin = reader->used = 0;
    pages_release(&reader->bytes);
}
