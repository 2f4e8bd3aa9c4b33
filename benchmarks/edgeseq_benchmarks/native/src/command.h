// The commands of the measured process, as edgeseq_benchmarks/bench/protocol.py defines them: one
// JSON object per line, with the name of the command in `command`.
#ifndef EDGESEQ_COMMAND_H
#define EDGESEQ_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pages.h"
#include "tokenizer.h"

typedef enum {
    COMMAND_LOAD,
    COMMAND_RUN_SLICE,
    COMMAND_RUN_LENGTH,
    COMMAND_PREDICT_TEXTS,
    COMMAND_INFER_TOKENS,
    COMMAND_SCORE_DOCUMENT,
    COMMAND_COMPLETE,
    COMMAND_RUN_LIMITED,
    COMMAND_READ_MEMORY,
    COMMAND_MEASURE_OVERHEAD,
    COMMAND_FINISH,
    COMMAND_UNKNOWN, // one that this process does not serve
    NUM_COMMANDS
} command_kind;

// A text, or its words: `count` entries of the command's spans from `first` on.
typedef struct {
    size_t first, count;
    bool is_words;
} query_text;

// Some of the texts of a command, one after the other.
typedef struct {
    size_t first, count;
} text_range;

// Lists of token ids: `ends[i]` is where list i ends in `ids`.
typedef struct {
    pages ids, ends;
    size_t num_ids, count;
} token_lists;

// The fields of all commands; those that a command does not have keep their defaults. Texts point
// into the line, which must live as long.
typedef struct {
    command_kind kind;
    text_span name;
    text_span model_path, tokenizer_path, signature_key, input_name, output_name;
    text_span head, phase, text, start_text;
    int64_t max_tokens, labels, threads, spawned_ns;
    int64_t min_queries, max_queries, min_duration_ns, max_duration_ns;
    int64_t min_samples, max_samples, tokens, count, queries;
    bool ledger, announce;
    text_range texts, warmup_texts, first_text, span_labels;
    token_lists token_ids, word_rows;
    // Storage that is used again for each command.
    pages query_texts, spans;
    size_t num_query_texts, num_spans;
} command;

// Reads a command from a line, whose strings are decoded where they stand. Returns -1 with a
// failure for what is not one, lacks a field or has a number out of range.
int command_read(command *into, char *line, size_t size);

// A text of the command by its number among all texts.
const query_text *command_text(const command *from, size_t number);
const text_span *command_spans(const command *from, const query_text *text);

// A copy of a string that ends with NUL, in `memory`; refuses one that holds a NUL.
int command_c_string(text_span text, pages *memory, const char **string);

// Whether a text is this string.
bool span_equals(text_span text, const char *string);

void command_release(command *from);

#endif
