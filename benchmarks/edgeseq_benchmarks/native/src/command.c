#include "command.h"

#include <string.h>

#include "failure.h"
#include "json_reader.h"

static const int64_t LARGEST = INT64_C(1) << 40;

typedef enum { TEXT, INTEGER, BOOLEAN, TEXTS, ONE_TEXT, WORDS, TOKEN_LISTS } field_kind;

typedef struct {
    const char *name;
    field_kind kind;
    size_t offset;    // of the field in `command`
    uint32_t needed;  // a bit for each command that must have it
    int64_t smallest; // of an integer
} field;

#define FIELD(name, kind, needed, smallest) {#name, kind, offsetof(command, name), needed, smallest}
#define BIT(kind) (1u << COMMAND_##kind)

static const field FIELDS[] = {
    FIELD(model_path, TEXT, BIT(LOAD), 0),
    FIELD(tokenizer_path, TEXT, BIT(LOAD), 0),
    FIELD(signature_key, TEXT, BIT(LOAD), 0),
    FIELD(input_name, TEXT, BIT(LOAD), 0),
    FIELD(output_name, TEXT, BIT(LOAD), 0),
    FIELD(head, TEXT, 0, 0),
    FIELD(phase, TEXT, BIT(READ_MEMORY), 0),
    FIELD(text, TEXT, BIT(SCORE_DOCUMENT) | BIT(COMPLETE), 0),
    FIELD(start_text, TEXT, BIT(SCORE_DOCUMENT) | BIT(COMPLETE), 0),
    FIELD(max_tokens, INTEGER, BIT(LOAD), 1),
    FIELD(labels, INTEGER, BIT(LOAD), 1),
    FIELD(threads, INTEGER, BIT(LOAD), 1),
    FIELD(spawned_ns, INTEGER, BIT(LOAD), 0),
    FIELD(min_queries, INTEGER, BIT(RUN_SLICE), 0),
    FIELD(max_queries, INTEGER, BIT(RUN_SLICE), 0),
    FIELD(min_duration_ns, INTEGER, BIT(RUN_SLICE) | BIT(RUN_LENGTH), 0),
    FIELD(max_duration_ns, INTEGER, BIT(RUN_LENGTH) | BIT(RUN_LIMITED), 0),
    FIELD(min_samples, INTEGER, BIT(RUN_LENGTH), 0),
    FIELD(max_samples, INTEGER, BIT(RUN_LENGTH), 0),
    FIELD(tokens, INTEGER, BIT(RUN_LENGTH), 1),
    FIELD(count, INTEGER, BIT(COMPLETE), 1),
    FIELD(queries, INTEGER, BIT(MEASURE_OVERHEAD), 0),
    FIELD(ledger, BOOLEAN, 0, 0),
    FIELD(announce, BOOLEAN, 0, 0),
    FIELD(texts, TEXTS, BIT(RUN_SLICE) | BIT(RUN_LENGTH) | BIT(PREDICT_TEXTS) | BIT(RUN_LIMITED),
          0),
    FIELD(warmup_texts, TEXTS, BIT(RUN_SLICE), 0),
    FIELD(first_text, ONE_TEXT, BIT(LOAD), 0),
    FIELD(span_labels, WORDS, 0, 0),
    FIELD(token_ids, TOKEN_LISTS, BIT(INFER_TOKENS), 0),
    FIELD(word_rows, TOKEN_LISTS, 0, 0),
};
enum { NUM_FIELDS = sizeof FIELDS / sizeof *FIELDS };

static const struct {
    const char *name;
    command_kind kind;
} COMMANDS[] = {
    {"load", COMMAND_LOAD},
    {"slice", COMMAND_RUN_SLICE},
    {"length", COMMAND_RUN_LENGTH},
    {"predict_texts", COMMAND_PREDICT_TEXTS},
    {"infer_tokens", COMMAND_INFER_TOKENS},
    {"document", COMMAND_SCORE_DOCUMENT},
    {"complete", COMMAND_COMPLETE},
    {"limited", COMMAND_RUN_LIMITED},
    {"memory", COMMAND_READ_MEMORY},
    {"overhead", COMMAND_MEASURE_OVERHEAD},
    {"finish", COMMAND_FINISH},
};

bool span_equals(text_span text, const char *string) {
    return text.size == strlen(string) && memcmp(text.bytes, string, text.size) == 0;
}

static int refuse(const char *what, const char *name) {
    fail(FAILURE_DEVICE, what, "stdin", NULL);
    return fail_found("%s", name);
}

static int add_span(command *into, text_span span) {
    if (pages_reserve_array(&into->spans, into->num_spans + 1, sizeof span)) return -1;
    ((text_span *)(void *)into->spans.bytes)[into->num_spans++] = span;
    return 0;
}

// A string, or an array of them, as spans; says which.
static int read_spans(command *into, json_reader *reader, query_text *text) {
    text_span span;
    bool more = true;
    text->first = into->num_spans;
    text->is_words = !json_is_string(reader);
    if (!text->is_words) {
        if (json_string(reader, &span) || add_span(into, span)) return -1;
    } else {
        if (json_array(reader)) return -1;
        while (more) {
            if (json_element(reader, &more)) return -1;
            if (more && (json_string(reader, &span) || add_span(into, span))) return -1;
        }
    }
    text->count = into->num_spans - text->first;
    return 0;
}

static int read_text(command *into, json_reader *reader) {
    query_text text;
    if (read_spans(into, reader, &text)) return -1;
    if (pages_reserve_array(&into->query_texts, into->num_query_texts + 1, sizeof text)) return -1;
    ((query_text *)(void *)into->query_texts.bytes)[into->num_query_texts++] = text;
    return 0;
}

static int read_texts(command *into, json_reader *reader, text_range *range) {
    bool more = true;
    range->first = into->num_query_texts;
    if (json_array(reader)) return -1;
    while (more) {
        if (json_element(reader, &more)) return -1;
        if (more && read_text(into, reader)) return -1;
    }
    range->count = into->num_query_texts - range->first;
    return 0;
}

static int read_ids(token_lists *lists, json_reader *reader) {
    bool more = true;
    if (json_array(reader)) return -1;
    while (more) {
        int64_t id = 0;
        if (json_element(reader, &more)) return -1;
        if (!more) break;
        if (json_integer(reader, &id)) return -1;
        if (id < INT32_MIN || id > INT32_MAX) return refuse("has a token id out of range", "ids");
        if (pages_reserve_array(&lists->ids, lists->num_ids + 1, sizeof(int32_t))) return -1;
        ((int32_t *)(void *)lists->ids.bytes)[lists->num_ids++] = (int32_t)id;
    }
    if (pages_reserve_array(&lists->ends, lists->count + 1, sizeof(size_t))) return -1;
    ((size_t *)(void *)lists->ends.bytes)[lists->count++] = lists->num_ids;
    return 0;
}

static int read_token_lists(token_lists *lists, json_reader *reader) {
    bool more = true;
    lists->num_ids = lists->count = 0;
    if (json_array(reader)) return -1;
    while (more) {
        if (json_element(reader, &more)) return -1;
        if (more && read_ids(lists, reader)) return -1;
    }
    return 0;
}

static int read_integer(const field *field, json_reader *reader, int64_t *value) {
    // Clock readings are larger than anything that is counted.
    int64_t largest = strstr(field->name, "_ns") ? INT64_MAX : LARGEST;
    if (json_integer(reader, value)) return -1;
    if (*value >= field->smallest && *value <= largest) return 0;
    return refuse("has a number out of range", field->name);
}

static int read_field(command *into, const field *field, json_reader *reader) {
    void *place = (char *)into + field->offset;
    query_text words;
    text_range *range = place;
    switch (field->kind) {
        case TEXT: return json_string(reader, place);
        case INTEGER: return read_integer(field, reader, place);
        case BOOLEAN: return json_boolean(reader, place);
        case TEXTS: return read_texts(into, reader, place);
        case ONE_TEXT:
            *range = (text_range){into->num_query_texts, 1};
            return read_text(into, reader);
        case WORDS:
            if (read_spans(into, reader, &words)) return -1;
            *range = (text_range){words.first, words.count};
            return 0;
        case TOKEN_LISTS: return read_token_lists(place, reader);
    }
    return -1;
}

static void clear(command *into) {
    pages query_texts = into->query_texts, spans = into->spans;
    token_lists token_ids = into->token_ids, word_rows = into->word_rows;
    memset(into, 0, sizeof *into);
    into->query_texts = query_texts;
    into->spans = spans;
    into->token_ids = (token_lists){.ids = token_ids.ids, .ends = token_ids.ends};
    into->word_rows = (token_lists){.ids = word_rows.ids, .ends = word_rows.ends};
    static const char HEAD[] = "text-classification";
    into->head = (text_span){HEAD, sizeof HEAD - 1};
}

static int check_fields(command *into, uint64_t present) {
    into->kind = COMMAND_UNKNOWN;
    for (size_t index = 0; index < sizeof COMMANDS / sizeof *COMMANDS; index++)
        if (span_equals(into->name, COMMANDS[index].name)) into->kind = COMMANDS[index].kind;
    for (size_t index = 0; index < NUM_FIELDS; index++)
        if (FIELDS[index].needed >> into->kind & 1 && !(present >> index & 1))
            return refuse("is not a command: a field is missing", FIELDS[index].name);
    return 0;
}

int command_read(command *into, char *line, size_t size) {
    json_reader reader = json_read(line, size);
    uint64_t present = 0;
    bool more = true, is_named = false;
    clear(into);
    if (json_object(&reader)) return -1;
    while (more) {
        text_span name;
        if (json_member(&reader, &more, &name)) return -1;
        if (!more) break;
        size_t index = 0;
        while (index < NUM_FIELDS && !span_equals(name, FIELDS[index].name)) index++;
        int failed;
        if (span_equals(name, "command")) {
            failed = json_string(&reader, &into->name);
            is_named = true;
        } else if (index < NUM_FIELDS) {
            failed = read_field(into, &FIELDS[index], &reader);
            present |= UINT64_C(1) << index;
        } else {
            failed = json_skip(&reader);
        }
        if (failed) return -1;
    }
    if (json_end(&reader)) return -1;
    if (!is_named) return refuse("is not a command: a field is missing", "command");
    return check_fields(into, present);
}

const query_text *command_text(const command *from, size_t number) {
    return (const query_text *)(const void *)from->query_texts.bytes + number;
}

const text_span *command_spans(const command *from, const query_text *text) {
    return (const text_span *)(const void *)from->spans.bytes + text->first;
}

int command_c_string(text_span text, pages *memory, const char **string) {
    if (memchr(text.bytes, 0, text.size)) return refuse("has a string with a NUL", "a string");
    if (pages_reserve(memory, text.size + 1)) return -1;
    memcpy(memory->bytes, text.bytes, text.size);
    memory->bytes[text.size] = '\0';
    *string = memory->bytes;
    return 0;
}

void command_release(command *from) {
    pages_release(&from->query_texts);
    pages_release(&from->spans);
    pages_release(&from->token_ids.ids);
    pages_release(&from->token_ids.ends);
    pages_release(&from->word_rows.ids);
    pages_release(&from->word_rows.ends);
    from->num_query_texts = from->num_spans = 0;
}
