#include "bundle_session.h"

#include <stdio.h>
#include <string.h>

#include "failure.h"
#include "litert.h"
#include "predict_words.h"
#include "scores.h"
#include "utf8.h"
#include "white_space.h"

// The word before the first one of a text, as language models are trained.
static const text_span START_TEXT = {"<eos>", 5};

static int join_path(const char *folder, const char *name, pages *memory, const char **path) {
    size_t size = strlen(folder) + strlen(name) + 2;
    if (pages_reserve(memory, size)) return -1;
    snprintf(memory->bytes, size, "%s/%s", folder, name);
    *path = memory->bytes;
    return 0;
}

// The labels as spans, for the rules of BIO.
static int read_labels(bundle_session *bundle) {
    uint32_t count = bundle->settings->num_labels;
    if (pages_reserve_array(&bundle->labels, count, sizeof(text_span))) return -1;
    text_span *labels = (text_span *)(void *)bundle->labels.bytes;
    for (uint32_t index = 0; index < count; index++) {
        const char *label = runner_file_label(bundle->session.file, index);
        labels[index] = (text_span){label ? label : "", label ? strlen(label) : 0};
    }
    return 0;
}

int bundle_session_open(bundle_session *bundle, const char *folder) {
    session *session = &bundle->session;
    const char *runner_path;
    if (join_path(folder, "runner.bin", &session->tokenizer_path, &runner_path) ||
        join_path(folder, "model.tflite", &session->model_path, &bundle->model_path) ||
        session_open_tokenizer(session, runner_path))
        return -1;
    const runner_settings *settings = bundle->settings = runner_file_settings(session->file);
    if (settings->head != HEAD_LANGUAGE_MODELING && settings->num_labels != settings->num_logits)
        return fail(FAILURE_BUNDLE, "has another number of labels than logits", runner_path, NULL);
    return read_labels(bundle);
}

int bundle_session_load(bundle_session *bundle, const char *library, int threads) {
    session *session = &bundle->session;
    const runner_settings *settings = bundle->settings;
    runner_tensor input = runner_file_input(session->file, 0);
    runner_tensor output = runner_file_output(session->file, 0);
    steps_settings steps = {
        .model_path = bundle->model_path,
        .signature_key = settings->signature_key,
        .input_name = input.name ? input.name : "",
        .output_name = output.name ? output.name : "",
        .head = settings->head,
        .max_tokens = settings->max_tokens,
        .num_logits = settings->num_logits,
        .threads = threads,
        .span_labels = (const text_span *)(const void *)bundle->labels.bytes,
        .num_span_labels = settings->span_labels ? settings->num_labels : 0,
    };
    return litert_open(library) || session_open_model(session, &steps) ? -1 : 0;
}

const char *bundle_session_label(const bundle_session *bundle, size_t index) {
    const char *label = runner_file_label(bundle->session.file, (uint32_t)index);
    return label ? label : "?";
}

int bundle_session_check(const bundle_session *bundle, text_span text, const char *where) {
    if (white_space_end(text, 0) == text.size)
        return fail(FAILURE_DEVICE, "is empty", where, "give a text with at least one word");
    if (utf8_valid_size((const uint8_t *)text.bytes, text.size) != text.size)
        return fail(FAILURE_DEVICE, "is not valid Unicode", where, "write it as UTF-8");
    return bundle->settings->has_markers ? predict_words_check_marked(text, where) : 0;
}

static double *score_buffer(bundle_session *bundle, size_t count) {
    if (pages_reserve_array(&bundle->scores, count, sizeof(double))) return NULL;
    return (double *)(void *)bundle->scores.bytes;
}

typedef int (*logits_to_scores)(const float *logits, size_t count, double *probabilities);

static int answer_text(bundle_session *bundle, text_span text, logits_to_scores to_scores,
                       const double **scores, classes *found) {
    steps *steps = &bundle->session.steps;
    size_t count = steps->model.num_labels;
    query_input input = {.text = text};
    double *values = score_buffer(bundle, count);
    if (!values || steps_tokenize(steps, &input) || steps_infer(steps) ||
        steps_decode(steps, found) || to_scores(steps->logits, count, values))
        return -1;
    *scores = values;
    return 0;
}

int bundle_session_classify(bundle_session *bundle, text_span text, const double **scores,
                            size_t *label) {
    classes found;
    if (answer_text(bundle, text, scores_softmax, scores, &found)) return -1;
    *label = (size_t)found.values[0];
    return 0;
}

int bundle_session_label_text(bundle_session *bundle, text_span text, const double **scores,
                              const int32_t **decisions) {
    classes found;
    if (answer_text(bundle, text, scores_sigmoid, scores, &found)) return -1;
    *decisions = found.values;
    return 0;
}

int bundle_session_tag(bundle_session *bundle, text_span text, tagged_text *tagged) {
    steps *steps = &bundle->session.steps;
    size_t count = 0;
    classes found;
    if (predict_words_split(text, &bundle->words, &count)) return -1;
    const text_span *words = (const text_span *)(const void *)bundle->words.bytes;
    query_input input = {.words = words, .num_words = count};
    if (steps_tokenize(steps, &input) || steps_infer(steps) || steps_decode(steps, &found))
        return -1;
    *tagged = (tagged_text){words, found.values, found.count};
    return 0;
}

int bundle_session_tag_scores(bundle_session *bundle, const tagged_text *tagged,
                              const double **scores) {
    steps *steps = &bundle->session.steps;
    const float *logits = (const float *)(const void *)steps->word_logits.bytes;
    double *values = score_buffer(bundle, tagged->count + 1);
    if (!values ||
        tagger_probabilities(&steps->tagger, logits, tagged->count, tagged->tags, values))
        return -1;
    *scores = values;
    return 0;
}

int bundle_session_read(bundle_session *bundle, text_span text, const int32_t **ids,
                        size_t *count) {
    if (steps_read_document(&bundle->session.steps, START_TEXT, text, &bundle->ids, count))
        return -1;
    *ids = (const int32_t *)(const void *)bundle->ids.bytes;
    return 0;
}

int bundle_session_top_k(const bundle_session *bundle, const float *logits, size_t count,
                         int32_t *ids, double *probabilities) {
    size_t size = bundle->session.steps.stateful.vocabulary_size;
    return scores_top_probabilities(logits, size, ids, probabilities, count);
}

void bundle_session_close(bundle_session *bundle) {
    session_close(&bundle->session);
    pages *all[] = {&bundle->labels, &bundle->scores, &bundle->words, &bundle->ids};
    for (size_t index = 0; index < sizeof all / sizeof *all; index++) pages_release(all[index]);
}
