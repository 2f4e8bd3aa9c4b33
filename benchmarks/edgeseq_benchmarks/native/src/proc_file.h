// Lines of a file below /proc, read through a buffer on the stack: reading the memory of a process
// must not add to it.
#ifndef EDGESEQ_PROC_FILE_H
#define EDGESEQ_PROC_FILE_H

#include <stdbool.h>
#include <stddef.h>

enum { PROC_LINE_BYTES = 4608 }; // an address range and a path of PATH_MAX

typedef struct {
    int descriptor;
    size_t begin, end;
    char buffer[2 * PROC_LINE_BYTES];
} proc_file;

bool proc_open(proc_file *file, const char *path);

// The next line without its end, valid until the next call; NULL at the end of the file. What
// does not fit into a line is given as lines of its own.
char *proc_line(proc_file *file);

void proc_close(proc_file *file);

#endif
