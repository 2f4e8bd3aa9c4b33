// A writer of JSON to a file descriptor, through a buffer of fixed size: a reply of megabytes takes
// no more memory than one of bytes.
#ifndef EDGESEQ_JSON_WRITER_H
#define EDGESEQ_JSON_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pages.h"

enum { WRITER_BUFFER_BYTES = 8192 };

typedef struct {
    int descriptor;
    bool needs_comma, has_failed;
    size_t used;
    // Bytes that wait for the rest of a group of three in base64.
    unsigned char group[3];
    size_t group_size;
    char buffer[WRITER_BUFFER_BYTES];
    bool is_held;
    pages held; // what is held back: [0, held_size)
    size_t held_size;
} json_writer;

void writer_begin(json_writer *writer, int descriptor);

// From here on to the end of the line nothing is written, so that a reply can still become another
// one: `writer_drop` forgets it.
void writer_hold(json_writer *writer);
void writer_drop(json_writer *writer);

void writer_open(json_writer *writer, char bracket);
void writer_close(json_writer *writer, char bracket);
void writer_name(json_writer *writer, const char *name);

// Bytes that are not UTF-8 become U+FFFD.
void writer_string(json_writer *writer, const char *bytes, size_t size);
void writer_text(json_writer *writer, const char *text);
void writer_integer(json_writer *writer, int64_t value);
// With 17 digits, which are read back as the same number; NaN and infinity are null, as msgspec
// has them.
void writer_number(json_writer *writer, double value);
void writer_boolean(json_writer *writer, bool value);
void writer_null(json_writer *writer);

// A string of base64 (RFC 4648, padded), as msgspec writes bytes.
void writer_base64_begin(json_writer *writer);
void writer_base64_add(json_writer *writer, const void *bytes, size_t size);
void writer_base64_end(json_writer *writer);

// Members of an object.
void writer_text_member(json_writer *writer, const char *name, const char *text);
void writer_integer_member(json_writer *writer, const char *name, int64_t value);

// Ends the line and writes what is left. Returns -1 when the other end has closed.
int writer_end_line(json_writer *writer);

#endif
