// A model without state: token ids or numbers in, logits of a text or of each of its tokens out, as
// `edgeseq.runtime.interpreter.TfliteModel` runs it.
#ifndef EDGESEQ_MODEL_H
#define EDGESEQ_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compiled.h"
#include "pages.h"

// The id that fills up the input of a model of a fixed length.
enum { MODEL_PADDING_ID = -1 };

typedef struct {
    const char *path;
    const char *signature_key, *input_name, *output_name;
    size_t num_labels;
    bool by_token; // a row of logits for each token
    bool has_word_features; // it also takes the rows of words' features (word_features.h)
    size_t features; // numbers of each step, in the place of its id; 0: it takes ids
    int threads;
} model_settings;

typedef struct {
    compiled_model compiled;
    size_t num_labels, fixed_length, allocated; // lengths in tokens; 0: open axis, not allocated
    size_t features;
    bool by_token, has_word_features;
    size_t id_input, row_input; // places among the inputs
    pages ids, rows, logits;
    litert_handle inputs[2], output;
} model;

// Maps the file and checks its signature. Returns -1 with a failure.
int model_open(model *model, const model_settings *settings);

// Allocates tensors for inputs of `tokens` tokens, unless they already are.
int model_allocate(model *model, size_t tokens);

// The logits of one input, float32 [labels] or [tokens, labels], which belong to the model and
// are overwritten by its next call. `word_rows` [tokens, WORD_FEATURES] are for a model that takes
// them; NULL: the tokens belong to no word. A longer input than a fixed length is cut; then `*rows`,
// the number of rows of logits, is the fixed length.
int model_infer(model *model, const int32_t *ids, const int32_t *word_rows, size_t count,
                const float **logits, size_t *rows);

// The same of a sequence `numbers` [steps, features], which has the length of a model of a fixed one.
int model_infer_numbers(model *model, const float *numbers, size_t steps, const float **logits);

void model_close(model *model);

#endif
