// The rows of numeric sequences, mapped from a `.npy` file, as edgeseq/runtime/sequence_rows.py. A
// sequence is named by its place in them: START:STEPS.
#ifndef EDGESEQ_SEQUENCE_ROWS_H
#define EDGESEQ_SEQUENCE_ROWS_H

#include <stddef.h>

#include "tokenizer.h"

typedef struct {
    void *mapped; // NULL while no file is open
    size_t mapped_size;
    const float *numbers; // [num_rows, features]
    size_t num_rows, features;
    const char *path; // for messages; the caller's
} sequence_rows;

// Maps the file, float32 [num_rows, features] as NumPy writes it. Returns -1 with a failure.
int sequence_rows_open(sequence_rows *rows, const char *path);

// The first row and the number of rows of a place. Returns -1 with a failure for a text that is
// none; whether the file has the rows is the caller's question.
int sequence_rows_place(const sequence_rows *rows, text_span place, size_t *start, size_t *steps);

// Whether the file has these rows, at least one.
int sequence_rows_within(const sequence_rows *rows, size_t start, size_t steps);

void sequence_rows_close(sequence_rows *rows);

#endif
