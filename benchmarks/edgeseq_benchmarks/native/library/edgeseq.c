#include "edgeseq.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "bundle_session.h"
#include "failure.h"

enum { NEXT_WORDS_LIMIT = 64 };
_Static_assert((int)HEAD_TEXT_CLASSIFICATION == EDGESEQ_TEXT_CLASSIFICATION, "the same numbers");
_Static_assert((int)HEAD_TOKEN_CLASSIFICATION == EDGESEQ_TOKEN_CLASSIFICATION, "the same numbers");
_Static_assert((int)HEAD_LANGUAGE_MODELING == EDGESEQ_LANGUAGE_MODELING, "the same numbers");
_Static_assert((int)HEAD_MULTILABEL_CLASSIFICATION == EDGESEQ_MULTILABEL_CLASSIFICATION,
               "the same numbers");
_Static_assert(sizeof(int) == sizeof(int32_t), "decisions are given out as they are");

struct edgeseq_model {
    bundle_session bundle;
    pages tagged;
    const float *next_logits; // behind what was read; NULL before a text has begun
};

static _Thread_local char error_line[FAILURE_LINE_BYTES] = "no error";

// Keeps the line of the current failure; returns -1.
static int failed(void) {
    failure_format(error_line, sizeof error_line);
    return -1;
}

static bool is_of_task(const edgeseq_model *model, runner_head head) {
    if (model->bundle.settings->head == head) return true;
    fail(FAILURE_DEVICE, "the model has another task", NULL, "see edgeseq_get_task");
    failed();
    return false;
}

edgeseq_model *edgeseq_open(const char *folder, const char *library, int threads) {
    edgeseq_model *model = calloc(1, sizeof *model);
    if (!model || threads < 1) {
        fail(FAILURE_DEVICE, model ? "needs at least 1 thread" : "there is no memory", NULL, NULL);
    } else if (!bundle_session_open(&model->bundle, folder) &&
               !bundle_session_load(&model->bundle, library ? library : "libLiteRt.so", threads)) {
        return model;
    }
    failed();
    edgeseq_close(model);
    return NULL;
}

void edgeseq_close(edgeseq_model *model) {
    if (!model) return;
    bundle_session_close(&model->bundle);
    pages_release(&model->tagged);
    free(model);
}

const char *edgeseq_error(void) { return error_line; }

edgeseq_task edgeseq_get_task(const edgeseq_model *model) {
    return (edgeseq_task)model->bundle.settings->head;
}

size_t edgeseq_num_labels(const edgeseq_model *model) { return model->bundle.settings->num_labels; }

const char *edgeseq_label(const edgeseq_model *model, size_t index) {
    return bundle_session_label(&model->bundle, index);
}

int edgeseq_classify(edgeseq_model *model, const char *text, size_t size,
                     const double **probabilities) {
    text_span span = {text, size};
    size_t label;
    if (!is_of_task(model, HEAD_TEXT_CLASSIFICATION)) return -1;
    if (bundle_session_check(&model->bundle, span, "the text") ||
        bundle_session_classify(&model->bundle, span, probabilities, &label))
        return failed();
    return (int)label;
}

int edgeseq_label_text(edgeseq_model *model, const char *text, size_t size,
                       const double **probabilities, const int **has_label) {
    text_span span = {text, size};
    const int32_t *decisions;
    int count = 0;
    if (!is_of_task(model, HEAD_MULTILABEL_CLASSIFICATION)) return -1;
    if (bundle_session_check(&model->bundle, span, "the text") ||
        bundle_session_label_text(&model->bundle, span, probabilities, &decisions))
        return failed();
    for (size_t index = 0; index < edgeseq_num_labels(model); index++) count += decisions[index];
    *has_label = decisions;
    return count;
}

int edgeseq_tag(edgeseq_model *model, const char *text, size_t size,
                const edgeseq_tagged_word **words) {
    text_span span = {text, size};
    tagged_text tagged;
    const double *scores;
    if (!is_of_task(model, HEAD_TOKEN_CLASSIFICATION)) return -1;
    if (bundle_session_check(&model->bundle, span, "the text") ||
        bundle_session_tag(&model->bundle, span, &tagged) ||
        bundle_session_tag_scores(&model->bundle, &tagged, &scores) ||
        pages_reserve_array(&model->tagged, tagged.count, sizeof **words))
        return failed();
    edgeseq_tagged_word *written = (edgeseq_tagged_word *)(void *)model->tagged.bytes;
    for (size_t word = 0; word < tagged.count; word++) {
        const text_span *place = &tagged.words[word];
        written[word] = (edgeseq_tagged_word){
            .begin = (size_t)(place->bytes - text),
            .size = place->size,
            .tag = edgeseq_label(model, (size_t)tagged.tags[word]),
            .probability = scores[word],
        };
    }
    *words = written;
    return (int)tagged.count;
}

// Reads tokens and keeps where the logits behind the last one are.
static int feed(edgeseq_model *model, const int32_t *ids, size_t count) {
    stateful_model *stateful = &model->bundle.session.steps.stateful;
    size_t limit = STATEFUL_CHUNK_TOKENS;
    if (stateful->has_positions && stateful->window < limit) limit = stateful->window;
    for (size_t begin = 0; begin < count; begin += limit) {
        size_t size = count - begin < limit ? count - begin : limit;
        const float *logits;
        if (stateful_feed(stateful, ids + begin, size, 1, &logits)) {
            model->next_logits = NULL; // the state is lost
            return -1;
        }
        model->next_logits = logits;
    }
    return 0;
}

int edgeseq_begin_text(edgeseq_model *model) {
    const int32_t *ids;
    size_t count;
    if (!is_of_task(model, HEAD_LANGUAGE_MODELING)) return -1;
    model->next_logits = NULL;
    stateful_reset(&model->bundle.session.steps.stateful);
    if (bundle_session_read(&model->bundle, (text_span){"", 0}, &ids, &count) ||
        feed(model, ids, 1))
        return failed();
    return 0;
}

int edgeseq_read(edgeseq_model *model, const char *text, size_t size) {
    text_span span = {text, size};
    const int32_t *ids;
    size_t count;
    if (!is_of_task(model, HEAD_LANGUAGE_MODELING)) return -1;
    if (!model->next_logits && edgeseq_begin_text(model)) return -1;
    if (bundle_session_check(&model->bundle, span, "the text") ||
        bundle_session_read(&model->bundle, span, &ids, &count) || feed(model, ids + 1, count))
        return failed();
    return (int)count;
}

int edgeseq_next_words(edgeseq_model *model, edgeseq_next_word *words, size_t count) {
    int32_t ids[NEXT_WORDS_LIMIT];
    double probabilities[NEXT_WORDS_LIMIT];
    if (!is_of_task(model, HEAD_LANGUAGE_MODELING)) return -1;
    if (!model->next_logits && edgeseq_begin_text(model)) return -1;
    if (count > NEXT_WORDS_LIMIT) count = NEXT_WORDS_LIMIT;
    int written = bundle_session_top_k(&model->bundle, model->next_logits, count, ids,
                                       probabilities);
    if (written < 0) return failed();
    for (int index = 0; index < written; index++) {
        text_span word = tokenizer_token(model->bundle.session.tokenizer, ids[index]);
        words[index] = (edgeseq_next_word){word.bytes ? word.bytes : "", word.size,
                                           probabilities[index]};
    }
    return written;
}
