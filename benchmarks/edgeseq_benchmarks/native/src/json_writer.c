#include "json_writer.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "utf8.h"

void writer_begin(json_writer *writer, int descriptor) {
    writer->descriptor = descriptor;
    writer->needs_comma = writer->has_failed = writer->is_held = false;
    writer->used = writer->group_size = writer->held_size = 0;
    writer->held = (pages){NULL, 0};
}

static void write_all(json_writer *writer, const char *bytes, size_t size) {
    while (size && !writer->has_failed) {
        ssize_t written = write(writer->descriptor, bytes, size);
        if (written > 0) {
            bytes += written;
            size -= (size_t)written;
        } else if (errno != EINTR) {
            writer->has_failed = true;
        }
    }
}

static void flush(json_writer *writer) {
    if (!writer->is_held)
        write_all(writer, writer->buffer, writer->used);
    else if (pages_reserve_array(&writer->held, writer->held_size + writer->used, 1))
        writer->has_failed = true;
    else
        memcpy(writer->held.bytes + writer->held_size, writer->buffer, writer->used);
    if (writer->is_held && !writer->has_failed) writer->held_size += writer->used;
    writer->used = 0;
}

void writer_hold(json_writer *writer) { writer->is_held = true; }

void writer_drop(json_writer *writer) {
    writer->is_held = writer->needs_comma = false;
    writer->used = writer->held_size = 0;
    pages_release(&writer->held);
}

static void put(json_writer *writer, const char *bytes, size_t size) {
    while (size) {
        if (writer->used == sizeof writer->buffer) flush(writer);
        size_t room = sizeof writer->buffer - writer->used;
        size_t part = size < room ? size : room;
        memcpy(writer->buffer + writer->used, bytes, part);
        writer->used += part;
        bytes += part;
        size -= part;
    }
}

static void put_text(json_writer *writer, const char *text) { put(writer, text, strlen(text)); }

static void begin_value(json_writer *writer) {
    if (writer->needs_comma) put(writer, ",", 1);
    writer->needs_comma = true;
}

void writer_open(json_writer *writer, char bracket) {
    begin_value(writer);
    put(writer, &bracket, 1);
    writer->needs_comma = false;
}

void writer_close(json_writer *writer, char bracket) {
    put(writer, &bracket, 1);
    writer->needs_comma = true;
}

void writer_name(json_writer *writer, const char *name) {
    writer_text(writer, name);
    put(writer, ":", 1);
    writer->needs_comma = false;
}

// A run of bytes that are valid UTF-8, with what JSON must not hold escaped.
static void put_escaped(json_writer *writer, const char *bytes, size_t size) {
    size_t plain = 0;
    for (size_t at = 0; at < size; at++) {
        unsigned char byte = (unsigned char)bytes[at];
        if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
        put(writer, bytes + plain, at - plain);
        plain = at + 1;
        char escape[8];
        if (byte == '"' || byte == '\\')
            snprintf(escape, sizeof escape, "\\%c", byte);
        else
            snprintf(escape, sizeof escape, "\\u%04x", byte);
        put_text(writer, escape);
    }
    put(writer, bytes + plain, size - plain);
}

void writer_string(json_writer *writer, const char *bytes, size_t size) {
    begin_value(writer);
    put(writer, "\"", 1);
    while (size) {
        size_t valid = utf8_valid_size((const uint8_t *)bytes, size);
        put_escaped(writer, bytes, valid);
        bytes += valid;
        size -= valid;
        if (!size) break;
        put_text(writer, "\xef\xbf\xbd");
        bytes++;
        size--;
    }
    put(writer, "\"", 1);
}

void writer_text(json_writer *writer, const char *text) {
    writer_string(writer, text, strlen(text));
}

void writer_integer(json_writer *writer, int64_t value) {
    begin_value(writer);
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", (long long)value);
    put_text(writer, digits);
}

void writer_number(json_writer *writer, double value) {
    if (!isfinite(value)) {
        writer_null(writer);
        return;
    }
    begin_value(writer);
    char digits[40];
    snprintf(digits, sizeof digits, "%.17g", value);
    // Without a point it would be read as an integer, which has no negative zero.
    if (!strpbrk(digits, ".e")) strcat(digits, ".0");
    put_text(writer, digits);
}

void writer_boolean(json_writer *writer, bool value) {
    begin_value(writer);
    put_text(writer, value ? "true" : "false");
}

void writer_null(json_writer *writer) {
    begin_value(writer);
    put_text(writer, "null");
}

static void put_group(json_writer *writer) {
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *group = writer->group;
    char digits[4] = {
        DIGITS[group[0] >> 2],
        DIGITS[(group[0] & 3) << 4 | group[1] >> 4],
        writer->group_size > 1 ? DIGITS[(group[1] & 15) << 2 | group[2] >> 6] : '=',
        writer->group_size > 2 ? DIGITS[group[2] & 63] : '=',
    };
    put(writer, digits, sizeof digits);
    memset(writer->group, 0, sizeof writer->group);
    writer->group_size = 0;
}

void writer_base64_begin(json_writer *writer) {
    begin_value(writer);
    put(writer, "\"", 1);
    memset(writer->group, 0, sizeof writer->group);
    writer->group_size = 0;
}

void writer_base64_add(json_writer *writer, const void *bytes, size_t size) {
    const unsigned char *content = bytes;
    for (size_t at = 0; at < size; at++) {
        writer->group[writer->group_size++] = content[at];
        if (writer->group_size == sizeof writer->group) put_group(writer);
    }
}

void writer_base64_end(json_writer *writer) {
    if (writer->group_size) put_group(writer);
    put(writer, "\"", 1);
}

void writer_text_member(json_writer *writer, const char *name, const char *text) {
    writer_name(writer, name);
    writer_text(writer, text);
}

void writer_integer_member(json_writer *writer, const char *name, int64_t value) {
    writer_name(writer, name);
    writer_integer(writer, value);
}

int writer_end_line(json_writer *writer) {
    put(writer, "\n", 1);
    if (writer->held_size) write_all(writer, writer->held.bytes, writer->held_size);
    writer->is_held = false;
    flush(writer);
    writer_drop(writer);
    return writer->has_failed ? -1 : 0;
}
