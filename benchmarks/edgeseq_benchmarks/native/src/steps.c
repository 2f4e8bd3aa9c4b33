#include "steps.h"

#include <string.h>

#include "failure.h"
#include "scores.h"
#include "white_space.h"
#include "word_features.h"

static int32_t *integers(pages *memory) { return (int32_t *)(void *)memory->bytes; }
static float *floats(pages *memory) { return (float *)(void *)memory->bytes; }

bool steps_are_numeric(runner_head head) {
    return head == HEAD_SEQUENCE_CLASSIFICATION || head == HEAD_SEQUENCE_REGRESSION;
}

size_t steps_width(const steps *steps) { return steps->rows ? steps->rows->features : 1; }

static int open_model(steps *steps, const steps_settings *settings) {
    if (settings->head == HEAD_LANGUAGE_MODELING)
        return stateful_open(&steps->stateful, settings->model_path, settings->signature_key,
                             settings->num_logits, settings->max_tokens, settings->threads);
    model_settings model = {
        .path = settings->model_path,
        .signature_key = settings->signature_key,
        .input_name = settings->input_name,
        .output_name = settings->output_name,
        .num_labels = settings->num_logits,
        .by_token = settings->head == HEAD_TOKEN_CLASSIFICATION,
        .has_word_features = steps->file_settings && steps->file_settings->word_feature_rows > 0,
        .features = steps->rows ? steps->rows->features : 0,
        .threads = settings->threads,
    };
    return model_open(&steps->model, &model);
}

// A threshold and a decision for each label.
static int open_decisions(steps *steps, const steps_settings *settings) {
    const runner_settings *file = steps->file_settings;
    if (!file->thresholds || file->num_labels != settings->num_logits)
        return fail(FAILURE_BUNDLE, "has no threshold for each label", "runner.bin",
                    "convert the bundle again");
    return pages_reserve_array(&steps->tags, settings->num_logits, sizeof(int32_t));
}

int steps_open(steps *steps, const steps_settings *settings, tokenizer *tokenizer,
               const runner_file *file) {
    memset(steps, 0, sizeof *steps);
    steps->head = settings->head;
    steps->tokenizer = tokenizer;
    steps->file_settings = file ? runner_file_settings(file) : NULL;
    steps->rows = settings->rows;
    steps->max_tokens = settings->max_tokens;
    if (open_model(steps, settings)) return -1;
    if (settings->head == HEAD_MULTILABEL_CLASSIFICATION) return open_decisions(steps, settings);
    if (settings->head == HEAD_SEQUENCE_REGRESSION)
        return pages_reserve_array(&steps->tags, settings->num_logits, sizeof(int32_t));
    if (settings->head != HEAD_TOKEN_CLASSIFICATION) return 0;
    const runner_settings *of_file = steps->file_settings;
    if (of_file->transitions && of_file->num_labels != settings->num_logits)
        return fail(FAILURE_BUNDLE, "has transitions of other labels", "runner.bin",
                    "convert the bundle again");
    word_encoder_open(&steps->encoder, tokenizer, steps->file_settings, settings->max_tokens);
    return tagger_open(&steps->tagger, settings->span_labels, settings->num_span_labels,
                       settings->num_logits, steps->file_settings->transitions);
}

static int encode(steps *steps, text_span text, size_t max_tokens) {
    if (tokenizer_encode(steps->tokenizer, text, max_tokens, &steps->encoded))
        return fail_status(FAILURE_DEVICE, "cannot be divided into tokens", "a text");
    return 0;
}

// The words with a space between them.
static int join_words(steps *steps, const query_input *input, text_span *text) {
    size_t used = 0;
    for (size_t word = 0; word < input->num_words; word++) {
        const text_span *span = &input->words[word];
        if (pages_reserve_array(&steps->joined, used + span->size + 1, 1)) return -1;
        if (word) steps->joined.bytes[used++] = ' ';
        memcpy(steps->joined.bytes + used, span->bytes, span->size);
        used += span->size;
    }
    *text = (text_span){used ? steps->joined.bytes : "", used};
    return 0;
}

static int tokenize_words(steps *steps, const query_input *input) {
    const text_span *words = input->words;
    size_t count = input->num_words;
    if (!words && word_encoder_split(&steps->encoder, input->text, &words, &count)) return -1;
    return word_encoder_encode(&steps->encoder, words, count, &steps->windowed);
}

// Copies the numbers of a sequence from the mapped rows.
static int read_numbers(steps *steps, const query_input *input) {
    const sequence_rows *rows = steps->rows;
    size_t start, count;
    if (input->words)
        return fail(FAILURE_DEVICE, "is a list of words", "a place", "send the place of a sequence");
    if (sequence_rows_place(rows, input->text, &start, &count)) return -1;
    if (!sequence_rows_within(rows, start, count)) {
        fail(FAILURE_BUNDLE, "has no such rows", rows->path, NULL);
        fail_found("%.*s", (int)input->text.size, input->text.bytes);
        return fail_expected("within %zu rows", rows->num_rows);
    }
    size_t size = count * rows->features;
    if (pages_reserve_array(&steps->numbers, size, sizeof(float))) return -1;
    memcpy(steps->numbers.bytes, rows->numbers + start * rows->features, size * sizeof(float));
    steps->num_steps = count;
    return 0;
}

int steps_tokenize(steps *steps, const query_input *input) {
    text_span text = input->text;
    switch (steps->head) {
        case HEAD_TOKEN_CLASSIFICATION: return tokenize_words(steps, input);
        case HEAD_LANGUAGE_MODELING:
            if (input->words && join_words(steps, input, &text)) return -1;
            return encode(steps, text, 0); // however little of it the model sees at a time
        case HEAD_SEQUENCE_CLASSIFICATION:
        case HEAD_SEQUENCE_REGRESSION: return read_numbers(steps, input);
        case HEAD_MULTILABEL_CLASSIFICATION:
        case HEAD_TEXT_CLASSIFICATION: break;
    }
    if (input->words) return fail(FAILURE_DEVICE, "is a list of words", "a text", "send a text");
    return encode(steps, text, steps->max_tokens);
}

static size_t longest_window(const windowed_text *windowed) {
    size_t longest = 0, begin = 0;
    for (size_t number = 0; number < windowed->num_windows; number++) {
        size_t size = windowed->ends[number] - begin;
        if (size > longest) longest = size;
        begin = windowed->ends[number];
    }
    return longest;
}

int steps_allocate(steps *steps, const query_input *text) {
    if (steps_tokenize(steps, text)) return -1;
    switch (steps->head) {
        case HEAD_TOKEN_CLASSIFICATION:
            return model_allocate(&steps->model, longest_window(&steps->windowed));
        case HEAD_LANGUAGE_MODELING:
            return stateful_allocate(&steps->stateful, steps->encoded.count, steps->encoded.count);
        case HEAD_SEQUENCE_CLASSIFICATION:
        case HEAD_SEQUENCE_REGRESSION: return model_allocate(&steps->model, steps->num_steps);
        case HEAD_MULTILABEL_CLASSIFICATION:
        case HEAD_TEXT_CLASSIFICATION: break;
    }
    return model_allocate(&steps->model, steps->encoded.count);
}

// The logits of all windows one after the other; those of a single window stay where they are.
static int infer_windows(steps *steps) {
    const windowed_text *windowed = &steps->windowed;
    size_t num_labels = steps->model.num_labels, begin = 0, rows = 0;
    size_t num_tokens = windowed->ends[windowed->num_windows - 1];
    bool is_single = windowed->num_windows == 1;
    if (!is_single &&
        pages_reserve_array(&steps->window_logits, num_tokens * num_labels, sizeof(float)))
        return -1;
    for (size_t number = 0; number < windowed->num_windows; number++) {
        size_t size = windowed->ends[number] - begin;
        const float *logits;
        const int32_t *word_rows = windowed->word_rows;
        if (word_rows) word_rows += begin * WORD_FEATURES;
        if (model_infer(&steps->model, windowed->ids + begin, word_rows, size, &logits, &rows))
            return -1;
        if (!is_single)
            memcpy(floats(&steps->window_logits) + begin * num_labels, logits,
                   rows * num_labels * sizeof(float));
        steps->logits = logits;
        begin += size;
    }
    if (!is_single) steps->logits = floats(&steps->window_logits);
    return 0;
}

int steps_infer(steps *steps) {
    const encoding *encoded = &steps->encoded;
    const float *logits;
    switch (steps->head) {
        case HEAD_TOKEN_CLASSIFICATION: return infer_windows(steps);
        case HEAD_LANGUAGE_MODELING:
            if (stateful_feed(&steps->stateful, encoded->ids, encoded->count, encoded->count,
                              &logits))
                return -1;
            steps->logits = logits + (encoded->count - 1) * steps->stateful.vocabulary_size;
            return 0;
        case HEAD_SEQUENCE_CLASSIFICATION:
        case HEAD_SEQUENCE_REGRESSION:
            return model_infer_numbers(&steps->model, floats(&steps->numbers), steps->num_steps,
                                       &steps->logits);
        case HEAD_MULTILABEL_CLASSIFICATION:
        case HEAD_TEXT_CLASSIFICATION: break;
    }
    size_t rows;
    return model_infer(&steps->model, encoded->ids, NULL, encoded->count, &steps->logits, &rows);
}

// The logits [words, labels]; a word without a token gets zeros.
static int gather_words(steps *steps) {
    const windowed_text *windowed = &steps->windowed;
    size_t num_labels = steps->model.num_labels;
    if (pages_reserve_array(&steps->word_logits, windowed->num_words * num_labels, sizeof(float)))
        return -1;
    size_t fixed = steps->model.fixed_length;
    for (size_t word = 0; word < windowed->num_words; word++) {
        float *row = floats(&steps->word_logits) + word * num_labels;
        size_t window = (size_t)windowed->inputs[word];
        size_t begin = window ? windowed->ends[window - 1] : 0;
        int32_t token = windowed->tokens[word];
        // A model of a fixed length has no logits behind it.
        bool has_logits = token >= 0 && (!fixed || (size_t)token < fixed);
        if (!has_logits)
            memset(row, 0, num_labels * sizeof *row);
        else
            memcpy(row, steps->logits + (begin + (size_t)token) * num_labels,
                   num_labels * sizeof *row);
    }
    return 0;
}

static int decode_words(steps *steps, classes *found) {
    size_t count = steps->windowed.num_words;
    if (gather_words(steps) || pages_reserve_array(&steps->tags, count + 1, sizeof(int32_t)))
        return -1;
    int32_t *tags = integers(&steps->tags);
    if (tagger_decode(&steps->tagger, floats(&steps->word_logits), count, tags)) return -1;
    *found = (classes){tags, count, false};
    return 0;
}

int steps_decode(steps *steps, classes *found) {
    int32_t best[3] = {0};
    switch (steps->head) {
        case HEAD_TOKEN_CLASSIFICATION: return decode_words(steps, found);
        case HEAD_MULTILABEL_CLASSIFICATION:
            scores_decide(steps->logits, steps->file_settings->thresholds, steps->model.num_labels,
                          integers(&steps->tags));
            *found = (classes){integers(&steps->tags), steps->model.num_labels, false};
            return 0;
        case HEAD_LANGUAGE_MODELING: // the first of the three words that an application suggests
            scores_top_k(steps->logits, steps->stateful.vocabulary_size, best, 3);
            steps->single_class = best[0];
            break;
        case HEAD_SEQUENCE_REGRESSION: // the bits, so that they travel exactly
            memcpy(steps->tags.bytes, steps->logits, steps->model.num_labels * sizeof(float));
            *found = (classes){integers(&steps->tags), steps->model.num_labels, false};
            return 0;
        case HEAD_SEQUENCE_CLASSIFICATION:
        case HEAD_TEXT_CLASSIFICATION:
            steps->single_class = (int32_t)scores_argmax(steps->logits, steps->model.num_labels);
            break;
    }
    *found = (classes){&steps->single_class, 1, true};
    return 0;
}

const int32_t *steps_ids(const steps *steps, size_t *count) {
    if (steps->head != HEAD_TOKEN_CLASSIFICATION) {
        *count = steps->encoded.count;
        return steps->encoded.ids;
    }
    *count = steps->windowed.ends[steps->windowed.num_windows - 1];
    return steps->windowed.ids;
}

const int32_t *steps_word_rows(const steps *steps) {
    return steps->head == HEAD_TOKEN_CLASSIFICATION ? steps->windowed.word_rows : NULL;
}

size_t steps_num_tokens(const steps *steps) {
    size_t count;
    steps_ids(steps, &count);
    return steps->rows ? steps->num_steps : count;
}

tokenization_flags steps_flags(const steps *steps) {
    const encoding *encoded = &steps->encoded;
    const windowed_text *windowed = &steps->windowed;
    switch (steps->head) {
        case HEAD_MULTILABEL_CLASSIFICATION:
        case HEAD_TEXT_CLASSIFICATION:
            return (tokenization_flags){encoded->truncated, encoded->unknown_only, false};
        case HEAD_TOKEN_CLASSIFICATION:
            return (tokenization_flags){windowed->cut_words > 0, windowed->unknown_only,
                                        windowed->num_windows > 1};
        case HEAD_SEQUENCE_CLASSIFICATION:
        case HEAD_SEQUENCE_REGRESSION:
        case HEAD_LANGUAGE_MODELING: break;
    }
    return (tokenization_flags){false, false, false};
}

static int log_probabilities(steps *steps, const int32_t *ids, size_t count, const double **nats) {
    if (pages_reserve_array(&steps->nats, count + 1, sizeof(double))) return -1;
    *nats = (const double *)(const void *)steps->nats.bytes;
    return document_log_probabilities(&steps->stateful, ids, count,
                                      (double *)(void *)steps->nats.bytes);
}

int steps_output(steps *steps, const float **logits, const double **nats, size_t *count) {
    *nats = NULL;
    *logits = steps->logits;
    *count = steps->model.num_labels;
    if (steps->head == HEAD_TOKEN_CLASSIFICATION) {
        *logits = floats(&steps->word_logits);
        *count *= steps->windowed.num_words;
    }
    if (steps->head != HEAD_LANGUAGE_MODELING) return 0;
    *count = steps->encoded.count;
    return log_probabilities(steps, steps->encoded.ids, steps->encoded.count, nats);
}

static int check_rows(const steps *steps, const int32_t *word_rows, size_t count) {
    int64_t last = WORD_FEATURES * (int64_t)steps->file_settings->word_feature_rows;
    for (size_t index = 0; word_rows && index < WORD_FEATURES * count; index++)
        if (word_rows[index] < 0 || word_rows[index] > last) {
            fail(FAILURE_DEVICE, "has a row of word features that the model does not have", "stdin",
                 NULL);
            return fail_found("%d", (int)word_rows[index]);
        }
    return 0;
}

int steps_logits(steps *steps, const int32_t *ids, const int32_t *word_rows, size_t count,
                 const float **logits, const double **nats, size_t *num_logits) {
    *nats = NULL;
    *num_logits = count;
    if (steps->rows)
        return fail(FAILURE_DEVICE, "the model takes numbers, not token ids", NULL,
                    "send `predict_texts`");
    if (steps->head == HEAD_LANGUAGE_MODELING) return log_probabilities(steps, ids, count, nats);
    size_t rows = 0;
    if (check_rows(steps, word_rows, count) ||
        model_infer(&steps->model, ids, word_rows, count, logits, &rows))
        return -1;
    *num_logits = rows * steps->model.num_labels;
    return 0;
}

int steps_prepare_repeats(steps *steps, const int32_t *ids, size_t count) {
    if (steps->head != HEAD_LANGUAGE_MODELING) return 0;
    return stateful_prefill(&steps->stateful, ids, count);
}

int steps_repeat(steps *steps, const int32_t *ids, size_t count) {
    size_t rows;
    const float *logits;
    if (steps->head == HEAD_LANGUAGE_MODELING)
        return stateful_feed_last(&steps->stateful, ids[count - 1], &logits);
    if (steps->rows)
        return model_infer_numbers(&steps->model, (const float *)(const void *)ids, count, &logits);
    return model_infer(&steps->model, ids, NULL, count, &logits, &rows);
}

static int encode_document(steps *steps, text_span text) {
    steps->encoded = (encoding){0};
    return white_space_end(text, 0) == text.size ? 0 : encode(steps, text, 0);
}

int steps_read_document(steps *steps, text_span start_text, text_span text, pages *ids,
                        size_t *count) {
    const encoding *found = &steps->encoded;
    if (steps->head != HEAD_LANGUAGE_MODELING)
        return fail(FAILURE_DEVICE, "no language model is loaded", NULL, "send `load` first");
    if (encode_document(steps, start_text)) return -1;
    if (!found->count) {
        fail(FAILURE_DEVICE, "the tokenizer has no token for what stands before a text", NULL, NULL);
        return fail_found("%.*s", (int)start_text.size, start_text.bytes);
    }
    int32_t start_id = found->ids[found->count - 1];
    if (encode_document(steps, text) ||
        pages_reserve_array(ids, found->count + 1, sizeof(int32_t)))
        return -1;
    integers(ids)[0] = start_id;
    if (found->count) memcpy(integers(ids) + 1, found->ids, found->count * sizeof(int32_t));
    *count = found->count;
    return 0;
}

void steps_close(steps *steps) {
    if (steps->head == HEAD_LANGUAGE_MODELING)
        stateful_close(&steps->stateful);
    else
        model_close(&steps->model);
    if (steps->head == HEAD_TOKEN_CLASSIFICATION) {
        word_encoder_close(&steps->encoder);
        tagger_close(&steps->tagger);
    }
    pages *all[] = {&steps->window_logits, &steps->word_logits, &steps->tags, &steps->joined,
                    &steps->nats, &steps->numbers};
    for (size_t index = 0; index < sizeof all / sizeof *all; index++) pages_release(all[index]);
}
