#include "json_reader.h"

#include <string.h>

#include "failure.h"
#include "utf8.h"

enum { MAX_DEPTH = 64 };

static int refuse(const json_reader *reader, const char *expected) {
    fail(FAILURE_DEVICE, "is not a command", "stdin", NULL);
    fail_found("another byte at %zu", (size_t)(reader->at - reader->begin));
    return fail_expected("%s", expected);
}

json_reader json_read(char *bytes, size_t size) {
    return (json_reader){.begin = bytes, .at = bytes, .end = bytes + size, .is_first = true};
}

static void skip_space(json_reader *reader) {
    while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\t' ||
                                        *reader->at == '\n' || *reader->at == '\r'))
        reader->at++;
}

// The next byte that is not white space, or NUL at the end, which no value begins with.
static char peek(json_reader *reader) {
    skip_space(reader);
    return reader->at < reader->end ? *reader->at : '\0';
}

static int expect(json_reader *reader, char byte, const char *expected) {
    if (peek(reader) != byte) return refuse(reader, expected);
    reader->at++;
    return 0;
}

int json_object(json_reader *reader) {
    if (expect(reader, '{', "an object")) return -1;
    reader->is_first = true;
    return 0;
}

int json_array(json_reader *reader) {
    if (expect(reader, '[', "an array")) return -1;
    reader->is_first = true;
    return 0;
}

// At the next entry of an object or array, or past its end.
static int next_entry(json_reader *reader, char closing, bool *more) {
    char byte = peek(reader);
    if (byte == closing) {
        reader->at++;
        reader->is_first = *more = false;
        return 0;
    }
    if (!reader->is_first && expect(reader, ',', "a comma or the end")) return -1;
    reader->is_first = false;
    *more = true;
    return 0;
}

int json_member(json_reader *reader, bool *more, text_span *name) {
    if (next_entry(reader, '}', more)) return -1;
    if (!*more) return 0;
    return json_string(reader, name) || expect(reader, ':', "a colon") ? -1 : 0;
}

int json_element(json_reader *reader, bool *more) { return next_entry(reader, ']', more); }

static int hex_digits(const char *at, uint32_t *value) {
    *value = 0;
    for (int index = 0; index < 4; index++) {
        char digit = at[index];
        uint32_t number;
        if (digit >= '0' && digit <= '9')
            number = (uint32_t)(digit - '0');
        else if (digit >= 'a' && digit <= 'f')
            number = (uint32_t)(digit - 'a' + 10);
        else if (digit >= 'A' && digit <= 'F')
            number = (uint32_t)(digit - 'A' + 10);
        else
            return -1;
        *value = *value << 4 | number;
    }
    return 0;
}

// The four digits after \u, and a second escape where they are the first half of a pair.
static int read_code(json_reader *reader, uint32_t *code) {
    if (reader->end - reader->at < 4 || hex_digits(reader->at, code))
        return refuse(reader, "four hexadecimal digits");
    reader->at += 4;
    if (*code < 0xd800 || *code > 0xdfff) return 0;
    uint32_t low = 0;
    if (*code > 0xdbff || reader->end - reader->at < 6 || reader->at[0] != '\\' ||
        reader->at[1] != 'u' || hex_digits(reader->at + 2, &low) || low < 0xdc00 || low > 0xdfff)
        return refuse(reader, "both halves of a surrogate pair");
    reader->at += 6;
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return 0;
}

static int read_escape(json_reader *reader, char **out) {
    static const char NAMES[] = "\"\\/bfnrt", VALUES[] = "\"\\/\b\f\n\r\t";
    if (reader->at >= reader->end) return refuse(reader, "an escaped character");
    char name = *reader->at++;
    if (name == 'u') {
        uint32_t code = 0;
        if (read_code(reader, &code)) return -1;
        *out += utf8_put((uint8_t *)*out, code);
        return 0;
    }
    const char *found = name ? strchr(NAMES, name) : NULL;
    if (!found) return refuse(reader, "an escaped character");
    *(*out)++ = VALUES[found - NAMES];
    return 0;
}

int json_string(json_reader *reader, text_span *text) {
    if (expect(reader, '"', "a string")) return -1;
    char *start = reader->at, *out = start;
    while (reader->at < reader->end && *reader->at != '"') {
        unsigned char byte = (unsigned char)*reader->at;
        if (byte < 0x20) return refuse(reader, "no control character");
        reader->at++;
        if (byte != '\\')
            *out++ = (char)byte;
        else if (read_escape(reader, &out))
            return -1;
    }
    if (reader->at >= reader->end) return refuse(reader, "the end of a string");
    reader->at++;
    size_t size = (size_t)(out - start);
    if (utf8_valid_size((const uint8_t *)start, size) != size) return refuse(reader, "text in UTF-8");
    *text = (text_span){start, size};
    return 0;
}

bool json_is_string(json_reader *reader) { return peek(reader) == '"'; }

int json_integer(json_reader *reader, int64_t *value) {
    bool is_negative = peek(reader) == '-';
    if (is_negative) reader->at++;
    const char *first = reader->at;
    uint64_t number = 0;
    while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9') {
        uint64_t digit = (uint64_t)(*reader->at++ - '0');
        if (number > (UINT64_MAX - digit) / 10) return refuse(reader, "an integer of 64 bits");
        number = number * 10 + digit;
    }
    if (reader->at == first || number > (uint64_t)INT64_MAX)
        return refuse(reader, "an integer of 64 bits");
    if (reader->at < reader->end && (*reader->at == '.' || *reader->at == 'e' || *reader->at == 'E'))
        return refuse(reader, "an integer");
    *value = is_negative ? -(int64_t)number : (int64_t)number;
    return 0;
}

static int read_word(json_reader *reader, const char *word) {
    size_t size = strlen(word);
    if ((size_t)(reader->end - reader->at) < size || memcmp(reader->at, word, size) != 0)
        return refuse(reader, "a value");
    reader->at += size;
    return 0;
}

int json_boolean(json_reader *reader, bool *value) {
    *value = peek(reader) == 't';
    return read_word(reader, *value ? "true" : "false");
}

static int skip_number(json_reader *reader) {
    const char *first = reader->at;
    while (reader->at < reader->end && *reader->at && strchr("+-0123456789.eE", *reader->at))
        reader->at++;
    return reader->at == first ? refuse(reader, "a value") : 0;
}

static int skip_value(json_reader *reader, int depth) {
    if (depth > MAX_DEPTH) return refuse(reader, "less nesting");
    char byte = peek(reader);
    text_span text;
    bool more = true;
    if (byte == '"') return json_string(reader, &text);
    if (byte == 't') return read_word(reader, "true");
    if (byte == 'f') return read_word(reader, "false");
    if (byte == 'n') return read_word(reader, "null");
    if (byte != '{' && byte != '[') return skip_number(reader);
    reader->at++;
    reader->is_first = true;
    while (more) {
        int failed = byte == '{' ? json_member(reader, &more, &text) : json_element(reader, &more);
        if (failed || (more && skip_value(reader, depth + 1))) return -1;
    }
    return 0;
}

int json_skip(json_reader *reader) { return skip_value(reader, 0); }

int json_end(json_reader *reader) {
    skip_space(reader);
    return reader->at == reader->end ? 0 : refuse(reader, "the end of the line");
}
