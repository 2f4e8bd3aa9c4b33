// A language model with its state, fed one token or several at a time, as
// edgeseq/runtime/stateful.py.
#ifndef EDGESEQ_STATEFUL_H
#define EDGESEQ_STATEFUL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compiled.h"
#include "pages.h"

// States lie in one of four banks: one that is zero and never written, so that an empty state costs
// no memory, two that take turns as input and output, and one more where a state is held. Pages of
// a bank that is not used are never touched.
enum { STATE_ZERO = 0, STATE_BANKS = 4 };

// Tokens that are fed together when a document is scored: the products with the embedding table
// read it once for all of them.
enum { STATEFUL_CHUNK_TOKENS = 32 };

typedef struct {
    size_t input, output, num_elements, offset; // tensors by index; bytes within a bank
} model_state;

// What a text has led to: a document continues from it.
typedef struct {
    int bank;
    size_t num_history, num_cached;
} reading_position;

typedef struct {
    compiled_model compiled;
    size_t vocabulary_size, window; // in tokens
    size_t ids_input, positions_input, logits_output;
    bool has_positions;
    size_t allocated_tokens, allocated_logits;
    model_state states[COMPILED_MAX_TENSORS];
    size_t num_states, bank_bytes;
    reading_position position, saved_position;
    int held_bank; // not to be written; -1 for none
    pages banks, ids, positions, logits, history, saved_history, inputs_of_chunk;
    litert_handle inputs[COMPILED_MAX_TENSORS], outputs[COMPILED_MAX_TENSORS];
    litert_handle state_buffers[STATE_BANKS][COMPILED_MAX_TENSORS];
} stateful_model;

// `max_tokens` is the window of a model that sees one. Returns -1 with a failure.
int stateful_open(stateful_model *model, const char *path, const char *signature_key,
                  size_t vocabulary_size, size_t max_tokens, int threads);

// A document begins: no history, all states zero.
void stateful_reset(stateful_model *model);

// Allocates tensors for `tokens` tokens of which the last `num_logits` get logits.
int stateful_allocate(stateful_model *model, size_t tokens, size_t num_logits);

// Reads more tokens; logits [num_logits, vocabulary] after each of the last `num_logits` of them,
// valid until the next call.
int stateful_feed(stateful_model *model, const int32_t *ids, size_t count, size_t num_logits,
                  const float **logits);

// Reads all but the last of the tokens from a fresh state, to which `stateful_feed_last` returns
// each time before it feeds the last one.
int stateful_prefill(stateful_model *model, const int32_t *ids, size_t count);
int stateful_feed_last(stateful_model *model, int32_t last, const float **logits);

void stateful_close(stateful_model *model);

#endif
