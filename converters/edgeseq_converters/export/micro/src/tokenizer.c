#include "tokenizer.h"

#include <stdbool.h>
#include <string.h>

#include "vocabulary.h"

typedef struct {
    int32_t *ids;
    size_t count, limit; /* the limit leaves room for the special tokens behind the text */
} token_list;

static void add_id(token_list *tokens, int32_t id)
{
    if (tokens->count < tokens->limit) tokens->ids[tokens->count++] = id;
}

static bool is_space(unsigned char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r' ||
           (!REMOVE_CONTROLS && (byte == '\v' || byte == '\f'));
}

static bool is_control(unsigned char byte)
{
    return (byte < ' ' && !is_space(byte)) || byte == 0x7f;
}

static bool is_letter(unsigned char byte)
{
    return byte >= 0x80 || (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
           (byte >= 'A' && byte <= 'Z');
}

static bool is_punctuation(unsigned char byte)
{
    return !is_letter(byte) && byte > ' ' && byte < 0x7f;
}

static size_t character_size(const char *text, size_t size)
{
    unsigned char first = (unsigned char)text[0];
    size_t expected = first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    return expected < size ? expected : size;
}

static bool is_word_character(unsigned char byte)
{
    return is_letter(byte) || byte == '_';
}

/* The size of the word at the beginning of a text, which is not white space there. */
static size_t word_size(const char *text, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t end = 0;
    switch (SPLIT) {
    case SPLIT_CHARACTERS: return character_size(text, size);
    case SPLIT_PUNCTUATION:
        if (is_punctuation(bytes[0])) return 1;
        while (end < size && !is_space(bytes[end]) && !is_punctuation(bytes[end])) end++;
        return end;
    case SPLIT_WORDS:
        while (end < size && !is_space(bytes[end]) &&
               is_word_character(bytes[end]) == is_word_character(bytes[0]))
            end++;
        return end;
    default:
        while (end < size && !is_space(bytes[end])) end++;
        return end;
    }
}

/* Compares a token of the table with the prefix and the piece behind each other. */
static int compare(size_t index, const char *prefix, size_t prefix_size, const char *piece,
                   size_t piece_size)
{
    const char *token = vocabulary_bytes + vocabulary_offsets[index];
    size_t size = (size_t)(vocabulary_offsets[index + 1] - vocabulary_offsets[index]);
    size_t common = size < prefix_size ? size : prefix_size;
    int order = memcmp(token, prefix, common);
    if (order || size < prefix_size) return order ? order : -1;
    size -= prefix_size;
    common = size < piece_size ? size : piece_size;
    order = memcmp(token + prefix_size, piece, common);
    if (order) return order;
    return size < piece_size ? -1 : size > piece_size;
}

/* The id of a token, -1 where there is none: a binary search in the sorted table. */
static int32_t find(const char *prefix, size_t prefix_size, const char *piece, size_t piece_size)
{
    size_t low = 0, high = VOCABULARY_SIZE;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(middle, prefix, prefix_size, piece, piece_size);
        if (order == 0) return (int32_t)vocabulary_ids[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

/* The longest known piece again and again; the unknown token where a word has none at a place. */
static void add_pieces(token_list *tokens, const char *word, size_t size)
{
    size_t count = tokens->count;
    for (size_t begin = 0; begin < size;) {
        const char *prefix = begin ? PIECE_PREFIX : "";
        size_t end = size;
        int32_t id = -1;
        while (end > begin &&
               (id = find(prefix, strlen(prefix), word + begin, end - begin)) < 0)
            do end--;
            while (end > begin && ((unsigned char)word[end] & 0xc0) == 0x80);
        if (id < 0) {
            tokens->count = count;
            add_id(tokens, UNKNOWN_ID);
            return;
        }
        add_id(tokens, id);
        begin = end;
    }
}

static void add_word(token_list *tokens, const char *text, size_t size)
{
    char word[WORD_LIMIT_BYTES];
    size_t length = 0, characters = 0;
    for (size_t at = 0; at < size; at++) {
        unsigned char byte = (unsigned char)text[at];
        if (REMOVE_CONTROLS && is_control(byte)) continue;
        if (LOWERCASE && byte >= 'A' && byte <= 'Z') byte = (unsigned char)(byte + 'a' - 'A');
        characters += (byte & 0xc0) != 0x80;
        if (length == sizeof word || characters > WORD_LIMIT_CHARACTERS) {
            add_id(tokens, UNKNOWN_ID);
            return;
        }
        word[length++] = (char)byte;
    }
    if (length == 0) return;
    if (HAS_PIECES) {
        add_pieces(tokens, word, length);
    } else {
        int32_t id = find("", 0, word, length);
        add_id(tokens, id < 0 ? UNKNOWN_ID : id);
    }
}

size_t tokenize(const char *text, size_t size, int32_t *ids)
{
    token_list tokens = {ids, 0, MAX_TOKENS - NUM_IDS_AFTER};
    for (const int32_t *id = ids_before; *id >= 0; id++) add_id(&tokens, *id);
    for (size_t at = 0; at < size;) {
        if (SPLIT != SPLIT_CHARACTERS && is_space((unsigned char)text[at])) {
            at++;
            continue;
        }
        size_t length = word_size(text + at, size - at);
        add_word(&tokens, text + at, length);
        at += length;
    }
    tokens.limit = MAX_TOKENS;
    for (const int32_t *id = ids_after; *id >= 0; id++) add_id(&tokens, *id);
    if (tokens.count == 0) add_id(&tokens, UNKNOWN_ID); /* an empty text */
    return tokens.count;
}
