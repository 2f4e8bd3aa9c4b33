// Failures: one line for a person, in the parts that the protocol's `CommandError` has.
#ifndef EDGESEQ_FAILURE_H
#define EDGESEQ_FAILURE_H

#include <stdio.h>

typedef enum { FAILURE_BUNDLE, FAILURE_DEVICE } failure_kind;

// The parts of a message; an empty string is an absent part.
typedef struct {
    failure_kind kind;
    char what[160];
    char where[512];
    char found[400];
    char expected[256];
    char fix[160];
} failure;

// Begins a failure (any part may be NULL) and returns -1, so that a function can `return fail(…)`.
// Each thread has its own current failure.
int fail(failure_kind kind, const char *what, const char *where, const char *fix);

// Adds what was found, or what was expected, to the current failure; both return -1.
int fail_found(const char *format, ...) __attribute__((format(printf, 1, 2)));
int fail_expected(const char *format, ...) __attribute__((format(printf, 1, 2)));

// A failure whose reason is the line of the last status (status.h).
int fail_status(failure_kind kind, const char *what, const char *where);

// Sets where the current failure lies, unless it says so already.
void failure_set_where(const char *where);

const failure *current_failure(void);

enum { FAILURE_LINE_BYTES = 1600 }; // room for all parts

// The current failure as one line: `WHERE: WHAT; found F; expected E; FIX`, cut at `size`.
void failure_format(char *line, size_t size);

// The same to `stream`, behind the program's name.
void failure_print(FILE *stream);

#endif
