// The best tags of words under the rules of BIO, as edgeseq/tasks/tagging.py.
#ifndef EDGESEQ_TAGGING_H
#define EDGESEQ_TAGGING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pages.h"
#include "tokenizer.h"

typedef struct {
    size_t num_labels;
    bool has_rules;
    pages is_inside, kinds;                    // [labels]: whether `I-X`, and the number of X
    pages scores, best, previous, came_from; // of Viterbi's paths
} tagger;

// Without labels the best tag of each word is its largest logit. With them, which must be
// `num_labels`, `I-X` follows only `B-X` or `I-X`.
int tagger_open(tagger *tagger, const text_span *labels, size_t count, size_t num_labels);

// Writes the best tags [words] from logits [words, labels].
int tagger_decode(tagger *tagger, const float *logits, size_t num_words, int32_t *tags);

void tagger_close(tagger *tagger);

#endif
