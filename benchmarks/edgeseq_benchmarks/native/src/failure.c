#define _POSIX_C_SOURCE 200809L
#include "failure.h"

#include <stdarg.h>
#include <string.h>

#include "status.h"

static _Thread_local failure current;

static void copy_part(char *part, size_t size, const char *text) {
    size_t length = text ? strnlen(text, size - 1) : 0;
    if (length) memcpy(part, text, length);
    part[length] = '\0';
    // One line per failure, whatever a file or a library put into it.
    for (char *at = part; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f) *at = ' ';
}

int fail(failure_kind kind, const char *what, const char *where, const char *fix) {
    current.kind = kind;
    copy_part(current.what, sizeof current.what, what);
    copy_part(current.where, sizeof current.where, where);
    copy_part(current.fix, sizeof current.fix, fix);
    current.found[0] = current.expected[0] = '\0';
    return -1;
}

static void format_part(char *part, size_t size, const char *format, va_list values) {
    char text[512];
    vsnprintf(text, sizeof text, format, values);
    copy_part(part, size, text);
}

int fail_found(const char *format, ...) {
    va_list values;
    va_start(values, format);
    format_part(current.found, sizeof current.found, format, values);
    va_end(values);
    return -1;
}

int fail_expected(const char *format, ...) {
    va_list values;
    va_start(values, format);
    format_part(current.expected, sizeof current.expected, format, values);
    va_end(values);
    return -1;
}

int fail_status(failure_kind kind, const char *what, const char *where) {
    fail(kind, what, where, NULL);
    return fail_found("%s", status_message());
}

void failure_set_where(const char *where) {
    if (!current.where[0]) copy_part(current.where, sizeof current.where, where);
}

const failure *current_failure(void) { return &current; }

void failure_format(char *line, size_t size) {
    const char *parts[][2] = {{current.where[0] ? ": " : "", current.what[0] ? current.what : "failed"},
                              {"; found ", current.found},
                              {"; expected ", current.expected},
                              {"; ", current.fix}};
    size_t used = (size_t)snprintf(line, size, "%s", current.where);
    for (size_t index = 0; index < sizeof parts / sizeof *parts && used < size; index++)
        if (parts[index][1][0])
            used += (size_t)snprintf(line + used, size - used, "%s%s", parts[index][0],
                                     parts[index][1]);
}

void failure_print(FILE *stream) {
    char line[FAILURE_LINE_BYTES];
    failure_format(line, sizeof line);
    fprintf(stream, "edgeseq-runner: %s\n", line);
}
