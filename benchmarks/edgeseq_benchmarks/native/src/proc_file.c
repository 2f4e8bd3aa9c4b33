#define _GNU_SOURCE
#include "proc_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

bool proc_open(proc_file *file, const char *path) {
    file->descriptor = open(path, O_RDONLY | O_CLOEXEC);
    file->begin = file->end = 0;
    return file->descriptor >= 0;
}

static bool fill(proc_file *file) {
    memmove(file->buffer, file->buffer + file->begin, file->end - file->begin);
    file->end -= file->begin;
    file->begin = 0;
    // One byte stays free, for the NUL of a last line without an end.
    size_t room = sizeof file->buffer - 1 - file->end;
    if (!room) return false;
    ssize_t size;
    do {
        size = read(file->descriptor, file->buffer + file->end, room);
    } while (size < 0 && errno == EINTR);
    if (size <= 0) return false;
    file->end += (size_t)size;
    return true;
}

char *proc_line(proc_file *file) {
    for (;;) {
        char *line = file->buffer + file->begin;
        char *end = memchr(line, '\n', file->end - file->begin);
        if (end) {
            *end = '\0';
            file->begin = (size_t)(end + 1 - file->buffer);
            return line;
        }
        if (fill(file)) continue;
        if (file->begin == file->end) return NULL;
        file->buffer[file->end] = '\0';
        line = file->buffer + file->begin;
        file->begin = file->end;
        return line;
    }
}

void proc_close(proc_file *file) { close(file->descriptor); }
