#include "document.h"

#include <string.h>

#include "failure.h"
#include "scores.h"

// For a model that sees a window, half of one: then each token has at least half a window before it.
static size_t chunk_tokens(const stateful_model *model) {
    if (!model->has_positions) return STATEFUL_CHUNK_TOKENS;
    return model->window > 1 ? model->window / 2 : 1;
}

int document_log_probabilities(stateful_model *model, const int32_t *ids, size_t count,
                               double *nats) {
    stateful_reset(model);
    size_t size = model->has_positions && count > model->window ? chunk_tokens(model) : count;
    if (count) nats[0] = 0;
    for (size_t begin = 0; begin < count; begin += size) {
        const float *logits;
        size_t fed = count - begin < size ? count - begin : size;
        if (stateful_feed(model, ids + begin, fed, fed, &logits)) return -1;
        for (size_t row = 0; row < fed && begin + row + 1 < count; row++)
            if (scores_log_probability(logits + row * model->vocabulary_size,
                                       model->vocabulary_size, ids[begin + row + 1],
                                       &nats[begin + row + 1]))
                return -1;
    }
    return 0;
}

static int score_chunk(const stateful_model *model, const float *logits, const int32_t *targets,
                       size_t count, document_score *score) {
    double sum = 0;
    for (size_t row = 0; row < count; row++) {
        double nats = 0;
        const float *values = logits + row * model->vocabulary_size;
        if (scores_log_probability(values, model->vocabulary_size, targets[row], &nats)) return -1;
        size_t rank = scores_rank(values, model->vocabulary_size, targets[row]);
        score->top1_correct += rank < 1;
        score->top3_correct += rank < 3;
        sum += nats;
    }
    score->nats += sum;
    return 0;
}

int document_score_text(stateful_model *model, const int32_t *ids, size_t count, int32_t start_id,
                        document_score *score) {
    memset(score, 0, sizeof *score);
    score->num_tokens = count;
    stateful_reset(model);
    size_t size = chunk_tokens(model);
    // The model reads what is one token behind its targets: the inputs of a chunk are the token
    // before it and all of its own but the last.
    if (pages_reserve_array(&model->inputs_of_chunk, size, sizeof(int32_t))) return -1;
    int32_t *inputs = (int32_t *)(void *)model->inputs_of_chunk.bytes;
    for (size_t begin = 0; begin < count; begin += size) {
        const float *logits;
        size_t fed = count - begin < size ? count - begin : size;
        inputs[0] = begin ? ids[begin - 1] : start_id;
        memcpy(inputs + 1, ids + begin, (fed - 1) * sizeof *ids);
        if (stateful_feed(model, inputs, fed, fed, &logits) ||
            score_chunk(model, logits, ids + begin, fed, score))
            return -1;
    }
    return 0;
}
