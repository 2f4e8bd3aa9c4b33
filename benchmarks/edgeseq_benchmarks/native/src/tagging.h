// The best tags of words by transitions and under the rules of BIO, as edgeseq/tasks/tagging.py.
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
    const float *transitions; // start [labels], pairs [label before, label], end [labels], or NULL
    pages is_inside, kinds;                    // [labels]: whether `I-X`, and the number of X
    pages scores, best, previous, came_from; // of Viterbi's paths
    pages forward; // [words, labels]: ln of the sum over the paths up to a word's tag
} tagger;

// Without labels the best tag of each word is its largest logit. With them, which must be
// `num_labels`, `I-X` follows only `B-X` or `I-X`. `transitions` are added to the logits of paths.
int tagger_open(tagger *tagger, const text_span *labels, size_t count, size_t num_labels,
                const float *transitions);

// Writes the best tags [words] from logits [words, labels].
int tagger_decode(tagger *tagger, const float *logits, size_t num_words, int32_t *tags);

// Writes the probability of each word's tag [words], the rules of BIO aside: a softmax, or with
// transitions the share of all paths through the tag.
int tagger_probabilities(tagger *tagger, const float *logits, size_t num_words,
                         const int32_t *tags, double *probabilities);

void tagger_close(tagger *tagger);

#endif
