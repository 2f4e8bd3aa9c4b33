// Lines of a descriptor, of any length up to a limit.
#ifndef EDGESEQ_LINE_READER_H
#define EDGESEQ_LINE_READER_H

#include <stddef.h>

#include "pages.h"

typedef struct {
    int descriptor;
    size_t limit;
    pages bytes;
    size_t begin, used; // what was read and not yet given: [begin, used)
} line_reader;

// The next line without its end; a last one may lack it. Returns 1 for a line, 0 at the end of the
// input, -1 with a failure. The line may be written to and is valid until the next call.
int line_read(line_reader *reader, char **line, size_t *size);

// Gives back the memory of a line that was long, unless more was read already.
void line_release(line_reader *reader);

#endif
