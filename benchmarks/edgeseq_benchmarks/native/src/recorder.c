#define _POSIX_C_SOURCE 200809L
#include "recorder.h"

#include <string.h>
#include <time.h>

static query_record *records_of(const recorder *record) {
    return (query_record *)(void *)record->records.bytes;
}
static int64_t *values_of(const recorder *record) {
    return (int64_t *)(void *)record->values.bytes;
}
static size_t *ends_of(const recorder *record) { return (size_t *)(void *)record->ends.bytes; }

int64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

query_input command_input(const command *from, size_t number) {
    const query_text *text = command_text(from, number);
    const text_span *spans = command_spans(from, text);
    if (!text->is_words) return (query_input){.text = *spans};
    // A pointer that is never NULL, also where there is no word.
    static const text_span NO_WORDS[1];
    return (query_input){.words = text->count ? spans : NO_WORDS, .num_words = text->count};
}

// The first prediction of a text is kept, and every later one compared with it.
static int note_prediction(recorder *record, size_t number, const classes *found) {
    if (number < record->num_texts) {
        size_t begin = number ? ends_of(record)[number - 1] : 0;
        bool is_same = ends_of(record)[number] - begin == found->count;
        for (size_t index = 0; is_same && index < found->count; index++)
            is_same = values_of(record)[begin + index] == found->values[index];
        if (!is_same) record->is_inconsistent.bytes[number] = 1;
        return 0;
    }
    if (pages_reserve_array(&record->values, record->num_values + found->count, sizeof(int64_t)))
        return -1;
    for (size_t index = 0; index < found->count; index++)
        values_of(record)[record->num_values++] = found->values[index];
    ends_of(record)[record->num_texts++] = record->num_values;
    return 0;
}

static int reserve(recorder *record, size_t num_texts) {
    if (pages_reserve_array(&record->records, record->count + num_texts, sizeof(query_record)) ||
        pages_reserve_array(&record->values, record->num_values + num_texts, sizeof(int64_t)) ||
        pages_reserve_array(&record->ends, num_texts, sizeof(size_t)) ||
        pages_reserve_array(&record->is_inconsistent, num_texts, 1))
        return -1;
    return 0;
}

int recorder_run(recorder *record, const command *from, text_range texts, steps *steps) {
    if (reserve(record, texts.count)) return -1;
    for (size_t number = 0; number < texts.count; number++) {
        static const int32_t NOTHING = 0;
        classes found = {&NOTHING, 1, true};
        query_input input = {{NULL, 0}, NULL, 0};
        if (steps) input = command_input(from, texts.first + number);
        int64_t begun = clock_ns();
        if (steps && steps_tokenize(steps, &input)) return -1;
        int64_t tokenized = clock_ns();
        if (steps && steps_infer(steps)) return -1;
        int64_t inferred = clock_ns();
        if (steps && steps_decode(steps, &found)) return -1;
        int64_t decoded = clock_ns();
        // What is stored is stored after the last reading.
        records_of(record)[record->count++] = (query_record){
            .text = (int64_t)number,
            .tokens = steps ? (int64_t)steps_num_tokens(steps) : 0,
            .tokenize_ns = tokenized - begun,
            .inference_ns = inferred - tokenized,
            .decode_ns = decoded - inferred,
            .total_ns = decoded - begun,
        };
        if (note_prediction(record, number, &found)) return -1;
    }
    return 0;
}

void recorder_write_column(const recorder *record, json_writer *writer, size_t offset) {
    writer_base64_begin(writer);
    for (size_t index = 0; index < record->count; index++)
        writer_base64_add(writer, (const char *)(records_of(record) + index) + offset,
                          sizeof(int64_t));
    writer_base64_end(writer);
}

void recorder_write_columns(const recorder *record, json_writer *writer) {
    static const struct {
        const char *name;
        size_t offset;
    } COLUMNS[] = {
        {"text", offsetof(query_record, text)},
        {"tokens", offsetof(query_record, tokens)},
        {"tokenize_ns", offsetof(query_record, tokenize_ns)},
        {"inference_ns", offsetof(query_record, inference_ns)},
        {"decode_ns", offsetof(query_record, decode_ns)},
        {"total_ns", offsetof(query_record, total_ns)},
    };
    writer_open(writer, '{');
    for (size_t index = 0; index < sizeof COLUMNS / sizeof *COLUMNS; index++) {
        writer_name(writer, COLUMNS[index].name);
        recorder_write_column(record, writer, COLUMNS[index].offset);
    }
    writer_close(writer, '}');
}

void recorder_write_predictions(const recorder *record, json_writer *writer) {
    writer_open(writer, '[');
    size_t begin = 0;
    for (size_t number = 0; number < record->num_texts; number++) {
        size_t end = ends_of(record)[number];
        writer_base64_begin(writer);
        if (end > begin)
            writer_base64_add(writer, values_of(record) + begin, (end - begin) * sizeof(int64_t));
        writer_base64_end(writer);
        begin = end;
    }
    writer_close(writer, ']');
}

void recorder_write_inconsistent(const recorder *record, json_writer *writer) {
    writer_open(writer, '[');
    for (size_t number = 0; number < record->num_texts; number++)
        if (record->is_inconsistent.bytes[number]) writer_integer(writer, (int64_t)number);
    writer_close(writer, ']');
}

void recorder_release(recorder *record) {
    pages_release(&record->records);
    pages_release(&record->values);
    pages_release(&record->ends);
    pages_release(&record->is_inconsistent);
    memset(record, 0, sizeof *record);
}
