// What is read off logits: the class, the most likely tokens, log-probabilities, ranks.
#ifndef EDGESEQ_SCORES_H
#define EDGESEQ_SCORES_H

#include <stddef.h>
#include <stdint.h>

// The index of the largest number, the first of equals; the first NaN where there is one.
size_t scores_argmax(const float *logits, size_t count);

// 1 for each label whose logit [count] reaches its threshold [count], else 0.
void scores_decide(const float *logits, const float *thresholds, size_t count, int32_t *decisions);

// The indices of the `k` largest numbers, the largest first, the lower index of equals.
// Writes min(k, count) of them and returns that number; O(count · k) for small k.
size_t scores_top_k(const float *logits, size_t count, int32_t *best, size_t k);

// ln of the sum of exp(logit − largest), as edgeseq/tasks/perplexity.py: exponentials in float32,
// their sum in float64. Returns -1 with a failure when the largest logit is not finite.
int scores_log_total(const float *logits, size_t count, float *largest, double *log_total);

// ln p of token `id` under logits [count], in nats.
int scores_log_probability(const float *logits, size_t count, int32_t id, double *nats);

// The tokens of `scores_top_k` with their probabilities: a softmax over all of `logits`.
// Returns their number, or -1 with a failure.
int scores_top_probabilities(const float *logits, size_t count, int32_t *best,
                             double *probabilities, size_t k);

// How many tokens have a larger logit than `id`, or the same at a lower id.
size_t scores_rank(const float *logits, size_t count, int32_t id);

// Returns -1 with a failure where a logit is NaN or infinite.
int scores_check_finite(const float *logits, size_t count);

// The sigmoid of each logit [count] in float64; returns -1 as `scores_softmax`.
int scores_sigmoid(const float *logits, size_t count, double *probabilities);

// Softmax of logits [count] in float64; returns -1 with a failure for NaN or infinity.
int scores_softmax(const float *logits, size_t count, double *probabilities);

#endif
