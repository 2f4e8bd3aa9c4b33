#define _GNU_SOURCE
#include "predict.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crash.h"
#include "failure.h"
#include "json_writer.h"
#include "line_reader.h"
#include "litert.h"
#include "predict_words.h"
#include "scores.h"
#include "session.h"
#include "utf8.h"
#include "white_space.h"

enum { NUM_CONTINUATIONS = 3 };

// The word before the first one of a text, as language models are trained.
static const text_span START_TEXT = {"<eos>", 5};

typedef struct {
    session session;
    const runner_settings *settings;
    bool json;
    json_writer writer;
    pages scores, words, labels, ids;
} predictor;

static int join_path(const char *folder, const char *name, pages *memory, const char **path) {
    size_t size = strlen(folder) + strlen(name) + 2;
    if (pages_reserve(memory, size)) return -1;
    snprintf(memory->bytes, size, "%s/%s", folder, name);
    *path = memory->bytes;
    return 0;
}

// The labels as spans, for the rules of BIO.
static int read_labels(predictor *predictor) {
    uint32_t count = predictor->settings->num_labels;
    if (pages_reserve_array(&predictor->labels, count, sizeof(text_span))) return -1;
    text_span *labels = (text_span *)(void *)predictor->labels.bytes;
    for (uint32_t index = 0; index < count; index++) {
        const char *label = runner_file_label(predictor->session.file, index);
        labels[index] = (text_span){label ? label : "", label ? strlen(label) : 0};
    }
    return 0;
}

static int load(predictor *predictor, const predict_options *options) {
    session *session = &predictor->session;
    const char *runner_path, *model_path;
    if (join_path(options->bundle, "runner.bin", &session->tokenizer_path, &runner_path) ||
        join_path(options->bundle, "model.tflite", &session->model_path, &model_path) ||
        session_open_tokenizer(session, runner_path))
        return -1;
    const runner_settings *settings = predictor->settings = runner_file_settings(session->file);
    if (read_labels(predictor) || litert_open(options->library)) return -1;
    runner_tensor input = runner_file_input(session->file, 0);
    runner_tensor output = runner_file_output(session->file, 0);
    steps_settings steps = {
        .model_path = model_path,
        .signature_key = settings->signature_key,
        .input_name = input.name ? input.name : "",
        .output_name = output.name ? output.name : "",
        .head = settings->head,
        .max_tokens = settings->max_tokens,
        .num_logits = settings->num_logits,
        .threads = options->threads,
        .span_labels = (const text_span *)(const void *)predictor->labels.bytes,
        .num_span_labels = settings->span_labels ? settings->num_labels : 0,
    };
    if (settings->head != HEAD_LANGUAGE_MODELING && settings->num_labels != settings->num_logits)
        return fail(FAILURE_BUNDLE, "has another number of labels than logits", runner_path, NULL);
    crash_report(model_path, true);
    return session_open_model(session, &steps);
}

static const char *label_of(const predictor *predictor, size_t index) {
    const char *label = runner_file_label(predictor->session.file, (uint32_t)index);
    return label ? label : "?";
}

static void write_flag(json_writer *writer, const char *name, bool value) {
    writer_name(writer, name);
    writer_boolean(writer, value);
}

static void begin_json(predictor *predictor, text_span text) {
    writer_open(&predictor->writer, '{');
    writer_name(&predictor->writer, "text");
    writer_string(&predictor->writer, text.bytes, text.size);
}

static void write_lengths(predictor *predictor) {
    steps *steps = &predictor->session.steps;
    tokenization_flags flags = steps_flags(steps);
    writer_integer_member(&predictor->writer, "tokens", (int64_t)steps_num_tokens(steps));
    write_flag(&predictor->writer, "truncated", flags.truncated);
    write_flag(&predictor->writer, "unknown_only", flags.unknown_only);
}

static int predict_label(predictor *predictor, text_span text) {
    steps *steps = &predictor->session.steps;
    json_writer *writer = &predictor->writer;
    size_t count = steps->model.num_labels;
    query_input input = {.text = text};
    classes found;
    if (steps_tokenize(steps, &input) || steps_infer(steps) || steps_decode(steps, &found) ||
        pages_reserve_array(&predictor->scores, count, sizeof(double)))
        return -1;
    double *scores = (double *)(void *)predictor->scores.bytes;
    if (scores_softmax(steps->logits, count, scores)) return -1;
    size_t best = (size_t)found.values[0];
    if (!predictor->json) {
        printf("%s\t%.3f\t%.*s\n", label_of(predictor, best), scores[best], (int)text.size,
               text.bytes);
        return 0;
    }
    begin_json(predictor, text);
    writer_text_member(writer, "label", label_of(predictor, best));
    writer_name(writer, "scores");
    writer_open(writer, '{');
    for (size_t index = 0; index < count; index++) {
        writer_name(writer, label_of(predictor, index));
        writer_number(writer, scores[index]);
    }
    writer_close(writer, '}');
    write_lengths(predictor);
    writer_close(writer, '}');
    return writer_end_line(writer);
}

static int write_tags(predictor *predictor, text_span text, const text_span *words,
                      const classes *found) {
    json_writer *writer = &predictor->writer;
    size_t num_labels = predictor->settings->num_labels;
    const float *logits = (const float *)(const void *)predictor->session.steps.word_logits.bytes;
    double *scores = (double *)(void *)predictor->scores.bytes;
    if (predictor->json) {
        begin_json(predictor, text);
        writer_name(writer, "words");
        writer_open(writer, '[');
        for (size_t word = 0; word < found->count; word++)
            writer_string(writer, words[word].bytes, words[word].size);
        writer_close(writer, ']');
        writer_name(writer, "tags");
        writer_open(writer, '[');
    }
    for (size_t word = 0; word < found->count; word++) {
        size_t tag = (size_t)found->values[word];
        if (predictor->json)
            writer_text(writer, label_of(predictor, tag));
        else
            printf("%s%.*s/%s", word ? " " : "", (int)words[word].size, words[word].bytes,
                   label_of(predictor, tag));
    }
    if (!predictor->json) return printf("\n") < 0;
    writer_close(writer, ']');
    writer_name(writer, "tag_scores");
    writer_open(writer, '[');
    for (size_t word = 0; word < found->count; word++) {
        if (scores_softmax(logits + word * num_labels, num_labels, scores)) return -1;
        writer_number(writer, scores[found->values[word]]);
    }
    writer_close(writer, ']');
    write_lengths(predictor);
    writer_close(writer, '}');
    return writer_end_line(writer);
}

static int predict_tags(predictor *predictor, text_span text) {
    steps *steps = &predictor->session.steps;
    size_t count = 0;
    classes found;
    if (predict_words_split(text, &predictor->words, &count) ||
        pages_reserve_array(&predictor->scores, predictor->settings->num_labels, sizeof(double)))
        return -1;
    const text_span *words = (const text_span *)(const void *)predictor->words.bytes;
    query_input input = {.words = words, .num_words = count};
    if (steps_tokenize(steps, &input) || steps_infer(steps) || steps_decode(steps, &found))
        return -1;
    return write_tags(predictor, text, words, &found);
}

static int write_continuations(predictor *predictor, text_span text, const float *logits,
                               size_t num_read) {
    stateful_model *model = &predictor->session.steps.stateful;
    json_writer *writer = &predictor->writer;
    int32_t best[NUM_CONTINUATIONS];
    size_t count = scores_top_k(logits, model->vocabulary_size, best, NUM_CONTINUATIONS);
    double nats[NUM_CONTINUATIONS];
    for (size_t index = 0; index < count; index++)
        if (scores_log_probability(logits, model->vocabulary_size, best[index], &nats[index]))
            return -1;
    if (predictor->json) {
        begin_json(predictor, text);
        writer_name(writer, "words");
        writer_open(writer, '[');
    } else {
        printf("%.*s\t", (int)text.size, text.bytes);
    }
    for (size_t index = 0; index < count; index++) {
        text_span word = tokenizer_token(predictor->session.tokenizer, best[index]);
        if (predictor->json)
            writer_string(writer, word.bytes ? word.bytes : "", word.size);
        else
            printf("%s%.*s %.3f", index ? ", " : "", (int)word.size, word.bytes ? word.bytes : "",
                   exp(nats[index]));
    }
    if (!predictor->json) return printf("\n") < 0;
    writer_close(writer, ']');
    writer_name(writer, "probabilities");
    writer_open(writer, '[');
    for (size_t index = 0; index < count; index++) writer_number(writer, exp(nats[index]));
    writer_close(writer, ']');
    writer_integer_member(writer, "tokens", (int64_t)num_read);
    writer_close(writer, '}');
    return writer_end_line(writer);
}

static int predict_next(predictor *predictor, text_span text) {
    steps *steps = &predictor->session.steps;
    size_t count;
    const float *logits;
    if (steps_read_document(steps, START_TEXT, text, &predictor->ids, &count)) return -1;
    const int32_t *ids = (const int32_t *)(const void *)predictor->ids.bytes;
    if (stateful_prefill(&steps->stateful, ids, count + 1) ||
        stateful_feed_last(&steps->stateful, ids[count], &logits))
        return -1;
    return write_continuations(predictor, text, logits, count);
}

static int predict_text(predictor *predictor, text_span text, int number) {
    char where[32];
    snprintf(where, sizeof where, "text %d", number);
    if (white_space_end(text, 0) == text.size)
        return fail(FAILURE_DEVICE, "is empty", where, "give a text with at least one word");
    if (utf8_valid_size((const uint8_t *)text.bytes, text.size) != text.size)
        return fail(FAILURE_DEVICE, "is not valid Unicode", where, "write it as UTF-8");
    if (predictor->settings->has_markers && predict_words_check_marked(text, where)) return -1;
    int failed = 0;
    switch (predictor->settings->head) {
        case HEAD_TEXT_CLASSIFICATION: failed = predict_label(predictor, text); break;
        case HEAD_TOKEN_CLASSIFICATION: failed = predict_tags(predictor, text); break;
        case HEAD_LANGUAGE_MODELING: failed = predict_next(predictor, text); break;
    }
    if (failed) failure_set_where(where);
    return failed ? -1 : 0;
}

static int predict_lines(predictor *predictor) {
    line_reader reader = {.descriptor = STDIN_FILENO, .limit = TEXT_LIMIT_BYTES};
    char *line;
    size_t size;
    int got, number = 0;
    while ((got = line_read(&reader, &line, &size)) > 0) {
        if (predict_text(predictor, (text_span){line, size}, ++number)) return -1;
        fflush(stdout); // whoever writes one line at a time waits for its answer
    }
    return got;
}

int predict_main(const predict_options *options) {
    static predictor own;
    int failed;
    own.json = options->json;
    writer_begin(&own.writer, STDOUT_FILENO);
    failed = load(&own, options);
    for (int index = 0; !failed && index < options->num_texts; index++) {
        const char *text = options->texts[index];
        failed = predict_text(&own, (text_span){text, strlen(text)}, index + 1);
    }
    if (!failed && !options->num_texts) failed = predict_lines(&own);
    if (failed) failure_print(stderr);
    session_close(&own.session);
    return failed ? 1 : 0;
}
