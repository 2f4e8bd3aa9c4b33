// The three steps of one query for each head: tokenize, infer, decode, as the modules
// `*_steps.py` of edgeseq_benchmarks/bench. What is timed is what an application would do.
#ifndef EDGESEQ_STEPS_H
#define EDGESEQ_STEPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "document.h"
#include "model.h"
#include "runner_file.h"
#include "sequence_rows.h"
#include "stateful.h"
#include "tagging.h"
#include "tokenizer.h"
#include "word_windows.h"

// A text, the place of a numeric sequence, or words; they point to what the caller keeps.
typedef struct {
    text_span text;
    const text_span *words; // NULL for a text
    size_t num_words;
} query_input;

// The classes of a text: one, or one of each word, or 1 or 0 for each label, or the bits of the
// numbers that a sequence gets. `values` belong to the steps until the next text.
typedef struct {
    const int32_t *values;
    size_t count;
    bool is_single;
} classes;

typedef struct {
    bool truncated, unknown_only, windowed;
} tokenization_flags;

typedef struct {
    const char *model_path, *signature_key, *input_name, *output_name;
    runner_head head;
    size_t max_tokens, num_logits;
    int threads;
    const text_span *span_labels;
    size_t num_span_labels;
    const sequence_rows *rows; // of a head of numeric sequences; else NULL
} steps_settings;

typedef struct {
    runner_head head;
    // Of texts, or of numeric sequences.
    tokenizer *tokenizer;
    const runner_settings *file_settings;
    const sequence_rows *rows;
    size_t max_tokens;
    // One of the two, by the head.
    model model;
    stateful_model stateful;
    word_encoder encoder;
    tagger tagger;
    // What the last steps led to.
    encoding encoded;
    windowed_text windowed;
    size_t num_steps; // of the sequence in `numbers`
    const float *logits;
    int32_t single_class;
    pages window_logits, word_logits, tags, joined, nats, numbers;
} steps;

int steps_open(steps *steps, const steps_settings *settings, tokenizer *tokenizer,
               const runner_file *file);

// Whether a head reads numeric sequences.
bool steps_are_numeric(runner_head head);

// The 32-bit numbers of each token or step in inputs that repeat (`steps_repeat`).
size_t steps_width(const steps *steps);

// Allocates tensors for the longest input of a text.
int steps_allocate(steps *steps, const query_input *text);

int steps_tokenize(steps *steps, const query_input *text);
int steps_infer(steps *steps);
int steps_decode(steps *steps, classes *found);

// Tokens that were computed for the last text.
size_t steps_num_tokens(const steps *steps);

// The ids of all inputs of the last text that was tokenized, one after the other.
const int32_t *steps_ids(const steps *steps, size_t *count);

// What was lost of the last text when it was tokenized.
tokenization_flags steps_flags(const steps *steps);

// The logits behind the last text's prediction: [labels], [words, labels], or of a language model
// ln p of each token (float64, in `*nats`), which is then computed from a fresh state.
int steps_output(steps *steps, const float **logits, const double **nats, size_t *count);

// The rows [tokens, WORD_FEATURES] of the features of words in all inputs of the last text that was
// tokenized; NULL for a model without.
const int32_t *steps_word_rows(const steps *steps);

// The logits of one input given as token ids, as `steps_output` has them. `word_rows` [tokens,
// WORD_FEATURES] are for a model that takes them; NULL: the tokens belong to no word.
int steps_logits(steps *steps, const int32_t *ids, const int32_t *word_rows, size_t count,
                 const float **logits, const double **nats, size_t *num_logits);

// Inference alone on one input that repeats, token ids or the bits of `count` steps' numbers; a
// language model was prefilled with it.
int steps_prepare_repeats(steps *steps, const int32_t *ids, size_t count);
int steps_repeat(steps *steps, const int32_t *ids, size_t count);

// For a language model: the id before a document, which is the last one of `start_text`, then the
// `count` ids of `text` (none for white space alone), in `ids`.
int steps_read_document(steps *steps, text_span start_text, text_span text, pages *ids,
                        size_t *count);

void steps_close(steps *steps);

#endif
