#include "scores.h"

#include <math.h>

#include "failure.h"

size_t scores_argmax(const float *logits, size_t count) {
    size_t best = 0;
    for (size_t index = 0; index < count; index++) {
        if (isnan(logits[index])) return index;
        if (logits[index] > logits[best]) best = index;
    }
    return best;
}

void scores_decide(const float *logits, const float *thresholds, size_t count, int32_t *decisions) {
    for (size_t index = 0; index < count; index++)
        decisions[index] = logits[index] >= thresholds[index];
}

size_t scores_top_k(const float *logits, size_t count, int32_t *best, size_t k) {
    size_t used = 0;
    if (!k) return 0;
    for (size_t index = 0; index < count; index++) {
        // Most numbers are no larger than the last one that is kept.
        if (used == k && !(logits[index] > logits[best[used - 1]])) continue;
        size_t place = used < k ? used++ : used - 1;
        for (; place > 0 && logits[index] > logits[best[place - 1]]; place--)
            best[place] = best[place - 1];
        best[place] = (int32_t)index;
    }
    return used;
}

int scores_log_total(const float *logits, size_t count, float *largest, double *log_total) {
    float maximum = -INFINITY;
    int has_nan = 0;
    for (size_t index = 0; index < count; index++) {
        has_nan |= isnan(logits[index]);
        if (logits[index] > maximum) maximum = logits[index];
    }
    if (has_nan || !isfinite(maximum)) {
        fail(FAILURE_BUNDLE, "the model returned NaN", NULL, "convert it again");
        return fail_found("a logit that is not finite");
    }
    double total = 0;
    for (size_t index = 0; index < count; index++) total += expf(logits[index] - maximum);
    *largest = maximum;
    *log_total = log(total);
    return 0;
}

int scores_log_probability(const float *logits, size_t count, int32_t id, double *nats) {
    if (id < 0 || (size_t)id >= count) {
        fail(FAILURE_BUNDLE, "a token is outside of the vocabulary", NULL, "convert it again");
        fail_found("%d", id);
        return fail_expected("0 to %zu", count - 1);
    }
    float largest = 0;
    double log_total = 0;
    if (scores_log_total(logits, count, &largest, &log_total)) return -1;
    *nats = (double)(logits[id] - largest) - log_total;
    return 0;
}

int scores_top_probabilities(const float *logits, size_t count, int32_t *best,
                             double *probabilities, size_t k) {
    float largest = 0;
    double log_total = 0;
    if (scores_log_total(logits, count, &largest, &log_total)) return -1;
    size_t used = scores_top_k(logits, count, best, k);
    for (size_t index = 0; index < used; index++)
        probabilities[index] = exp((double)(logits[best[index]] - largest) - log_total);
    return (int)used;
}

size_t scores_rank(const float *logits, size_t count, int32_t id) {
    size_t rank = 0;
    for (size_t index = 0; index < count; index++)
        rank += logits[index] > logits[id] || (logits[index] == logits[id] && index < (size_t)id);
    return rank;
}

int scores_check_finite(const float *logits, size_t count) {
    for (size_t index = 0; index < count; index++)
        if (!isfinite(logits[index]))
            return fail(FAILURE_BUNDLE, "the model returned NaN or infinity", NULL,
                        "convert it again with another recipe");
    return 0;
}

int scores_sigmoid(const float *logits, size_t count, double *probabilities) {
    if (scores_check_finite(logits, count)) return -1;
    for (size_t index = 0; index < count; index++) // without overflow
        probabilities[index] = 0.5 * (1 + tanh((double)logits[index] / 2));
    return 0;
}

int scores_softmax(const float *logits, size_t count, double *probabilities) {
    double largest = -INFINITY, total = 0;
    if (scores_check_finite(logits, count)) return -1;
    for (size_t index = 0; index < count; index++)
        if ((double)logits[index] > largest) largest = (double)logits[index];
    for (size_t index = 0; index < count; index++)
        total += probabilities[index] = exp((double)logits[index] - largest);
    for (size_t index = 0; index < count; index++) probabilities[index] /= total;
    return 0;
}
