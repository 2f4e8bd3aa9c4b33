// The measuring loop: one text at a time, each step timed, as bench/probes/query_timer.py; and
// what it keeps of each query, in memory that is reserved before a pass begins.
#ifndef EDGESEQ_RECORDER_H
#define EDGESEQ_RECORDER_H

#include <stddef.h>
#include <stdint.h>

#include "command.h"
#include "json_writer.h"
#include "pages.h"
#include "steps.h"

typedef struct {
    int64_t text, tokens, tokenize_ns, inference_ns, decode_ns, total_ns;
} query_record;

typedef struct {
    pages records; // query_record [count]
    size_t count;
    // The predictions of each text's first run, one after the other, and where each ends.
    pages values, ends;
    size_t num_values, num_texts;
    pages is_inconsistent; // a byte for each text that got another prediction later
} recorder;

// Now, in ns of CLOCK_MONOTONIC.
int64_t clock_ns(void);

// A text of a command as the steps take it.
query_input command_input(const command *from, size_t number);

// Runs the texts of a range in order and appends their times. `steps` NULL: runs nothing, which is
// the time that the loop adds to each query.
int recorder_run(recorder *record, const command *from, text_range texts, steps *steps);

// A packed column of all queries, as a string: `offset` is that of a field of `query_record`.
void recorder_write_column(const recorder *record, json_writer *writer, size_t offset);

// The columns as an object.
void recorder_write_columns(const recorder *record, json_writer *writer);

// The packed predictions of all texts, and the numbers of the inconsistent ones, as arrays.
void recorder_write_predictions(const recorder *record, json_writer *writer);
void recorder_write_inconsistent(const recorder *record, json_writer *writer);

void recorder_release(recorder *record);

#endif
