#include "word_windows.h"

#include <string.h>

#include "failure.h"
#include "white_space.h"
#include "word_features.h"

typedef struct {
    size_t start, end; // words
} word_range;

// Both ends of a text count as full context.
#define FULL_CONTEXT SIZE_MAX

static size_t *sizes(pages *memory) { return (size_t *)(void *)memory->bytes; }
static int32_t *integers(pages *memory) { return (int32_t *)(void *)memory->bytes; }
static word_range *ranges_of(word_encoder *encoder) {
    return (word_range *)(void *)encoder->ranges.bytes;
}

void word_encoder_open(word_encoder *encoder, tokenizer *tokenizer, const runner_settings *settings,
                       size_t max_tokens) {
    memset(encoder, 0, sizeof *encoder);
    encoder->tokenizer = tokenizer;
    encoder->settings = settings;
    size_t special = settings->num_special_before + settings->num_special_after;
    encoder->room = max_tokens > special ? max_tokens - special : 1;
}

static int reserve_words(word_encoder *encoder, size_t count) {
    if (pages_reserve_array(&encoder->lengths, count + 1, sizeof(size_t)) ||
        pages_reserve_array(&encoder->starts, count + 1, sizeof(size_t)) ||
        pages_reserve_array(&encoder->inputs, count + 1, sizeof(int32_t)) ||
        pages_reserve_array(&encoder->tokens, count + 1, sizeof(int32_t)))
        return -1;
    return 0;
}

static int encode(word_encoder *encoder, const text_span *words, size_t count, encoding *found) {
    if (tokenizer_encode_words(encoder->tokenizer, words, count, found))
        return fail_status(FAILURE_DEVICE, "cannot be divided into tokens", NULL);
    return 0;
}

// The place of each word's first token, -1 where it has none, in `tokens`; whether all have one.
static bool find_first_tokens(word_encoder *encoder, const encoding *found, size_t count) {
    int32_t *tokens = integers(&encoder->tokens);
    bool is_complete = true;
    for (size_t word = 0; word < count; word++) tokens[word] = -1;
    for (size_t position = found->count; position-- > 0;) {
        int32_t word = found->words[position];
        if (word >= 0 && (size_t)word < count) tokens[word] = (int32_t)position;
    }
    for (size_t word = 0; word < count; word++) is_complete = is_complete && tokens[word] >= 0;
    return is_complete;
}

// The words again, with the unknown token in place of those that have no token.
static int name_unknown_words(word_encoder *encoder, const text_span *words, size_t count,
                              encoding *found) {
    text_span unknown = tokenizer_token(encoder->tokenizer, encoder->settings->unknown_id);
    if (!unknown.bytes) unknown = (text_span){"", 0}; // a damaged file: no such token
    // `words` may be the encoder's own spans, from `word_encoder_split`.
    bool is_own = words == (const text_span *)(const void *)encoder->words.bytes;
    if (pages_reserve_array(&encoder->words, count + 1, sizeof(text_span))) return -1;
    text_span *named = (text_span *)(void *)encoder->words.bytes;
    for (size_t word = 0; word < count; word++) {
        if (!is_own) named[word] = words[word];
        if (integers(&encoder->tokens)[word] < 0) named[word] = unknown;
    }
    if (encode(encoder, named, count, found)) return -1;
    find_first_tokens(encoder, found, count);
    return 0;
}

// The rows of each word's features; the words are valid UTF-8, which the tokenizer has checked.
static int find_features(word_encoder *encoder, const text_span *words, size_t count) {
    uint32_t num_rows = encoder->settings->word_feature_rows;
    if (!num_rows) return 0;
    if (pages_reserve_array(&encoder->rows_of_words, (count + 1) * WORD_FEATURES, sizeof(int32_t)))
        return -1;
    for (size_t word = 0; word < count; word++)
        word_features_rows(words[word], num_rows,
                           integers(&encoder->rows_of_words) + word * WORD_FEATURES);
    return 0;
}

// The rows of `count` tokens of a word, -1 for none, behind those of `used` tokens.
static int add_rows(word_encoder *encoder, size_t used, int32_t word, size_t count) {
    if (!encoder->settings->word_feature_rows) return 0;
    if (pages_reserve_array(&encoder->rows, (used + count) * WORD_FEATURES, sizeof(int32_t)))
        return -1;
    for (size_t token = used; token < used + count; token++) {
        int32_t *rows = integers(&encoder->rows) + token * WORD_FEATURES;
        size_t size = WORD_FEATURES * sizeof *rows;
        if (word < 0)
            memset(rows, 0, size);
        else
            memcpy(rows, integers(&encoder->rows_of_words) + (size_t)word * WORD_FEATURES, size);
    }
    return 0;
}

static bool has_known_token(const word_encoder *encoder, const encoding *found) {
    for (size_t position = 0; position < found->count; position++)
        if (found->words[position] >= 0 && found->ids[position] != encoder->settings->unknown_id)
            return true;
    return false;
}

static int take_whole(word_encoder *encoder, const encoding *found, size_t count) {
    size_t used = found->count ? found->count : 1;
    if (pages_reserve_array(&encoder->ids, used, sizeof(int32_t)) ||
        pages_reserve_array(&encoder->ends, 1, sizeof(size_t)))
        return -1;
    int32_t unknown = encoder->settings->unknown_id;
    if (found->count)
        memcpy(encoder->ids.bytes, found->ids, found->count * sizeof(int32_t));
    else
        integers(&encoder->ids)[0] = unknown < 0 ? 0 : unknown;
    sizes(&encoder->ends)[0] = used;
    for (size_t position = 0; position < used; position++) {
        int32_t word = found->count ? found->words[position] : -1;
        if (word >= 0 && (size_t)word >= count) word = -1;
        if (add_rows(encoder, position, word, 1)) return -1;
    }
    memset(encoder->inputs.bytes, 0, count * sizeof(int32_t));
    return 0;
}

// Ranges of words that cover all of them, each of at most `room` tokens or one word. The next one
// begins at the first word that leaves at most half of the room to what was there already.
static int find_ranges(word_encoder *encoder, size_t count, size_t *num_ranges) {
    const size_t *lengths = sizes(&encoder->lengths);
    size_t room = encoder->room, start = 0;
    *num_ranges = 0;
    while (start < count) {
        size_t end = start, used = 0;
        while (end < count && (used + lengths[end] <= room || end == start)) used += lengths[end++];
        if (pages_reserve_array(&encoder->ranges, *num_ranges + 1, sizeof(word_range))) return -1;
        ranges_of(encoder)[(*num_ranges)++] = (word_range){start, end};
        if (end == count) break;
        size_t overlap = 0, next = end;
        while (next - 1 > start && overlap + lengths[next - 1] <= room / 2)
            overlap += lengths[--next];
        // The overlap must leave room for the word that did not fit.
        while (next < end && overlap + lengths[end] > room) overlap -= lengths[next++];
        start = next;
    }
    return 0;
}

// The tokens of all words before a word.
static size_t begin_of(word_encoder *encoder, size_t word) { return sizes(&encoder->starts)[word]; }

// For each word the range in which the smaller of the tokens before and after it is largest.
static int choose_windows(word_encoder *encoder, size_t count, size_t num_ranges) {
    if (pages_reserve_array(&encoder->contexts, count, sizeof(size_t))) return -1;
    int32_t *inputs = integers(&encoder->inputs);
    size_t *contexts = sizes(&encoder->contexts);
    for (size_t word = 0; word < count; word++) inputs[word] = -1;
    for (size_t number = 0; number < num_ranges; number++) {
        word_range range = ranges_of(encoder)[number];
        for (size_t word = range.start; word < range.end; word++) {
            size_t before = range.start ? begin_of(encoder, word) - begin_of(encoder, range.start)
                                        : FULL_CONTEXT;
            size_t after = range.end < count
                               ? begin_of(encoder, range.end) - begin_of(encoder, word + 1)
                               : FULL_CONTEXT;
            size_t context = before < after ? before : after;
            if (inputs[word] >= 0 && context <= contexts[word]) continue;
            contexts[word] = context;
            inputs[word] = (int32_t)number;
        }
    }
    return 0;
}

static int add_ids(word_encoder *encoder, size_t *used, const int32_t *ids, size_t count,
                   int32_t word) {
    if (!count) return 0; // a tokenizer without special tokens has no array of them
    if (add_rows(encoder, *used, word, count)) return -1;
    if (pages_reserve_array(&encoder->ids, *used + count, sizeof(int32_t))) return -1;
    memcpy(integers(&encoder->ids) + *used, ids, count * sizeof(int32_t));
    *used += count;
    return 0;
}

// The ids of each range between the special tokens. The tokens of a word follow each other, those
// of word w from the place of its first one on, which `tokens` has.
static int fill_windows(word_encoder *encoder, const encoding *found, size_t num_ranges) {
    const runner_settings *settings = encoder->settings;
    const size_t *lengths = sizes(&encoder->lengths);
    size_t used = 0, before = settings->num_special_before, after = settings->num_special_after;
    const int32_t *special = settings->special_ids;
    if (pages_reserve_array(&encoder->ends, num_ranges, sizeof(size_t))) return -1;
    for (size_t number = 0; number < num_ranges; number++) {
        word_range range = ranges_of(encoder)[number];
        if (add_ids(encoder, &used, special, before, -1)) return -1;
        for (size_t word = range.start; word < range.end; word++) {
            int32_t first = integers(&encoder->tokens)[word];
            if (first >= 0 && add_ids(encoder, &used, found->ids + first, lengths[word], (int32_t)word))
                return -1;
        }
        if (after && add_ids(encoder, &used, special + before, after, -1)) return -1;
        sizes(&encoder->ends)[number] = used;
    }
    return 0;
}

static int take_windows(word_encoder *encoder, const encoding *found, size_t count,
                        windowed_text *out) {
    size_t *lengths = sizes(&encoder->lengths), *starts = sizes(&encoder->starts);
    memset(lengths, 0, count * sizeof *lengths);
    for (size_t position = 0; position < found->count; position++) {
        int32_t word = found->words[position];
        if (word >= 0 && (size_t)word < count) lengths[word]++;
    }
    starts[0] = 0;
    for (size_t word = 0; word < count; word++) {
        out->cut_words += lengths[word] > encoder->room;
        if (lengths[word] > encoder->room) lengths[word] = encoder->room;
        starts[word + 1] = starts[word] + lengths[word];
    }
    if (find_ranges(encoder, count, &out->num_windows) ||
        choose_windows(encoder, count, out->num_windows) ||
        fill_windows(encoder, found, out->num_windows))
        return -1;
    int32_t *tokens = integers(&encoder->tokens), *inputs = integers(&encoder->inputs);
    for (size_t word = 0; word < count; word++) {
        size_t begin = ranges_of(encoder)[inputs[word]].start;
        size_t place = encoder->settings->num_special_before + starts[word] - starts[begin];
        tokens[word] = lengths[word] ? (int32_t)place : -1;
    }
    return 0;
}

int word_encoder_encode(word_encoder *encoder, const text_span *words, size_t count,
                        windowed_text *out) {
    encoding found;
    memset(out, 0, sizeof *out);
    if (reserve_words(encoder, count) || encode(encoder, words, count, &found) ||
        find_features(encoder, words, count)) // of the words as they came
        return -1;
    bool is_complete = find_first_tokens(encoder, &found, count);
    if (!is_complete && encoder->settings->unknown_id >= 0 &&
        name_unknown_words(encoder, words, count, &found))
        return -1;
    const runner_settings *settings = encoder->settings;
    size_t special = settings->num_special_before + settings->num_special_after;
    out->unknown_only = !has_known_token(encoder, &found);
    out->num_windows = 1;
    if (found.count <= encoder->room + special ? take_whole(encoder, &found, count)
                                               : take_windows(encoder, &found, count, out))
        return -1;
    out->ids = integers(&encoder->ids);
    out->ends = sizes(&encoder->ends);
    out->inputs = integers(&encoder->inputs);
    out->tokens = integers(&encoder->tokens);
    out->word_rows = settings->word_feature_rows ? integers(&encoder->rows) : NULL;
    out->num_words = count;
    return 0;
}

int word_encoder_split(word_encoder *encoder, text_span text, const text_span **words,
                       size_t *count) {
    *count = 0;
    size_t at = 0;
    while ((at = white_space_end(text, at)) < text.size) {
        size_t end = white_space_begin(text, at);
        if (pages_reserve_array(&encoder->words, *count + 1, sizeof(text_span))) return -1;
        text_span *spans = (text_span *)(void *)encoder->words.bytes;
        spans[(*count)++] = (text_span){text.bytes + at, end - at};
        at = end;
    }
    *words = (const text_span *)(const void *)encoder->words.bytes;
    return 0;
}

void word_encoder_close(word_encoder *encoder) {
    pages_release(&encoder->lengths);
    pages_release(&encoder->starts);
    pages_release(&encoder->ranges);
    pages_release(&encoder->contexts);
    pages_release(&encoder->ids);
    pages_release(&encoder->ends);
    pages_release(&encoder->inputs);
    pages_release(&encoder->tokens);
    pages_release(&encoder->words);
    pages_release(&encoder->rows_of_words);
    pages_release(&encoder->rows);
}
