// What a word looks like, beside its pieces: the rows of its shape, prefix and suffix in the table
// of a model's word features, as edgeseq/tasks/word_features.py.
#ifndef EDGESEQ_WORD_FEATURES_H
#define EDGESEQ_WORD_FEATURES_H

#include <stdint.h>

#include "tokenizer.h"

enum { WORD_FEATURES = 3 };

// Writes the rows [WORD_FEATURES] of a word of valid UTF-8, where each feature has `num_rows` rows.
// They are from 1 on: row 0 is for tokens that belong to no word.
void word_features_rows(text_span word, uint32_t num_rows, int32_t *rows);

#endif
