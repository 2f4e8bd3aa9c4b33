#define _GNU_SOURCE
#include "predict.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bundle_session.h"
#include "crash.h"
#include "failure.h"
#include "json_writer.h"
#include "line_reader.h"

enum { NUM_CONTINUATIONS = 3 };

typedef struct {
    bundle_session bundle;
    bool json;
    json_writer writer;
} predictor;

static const char *label_of(const predictor *predictor, size_t index) {
    return bundle_session_label(&predictor->bundle, index);
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
    steps *steps = &predictor->bundle.session.steps;
    tokenization_flags flags = steps_flags(steps);
    writer_integer_member(&predictor->writer, "tokens", (int64_t)steps_num_tokens(steps));
    write_flag(&predictor->writer, "truncated", flags.truncated);
    write_flag(&predictor->writer, "unknown_only", flags.unknown_only);
}

static void write_scores(predictor *predictor, const double *scores) {
    json_writer *writer = &predictor->writer;
    writer_name(writer, "scores");
    writer_open(writer, '{');
    for (size_t index = 0; index < predictor->bundle.settings->num_labels; index++) {
        writer_name(writer, label_of(predictor, index));
        writer_number(writer, scores[index]);
    }
    writer_close(writer, '}');
}

static int predict_label(predictor *predictor, text_span text) {
    json_writer *writer = &predictor->writer;
    const double *scores;
    size_t best;
    if (bundle_session_classify(&predictor->bundle, text, &scores, &best)) return -1;
    if (!predictor->json) {
        printf("%s\t%.3f\t%.*s\n", label_of(predictor, best), scores[best], (int)text.size,
               text.bytes);
        return 0;
    }
    begin_json(predictor, text);
    writer_text_member(writer, "label", label_of(predictor, best));
    write_scores(predictor, scores);
    write_lengths(predictor);
    writer_close(writer, '}');
    return writer_end_line(writer);
}

// The labels of the text with a comma between them, and their probabilities.
static int print_labels(const predictor *predictor, text_span text, const double *scores,
                        const int32_t *decisions) {
    size_t count = predictor->bundle.settings->num_labels, printed = 0;
    for (size_t index = 0; index < count; index++)
        if (decisions[index])
            printf("%s%s %.3f", printed++ ? ", " : "", label_of(predictor, index), scores[index]);
    return printf("\t%.*s\n", (int)text.size, text.bytes) < 0;
}

static int predict_labels(predictor *predictor, text_span text) {
    json_writer *writer = &predictor->writer;
    const double *scores;
    const int32_t *decisions;
    if (bundle_session_label_text(&predictor->bundle, text, &scores, &decisions)) return -1;
    if (!predictor->json) return print_labels(predictor, text, scores, decisions);
    begin_json(predictor, text);
    writer_name(writer, "labels");
    writer_open(writer, '[');
    for (size_t index = 0; index < predictor->bundle.settings->num_labels; index++)
        if (decisions[index]) writer_text(writer, label_of(predictor, index));
    writer_close(writer, ']');
    write_scores(predictor, scores);
    write_lengths(predictor);
    writer_close(writer, '}');
    return writer_end_line(writer);
}

static int write_tags(predictor *predictor, text_span text, const tagged_text *tagged) {
    json_writer *writer = &predictor->writer;
    const double *scores;
    if (bundle_session_tag_scores(&predictor->bundle, tagged, &scores)) return -1;
    begin_json(predictor, text);
    writer_name(writer, "words");
    writer_open(writer, '[');
    for (size_t word = 0; word < tagged->count; word++)
        writer_string(writer, tagged->words[word].bytes, tagged->words[word].size);
    writer_close(writer, ']');
    writer_name(writer, "tags");
    writer_open(writer, '[');
    for (size_t word = 0; word < tagged->count; word++)
        writer_text(writer, label_of(predictor, (size_t)tagged->tags[word]));
    writer_close(writer, ']');
    writer_name(writer, "tag_scores");
    writer_open(writer, '[');
    for (size_t word = 0; word < tagged->count; word++) writer_number(writer, scores[word]);
    writer_close(writer, ']');
    write_lengths(predictor);
    writer_close(writer, '}');
    return writer_end_line(writer);
}

static int predict_tags(predictor *predictor, text_span text) {
    tagged_text tagged;
    if (bundle_session_tag(&predictor->bundle, text, &tagged)) return -1;
    if (predictor->json) return write_tags(predictor, text, &tagged);
    for (size_t word = 0; word < tagged.count; word++)
        printf("%s%.*s/%s", word ? " " : "", (int)tagged.words[word].size, tagged.words[word].bytes,
               label_of(predictor, (size_t)tagged.tags[word]));
    return printf("\n") < 0;
}

static int write_continuations(predictor *predictor, text_span text, const float *logits,
                               size_t num_read) {
    json_writer *writer = &predictor->writer;
    int32_t best[NUM_CONTINUATIONS];
    double probabilities[NUM_CONTINUATIONS];
    int count = bundle_session_top_k(&predictor->bundle, logits, NUM_CONTINUATIONS, best,
                                     probabilities);
    if (count < 0) return -1;
    if (predictor->json) {
        begin_json(predictor, text);
        writer_name(writer, "words");
        writer_open(writer, '[');
    } else {
        printf("%.*s\t", (int)text.size, text.bytes);
    }
    for (int index = 0; index < count; index++) {
        text_span word = tokenizer_token(predictor->bundle.session.tokenizer, best[index]);
        if (predictor->json)
            writer_string(writer, word.bytes ? word.bytes : "", word.size);
        else
            printf("%s%.*s %.3f", index ? ", " : "", (int)word.size, word.bytes ? word.bytes : "",
                   probabilities[index]);
    }
    if (!predictor->json) return printf("\n") < 0;
    writer_close(writer, ']');
    writer_name(writer, "probabilities");
    writer_open(writer, '[');
    for (int index = 0; index < count; index++) writer_number(writer, probabilities[index]);
    writer_close(writer, ']');
    writer_integer_member(writer, "tokens", (int64_t)num_read);
    writer_close(writer, '}');
    return writer_end_line(writer);
}

static int predict_next(predictor *predictor, text_span text) {
    stateful_model *model = &predictor->bundle.session.steps.stateful;
    size_t count;
    const int32_t *ids;
    const float *logits;
    if (bundle_session_read(&predictor->bundle, text, &ids, &count) ||
        stateful_prefill(model, ids, count + 1) || stateful_feed_last(model, ids[count], &logits))
        return -1;
    return write_continuations(predictor, text, logits, count);
}

static int predict_text(predictor *predictor, text_span text, int number) {
    char where[32];
    snprintf(where, sizeof where, "text %d", number);
    if (bundle_session_check(&predictor->bundle, text, where)) return -1;
    int failed = 0;
    switch (predictor->bundle.settings->head) {
        case HEAD_TEXT_CLASSIFICATION: failed = predict_label(predictor, text); break;
        case HEAD_MULTILABEL_CLASSIFICATION: failed = predict_labels(predictor, text); break;
        case HEAD_TOKEN_CLASSIFICATION: failed = predict_tags(predictor, text); break;
        case HEAD_LANGUAGE_MODELING: failed = predict_next(predictor, text); break;
        case HEAD_SEQUENCE_CLASSIFICATION:
        case HEAD_SEQUENCE_REGRESSION: // runner_file.c refuses them
            failed = fail(FAILURE_BUNDLE, "reads numbers, not texts", NULL, NULL);
            break;
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
    failed = bundle_session_open(&own.bundle, options->bundle);
    if (!failed) {
        crash_report(own.bundle.model_path, true);
        failed = bundle_session_load(&own.bundle, options->library, options->threads);
    }
    for (int index = 0; !failed && index < options->num_texts; index++) {
        const char *text = options->texts[index];
        failed = predict_text(&own, (text_span){text, strlen(text)}, index + 1);
    }
    if (!failed && !options->num_texts) failed = predict_lines(&own);
    if (failed) failure_print(stderr);
    bundle_session_close(&own.bundle);
    return failed ? 1 : 0;
}
