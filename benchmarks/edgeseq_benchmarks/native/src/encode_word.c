#include "status.h"
#include "tokenizer_parts.h"
#include "utf8.h"

int tokenizer_add_id(tokenizer *t, uint32_t id)
{
    if (id >= t->settings->vocabulary_size)
        return status_fail("runner.bin: holds the token id %u, which the model does not have", id);
    if (buffer_need(&t->ids, (t->num_ids + 1) * sizeof(int32_t)))
        return STATUS_FAILED;
    ((int32_t *)(void *)t->ids.bytes)[t->num_ids++] = (int32_t)id;
    return STATUS_OK;
}

static bool is_longer(piece word, uint32_t max_chars)
{
    if (word.size <= max_chars)
        return false;
    size_t count = 0;
    for (size_t i = 0; i < word.size; i++)
        count += (word.bytes[i] & 0xC0) != 0x80;
    return count > max_chars;
}

/* The longest piece that the rest of a word begins with; *size is its part of the word. */
static uint32_t longest_piece(tokenizer *t, piece rest, bool is_first, size_t *size)
{
    const vocabulary *v = &t->vocabulary;
    const piece prefix = is_first ? (piece){t->prefix.bytes, 0} : t->prefix;
    if (v->max_token_bytes < prefix.size)
        return NONE;
    size_t limit = v->max_token_bytes - prefix.size;
    if (limit > rest.size)
        limit = rest.size;
    /* The hash of each beginning, from which the longest that is known is looked for. */
    uint32_t *hashes = (uint32_t *)(void *)t->hashes.bytes;
    uint32_t hash = is_first ? HASH_START : t->prefix_hash;
    for (size_t i = 0; i < limit; i++)
        hashes[i] = hash = hash_add(hash, rest.bytes[i]);
    for (size_t end = limit; end > 0; end--) {
        if (end < rest.size && (rest.bytes[end] & 0xC0) == 0x80)
            continue; /* within a character */
        uint32_t id = token_find(v, hashes[end - 1], prefix.bytes, prefix.size, rest.bytes, end);
        if (id != NONE) {
            *size = end;
            return id;
        }
    }
    return NONE;
}

/* WordPiece (Wu et al. 2016, section 4.1), greedy: the longest piece first. */
static int encode_wordpiece(tokenizer *t, piece word)
{
    const size_t before = t->num_ids;
    if (is_longer(word, t->record.max_word_chars))
        return tokenizer_add_id(t, t->record.unknown);
    for (size_t start = 0, size = 0; start < word.size; start += size) {
        const piece rest = {word.bytes + start, word.size - start};
        uint32_t id = longest_piece(t, rest, start == 0, &size);
        if (id == NONE) {
            t->num_ids = before;
            return tokenizer_add_id(t, t->record.unknown);
        }
        if (tokenizer_add_id(t, id))
            return STATUS_FAILED;
    }
    return STATUS_OK;
}

static int encode_wordlevel(tokenizer *t, piece word)
{
    uint32_t id = NONE;
    if (word.size <= t->vocabulary.max_token_bytes)
        id = token_find(&t->vocabulary, hash_add_all(HASH_START, word.bytes, word.size),
                        word.bytes, 0, word.bytes, word.size);
    return tokenizer_add_id(t, id == NONE ? t->record.unknown : id);
}

int encode_word(tokenizer *t, piece word)
{
    switch (t->record.model) {
    case MODEL_WORDPIECE:
        return encode_wordpiece(t, word);
    case MODEL_WORDLEVEL:
        return encode_wordlevel(t, word);
    default:
        return encode_word_bpe(t, word);
    }
}
