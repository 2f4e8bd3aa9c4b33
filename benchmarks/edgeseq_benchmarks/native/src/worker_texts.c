// Predictions of texts, untimed. A reply is held back until its last text is done: a text that
// fails turns it into an error.
#include "document.h"
#include "failure.h"
#include "recorder.h"
#include "scores.h"
#include "word_features.h"
#include "worker.h"

static void write_numbers(json_writer *writer, const float *logits, const double *nats,
                          size_t count) {
    writer_open(writer, '[');
    for (size_t index = 0; index < count; index++)
        writer_number(writer, nats ? nats[index] : (double)logits[index]);
    writer_close(writer, ']');
}

static void write_integers(json_writer *writer, const int32_t *values, size_t count) {
    writer_open(writer, '[');
    for (size_t index = 0; index < count; index++) writer_integer(writer, values[index]);
    writer_close(writer, ']');
}

void worker_write_flags(json_writer *writer, tokenization_flags flags) {
    writer_open(writer, '{');
    writer_name(writer, "truncated");
    writer_boolean(writer, flags.truncated);
    writer_name(writer, "unknown_only");
    writer_boolean(writer, flags.unknown_only);
    writer_name(writer, "windowed");
    writer_boolean(writer, flags.windowed);
    writer_close(writer, '}');
}

static int predict_text(worker *worker, const query_input *text) {
    steps *steps = &worker->session.steps;
    json_writer *writer = &worker->writer;
    static const int32_t NO_CLASS = 0; // a language model has none
    classes found = {&NO_CLASS, 1, true};
    const float *logits;
    const double *nats;
    size_t count, num_ids;
    bool has_class = steps->head != HEAD_LANGUAGE_MODELING;
    if (steps_tokenize(steps, text)) return -1;
    if (has_class && (steps_infer(steps) || steps_decode(steps, &found))) return -1;
    if (steps_output(steps, &logits, &nats, &count)) return -1;
    const int32_t *ids = steps_ids(steps, &num_ids);
    writer_open(writer, '{');
    writer_name(writer, "token_ids");
    write_integers(writer, ids, num_ids);
    writer_name(writer, "logits");
    write_numbers(writer, logits, nats, count);
    writer_name(writer, "classes");
    if (found.is_single)
        writer_integer(writer, found.values[0]);
    else
        write_integers(writer, found.values, found.count);
    writer_name(writer, "flags");
    worker_write_flags(writer, steps_flags(steps));
    if (steps_word_rows(steps)) {
        writer_name(writer, "word_rows");
        write_integers(writer, steps_word_rows(steps), num_ids * WORD_FEATURES);
    }
    writer_close(writer, '}');
    return 0;
}

static int end_held_reply(worker *worker, int failed) {
    if (!failed) {
        writer_close(&worker->writer, ']');
        return worker_end_reply(worker);
    }
    writer_drop(&worker->writer);
    return -1;
}

int worker_predict_texts(worker *worker) {
    const command *predict = &worker->command;
    int failed = 0;
    writer_hold(&worker->writer);
    worker_begin_reply(worker, "text_predictions");
    writer_name(&worker->writer, "predictions");
    writer_open(&worker->writer, '[');
    for (size_t number = 0; !failed && number < predict->texts.count; number++) {
        query_input text = command_input(predict, predict->texts.first + number);
        failed = predict_text(worker, &text);
    }
    return end_held_reply(worker, failed);
}

// The rows of list `number` of token ids; NULL where the command has none.
static int rows_of_list(const command *infer, size_t number, size_t num_ids, const int32_t **rows) {
    const token_lists *lists = &infer->word_rows;
    const size_t *ends = (const size_t *)(const void *)lists->ends.bytes;
    *rows = NULL;
    if (!lists->count) return 0;
    size_t begin = number && number <= lists->count ? ends[number - 1] : 0;
    if (number >= lists->count || ends[number] - begin != WORD_FEATURES * num_ids)
        return fail(FAILURE_DEVICE, "needs three rows of word features for each token", "stdin",
                    NULL);
    const int32_t *all = (const int32_t *)(const void *)lists->ids.bytes;
    *rows = num_ids ? all + begin : NULL;
    return 0;
}

int worker_infer_tokens(worker *worker) {
    const token_lists *lists = &worker->command.token_ids;
    const int32_t *ids = (const int32_t *)(const void *)lists->ids.bytes;
    const size_t *ends = (const size_t *)(const void *)lists->ends.bytes;
    size_t begin = 0;
    int failed = 0;
    writer_hold(&worker->writer);
    worker_begin_reply(worker, "token_logits");
    writer_name(&worker->writer, "logits");
    writer_open(&worker->writer, '[');
    for (size_t number = 0; !failed && number < lists->count; number++) {
        const float *logits = NULL;
        const double *nats;
        size_t count;
        const int32_t *rows;
        failed = rows_of_list(&worker->command, number, ends[number] - begin, &rows) ||
                 steps_logits(&worker->session.steps, ids ? ids + begin : NULL, rows,
                              ends[number] - begin, &logits, &nats, &count);
        if (!failed) write_numbers(&worker->writer, logits, nats, count);
        begin = ends[number];
    }
    return end_held_reply(worker, failed);
}

// The document of the command: the token before its first one, then its own.
static int read_document(worker *worker, pages *ids, size_t *count) {
    const command *document = &worker->command;
    return steps_read_document(&worker->session.steps, document->start_text, document->text, ids,
                               count);
}

int worker_score_document(worker *worker) {
    pages ids = {NULL, 0};
    size_t count;
    document_score score;
    json_writer *writer = &worker->writer;
    int failed = read_document(worker, &ids, &count);
    const int32_t *all = (const int32_t *)(const void *)ids.bytes;
    failed = failed || document_score_text(&worker->session.steps.stateful, all + 1, count, all[0],
                                           &score);
    pages_release(&ids);
    if (failed) return -1;
    worker_begin_reply(worker, "document");
    writer_name(writer, "nats");
    writer_number(writer, score.nats);
    writer_integer_member(writer, "tokens", (int64_t)score.num_tokens);
    writer_integer_member(writer, "top1_correct", (int64_t)score.top1_correct);
    writer_integer_member(writer, "top3_correct", (int64_t)score.top3_correct);
    return worker_end_reply(worker);
}

static int send_top_k(worker *worker, const int32_t *best, const double *probabilities,
                      size_t num_best, const int32_t *ids, size_t count) {
    json_writer *writer = &worker->writer;
    int64_t unknown = 0;
    int32_t unknown_id = worker->session.steps.file_settings->unknown_id;
    for (size_t index = 0; index < count; index++)
        unknown += unknown_id >= 0 && ids[index] == unknown_id;
    worker_begin_reply(worker, "top_k");
    writer_name(writer, "words");
    writer_open(writer, '[');
    for (size_t index = 0; index < num_best; index++) {
        text_span token = tokenizer_token(worker->session.tokenizer, best[index]);
        writer_string(writer, token.bytes ? token.bytes : "None", token.bytes ? token.size : 4);
    }
    writer_close(writer, ']');
    writer_name(writer, "probabilities");
    writer_open(writer, '[');
    for (size_t index = 0; index < num_best; index++) writer_number(writer, probabilities[index]);
    writer_close(writer, ']');
    writer_integer_member(writer, "tokens_read", (int64_t)count);
    writer_integer_member(writer, "unknown", unknown);
    return worker_end_reply(worker);
}

int worker_complete(worker *worker) {
    stateful_model *model = &worker->session.steps.stateful;
    pages ids = {NULL, 0}, best = {NULL, 0}, probabilities = {NULL, 0};
    size_t count, wanted = (size_t)worker->command.count;
    const float *logits;
    int failed = read_document(worker, &ids, &count);
    const int32_t *all = (const int32_t *)(const void *)ids.bytes;
    failed = failed || stateful_prefill(model, all, count + 1) ||
             stateful_feed_last(model, all[count], &logits);
    if (!failed && wanted > model->vocabulary_size) wanted = model->vocabulary_size;
    failed = failed || pages_reserve_array(&best, wanted, sizeof(int32_t)) ||
             pages_reserve_array(&probabilities, wanted, sizeof(double));
    int32_t *words = (int32_t *)(void *)best.bytes;
    double *values = (double *)(void *)probabilities.bytes;
    int num_best = failed ? -1
                          : scores_top_probabilities(logits, model->vocabulary_size, words, values,
                                                     wanted);
    failed = num_best < 0 || send_top_k(worker, words, values, (size_t)num_best, all + 1, count);
    pages_release(&ids);
    pages_release(&best);
    pages_release(&probabilities);
    return failed ? -1 : 0;
}
