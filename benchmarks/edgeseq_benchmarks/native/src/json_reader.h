// A reader of JSON values in a line that is held in memory. Strings are decoded where they stand
// (a decoded string is never longer), so a text is held once.
#ifndef EDGESEQ_JSON_READER_H
#define EDGESEQ_JSON_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tokenizer.h"

typedef struct {
    char *begin, *at, *end;
    bool is_first; // nothing of the innermost object or array was read
} json_reader;

// All functions return 0, or -1 with a failure that says what was expected at which byte.

json_reader json_read(char *bytes, size_t size);

// Objects: `json_object`, then `json_member` until `*more` is false, a value after each name.
int json_object(json_reader *reader);
int json_member(json_reader *reader, bool *more, text_span *name);

// Arrays: `json_array`, then `json_element` until `*more` is false, a value after each.
int json_array(json_reader *reader);
int json_element(json_reader *reader, bool *more);

// A string of valid UTF-8; escapes of lone surrogates are refused.
int json_string(json_reader *reader, text_span *text);
int json_integer(json_reader *reader, int64_t *value);
int json_boolean(json_reader *reader, bool *value);

// Whether the next value is a string, which is not read.
bool json_is_string(json_reader *reader);

// Reads past one value of any kind, nested at most 64 deep.
int json_skip(json_reader *reader);

// The end of the line: nothing but white space may follow.
int json_end(json_reader *reader);

#endif
