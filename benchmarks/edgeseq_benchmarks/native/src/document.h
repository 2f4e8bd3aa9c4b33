// Scores of whole texts by a language model, as edgeseq/runtime/stateful.py and
// edgeseq/tasks/perplexity.py.
#ifndef EDGESEQ_DOCUMENT_H
#define EDGESEQ_DOCUMENT_H

#include "stateful.h"

typedef struct {
    double nats;
    size_t num_tokens, top1_correct, top3_correct;
} document_score;

// ln p [count] of each token of a text from a fresh state; 0 for the first one.
int document_log_probabilities(stateful_model *model, const int32_t *ids, size_t count,
                               double *nats);

// Scores a document from a fresh state; `start_id` is the token before its first one.
int document_score_text(stateful_model *model, const int32_t *ids, size_t count, int32_t start_id,
                        document_score *score);

#endif
