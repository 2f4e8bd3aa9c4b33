/* Byte-pair encoding (Sennrich et al. 2016): the merge that was learnt first is done first, of
   equal ones the leftmost. */
#include <string.h>

#include "status.h"
#include "tokenizer_parts.h"
#include "utf8.h"

/* Up to here looking through all pairs is faster than keeping them sorted. */
enum { SHORT_WORD = 48 };

typedef struct {
    uint32_t id;        /* NONE: merged into the one before it */
    uint32_t prev, next; /* NONE at the ends */
} symbol;

typedef struct {
    uint32_t merge, position;
} candidate;

/* A heap: its smallest element first. */
typedef struct {
    candidate *at;
    size_t count;
} candidates;

static bool comes_first(candidate a, candidate b)
{
    return a.merge != b.merge ? a.merge < b.merge : a.position < b.position;
}

static void heap_push(candidates *heap, candidate added)
{
    size_t i = heap->count++;
    for (; i > 0 && comes_first(added, heap->at[(i - 1) / 2]); i = (i - 1) / 2)
        heap->at[i] = heap->at[(i - 1) / 2];
    heap->at[i] = added;
}

static candidate heap_pop(candidates *heap)
{
    const candidate top = heap->at[0], last = heap->at[--heap->count];
    size_t i = 0;
    for (size_t child = 1; child < heap->count; child = 2 * i + 1) {
        if (child + 1 < heap->count && comes_first(heap->at[child + 1], heap->at[child]))
            child++;
        if (!comes_first(heap->at[child], last))
            break;
        heap->at[i] = heap->at[child];
        i = child;
    }
    heap->at[i] = last;
    return top;
}

static void push_pair(const tokenizer *t, candidates *heap, const symbol *symbols, uint32_t first)
{
    if (first == NONE || symbols[first].next == NONE)
        return;
    uint32_t merge = merge_find(&t->vocabulary, symbols[first].id, symbols[symbols[first].next].id);
    if (merge != NONE)
        heap_push(heap, (candidate){merge, first});
}

static int merge_long(tokenizer *t, symbol *symbols, uint32_t count)
{
    /* Each merge adds two pairs at most and takes a symbol away. */
    if (buffer_need(&t->heap, 3 * (size_t)count * sizeof(candidate)))
        return STATUS_FAILED;
    candidates heap = {(candidate *)(void *)t->heap.bytes, 0};
    for (uint32_t i = 0; i < count; i++) {
        symbols[i].prev = i == 0 ? NONE : i - 1;
        symbols[i].next = i + 1 == count ? NONE : i + 1;
    }
    for (uint32_t i = 0; i + 1 < count; i++)
        push_pair(t, &heap, symbols, i);
    while (heap.count > 0) {
        const candidate top = heap_pop(&heap);
        symbol *left = &symbols[top.position];
        const merge_record *merge = &t->vocabulary.merges[top.merge];
        if (left->id != merge->first || left->next == NONE)
            continue; /* one of the two has been merged since */
        symbol *right = &symbols[left->next];
        if (right->id != merge->second)
            continue;
        left->id = merge->whole;
        right->id = NONE;
        left->next = right->next;
        if (right->next != NONE)
            symbols[right->next].prev = top.position;
        push_pair(t, &heap, symbols, left->prev);
        push_pair(t, &heap, symbols, top.position);
    }
    for (uint32_t i = 0; i < count; i++)
        if (symbols[i].id != NONE && tokenizer_add_id(t, symbols[i].id))
            return STATUS_FAILED;
    return STATUS_OK;
}

static int merge_short(tokenizer *t, const symbol *symbols, uint32_t count)
{
    uint32_t ids[SHORT_WORD], merges[SHORT_WORD];
    for (uint32_t i = 0; i < count; i++)
        ids[i] = symbols[i].id;
    for (uint32_t i = 0; i + 1 < count; i++)
        merges[i] = merge_find(&t->vocabulary, ids[i], ids[i + 1]);
    while (count > 1) {
        uint32_t best = 0;
        for (uint32_t i = 1; i + 1 < count; i++)
            if (merges[i] < merges[best])
                best = i;
        if (merges[best] == NONE)
            break;
        ids[best] = t->vocabulary.merges[merges[best]].whole;
        const size_t behind = count - best - 2;
        memmove(ids + best + 1, ids + best + 2, behind * sizeof *ids);
        memmove(merges + best, merges + best + 1, behind * sizeof *merges);
        count--;
        if (best > 0)
            merges[best - 1] = merge_find(&t->vocabulary, ids[best - 1], ids[best]);
        if (best + 1 < count)
            merges[best] = merge_find(&t->vocabulary, ids[best], ids[best + 1]);
    }
    for (uint32_t i = 0; i < count; i++)
        if (tokenizer_add_id(t, ids[i]))
            return STATUS_FAILED;
    return STATUS_OK;
}

/* The first symbols of a word: bytes or characters; unknown ones may become one. */
static size_t first_symbols(const tokenizer *t, piece word, symbol *symbols)
{
    const bool by_byte = (t->record.flags & FLAG_BYTE_LEVEL) != 0;
    size_t count = 0;
    bool was_unknown = false;
    for (const uint8_t *at = word.bytes, *end = at + word.size; at < end;) {
        const uint8_t *here = at;
        uint32_t id;
        if (by_byte) {
            id = t->byte_ids[*at++];
        } else {
            utf8_next(&at);
            const size_t size = (size_t)(at - here);
            id = token_find(&t->vocabulary, hash_add_all(HASH_START, here, size), here, 0, here,
                            size);
        }
        const bool is_unknown = id == NONE;
        if (is_unknown) {
            const bool joins = was_unknown && (t->record.flags & FLAG_FUSE_UNKNOWN);
            id = joins ? NONE : t->record.unknown;
        }
        was_unknown = is_unknown;
        if (id != NONE)
            symbols[count++].id = id;
    }
    return count;
}

/* The id of a word that is a token as a whole, for vocabularies that say so. */
static uint32_t whole_word(tokenizer *t, piece word)
{
    if (!(t->record.flags & FLAG_IGNORE_MERGES) || word.size > t->vocabulary.max_token_bytes)
        return NONE;
    if (!(t->record.flags & FLAG_BYTE_LEVEL))
        return token_find(&t->vocabulary, hash_add_all(HASH_START, word.bytes, word.size),
                          word.bytes, 0, word.bytes, word.size);
    uint8_t *mapped = t->hashes.bytes; /* four bytes for each of a token's */
    size_t size = 0;
    for (size_t i = 0; i < word.size; i++)
        size += utf8_put(mapped + size, t->byte_codes[word.bytes[i]]);
    return token_find(&t->vocabulary, hash_add_all(HASH_START, mapped, size), mapped, 0, mapped,
                      size);
}

int encode_word_bpe(tokenizer *t, piece word)
{
    const uint32_t whole = whole_word(t, word);
    if (whole != NONE)
        return tokenizer_add_id(t, whole);
    if (buffer_need(&t->symbols, word.size * sizeof(symbol)))
        return STATUS_FAILED;
    symbol *symbols = (symbol *)(void *)t->symbols.bytes;
    const size_t count = first_symbols(t, word, symbols);
    if (count == 0)
        return STATUS_OK;
    return count <= SHORT_WORD ? merge_short(t, symbols, (uint32_t)count)
                               : merge_long(t, symbols, (uint32_t)count);
}
