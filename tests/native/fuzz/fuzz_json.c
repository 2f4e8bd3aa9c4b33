// Any bytes as a JSON value: what is read as a string must be the same after it was written and
// read again.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json_reader.h"
#include "json_writer.h"

static void check_again(text_span text) {
    static json_writer writer;
    static char line[1 << 22];
    int ends[2];
    text_span again;
    if (text.size > 8000 || pipe(ends)) return; // what a pipe holds
    writer_begin(&writer, ends[1]);
    writer_string(&writer, text.bytes, text.size);
    if (writer_end_line(&writer)) abort();
    ssize_t size = read(ends[0], line, sizeof line);
    close(ends[0]);
    close(ends[1]);
    json_reader reader = json_read(line, size < 0 ? 0 : (size_t)size);
    if (json_string(&reader, &again) || json_end(&reader)) abort();
    if (again.size != text.size || memcmp(again.bytes, text.bytes, text.size) != 0) abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t size) {
    char *copy = malloc(size + 1); // a byte too far is found by the sanitizer
    if (!copy) return 0;
    memcpy(copy, bytes, size);
    json_reader reader = json_read(copy, size);
    text_span text;
    int64_t number;
    bool flag;
    if (json_is_string(&reader)) {
        if (json_string(&reader, &text) == 0) check_again(text);
    } else if (size && bytes[0] == 'i') {
        reader.at++;
        json_integer(&reader, &number);
    } else if (size && bytes[0] == 'b') {
        reader.at++;
        json_boolean(&reader, &flag);
    } else if (json_skip(&reader) == 0) {
        json_end(&reader);
    }
    free(copy);
    return 0;
}
