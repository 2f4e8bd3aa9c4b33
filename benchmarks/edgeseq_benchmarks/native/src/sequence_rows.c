#define _POSIX_C_SOURCE 200809L
#include "sequence_rows.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "failure.h"

static const char *const FIX = "convert the bundle again";
static const char MAGIC[] = "\x93NUMPY";
static const char BEGINNING[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
enum { MAGIC_SIZE = 6, PREFIX_SIZE = 10, MAX_HEADER = 1 << 16, MAX_DIGITS = 12 };

// A number of at most MAX_DIGITS digits from *at on; moves *at behind it. False without a digit.
static bool read_number(const char **at, const char *end, size_t *number) {
    const char *begin = *at;
    *number = 0;
    while (*at < end && **at >= '0' && **at <= '9' && *at - begin < MAX_DIGITS)
        *number = 10 * *number + (size_t)(*(*at)++ - '0');
    return *at > begin;
}

static bool read_literal(const char **at, const char *end, const char *literal) {
    size_t size = strlen(literal);
    if ((size_t)(end - *at) < size || memcmp(*at, literal, size) != 0) return false;
    *at += size;
    return true;
}

// Reads the header of version 1, which NumPy writes for an array of two axes.
static bool read_header(sequence_rows *rows) {
    const char *bytes = rows->mapped;
    if (rows->mapped_size < PREFIX_SIZE || memcmp(bytes, MAGIC, MAGIC_SIZE) != 0 || bytes[6] != 1)
        return false;
    size_t size = (size_t)(uint8_t)bytes[8] | (size_t)(uint8_t)bytes[9] << 8;
    size_t begin = PREFIX_SIZE + size;
    if (begin > rows->mapped_size || begin % sizeof(float) != 0) return false;
    const char *at = bytes + PREFIX_SIZE, *end = bytes + begin;
    if (!read_literal(&at, end, BEGINNING) || !read_number(&at, end, &rows->num_rows) ||
        !read_literal(&at, end, ", ") || !read_number(&at, end, &rows->features) ||
        !read_literal(&at, end, "), }"))
        return false;
    size_t room = (rows->mapped_size - begin) / sizeof(float);
    rows->numbers = (const float *)(const void *)(bytes + begin);
    return rows->features > 0 && rows->features < MAX_HEADER &&
           rows->num_rows == room / rows->features && room % rows->features == 0 &&
           (rows->mapped_size - begin) % sizeof(float) == 0;
}

int sequence_rows_open(sequence_rows *rows, const char *path) {
    memset(rows, 0, sizeof *rows);
    rows->path = path;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    void *bytes = MAP_FAILED;
    if (descriptor >= 0 && fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) &&
        status.st_size > 0)
        bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (descriptor >= 0) close(descriptor);
    if (bytes != MAP_FAILED) {
        rows->mapped = bytes;
        rows->mapped_size = (size_t)status.st_size;
        if (read_header(rows)) return 0;
        sequence_rows_close(rows);
    }
    fail(FAILURE_BUNDLE, "does not hold rows of numbers", path, FIX);
    return fail_expected("float32 [steps, features]");
}

int sequence_rows_place(const sequence_rows *rows, text_span place, size_t *start, size_t *steps) {
    const char *at = place.bytes, *end = place.bytes + place.size;
    if (read_number(&at, end, start) && read_literal(&at, end, ":") &&
        read_number(&at, end, steps) && at == end)
        return 0;
    fail(FAILURE_BUNDLE, "has an example that names no rows", rows->path, FIX);
    fail_found("%.*s", place.size < 40 ? (int)place.size : 40, place.bytes);
    return fail_expected("START:STEPS");
}

int sequence_rows_within(const sequence_rows *rows, size_t start, size_t steps) {
    return steps > 0 && steps <= rows->num_rows && start <= rows->num_rows - steps;
}

void sequence_rows_close(sequence_rows *rows) {
    if (rows->mapped) munmap(rows->mapped, rows->mapped_size);
    memset(rows, 0, sizeof *rows);
}
