#include "vocabulary.h"

#include <string.h>

#include "status.h"

enum { TOKENS_LIMIT = (1 << 24) - 1, INDEX_BITS = 24 };

static int open_slots(hash_slots *slots, const runner_file *file, unsigned section,
                      uint32_t max_probes)
{
    size_t size;
    slots->slots = runner_file_section(file, section, &size);
    size_t count = size / sizeof *slots->slots;
    if (count < 2 || (count & (count - 1)) != 0 || count > UINT32_MAX / 2 || max_probes > count)
        return status_fail("runner.bin: a hash table is damaged; convert the bundle again");
    slots->mask = (uint32_t)count - 1;
    slots->max_probes = max_probes;
    return STATUS_OK;
}

int vocabulary_open(vocabulary *v, const runner_file *file, const tokenizer_record *record)
{
    size_t offsets_size, merges_size;
    v->offsets = runner_file_section(file, SECTION_TOKEN_OFFSETS, &offsets_size);
    v->bytes = runner_file_section(file, SECTION_TOKEN_BYTES, &v->size);
    v->merges = runner_file_section(file, SECTION_MERGES, &merges_size);
    v->num_tokens = record->num_tokens;
    v->num_merges = record->num_merges;
    v->max_token_bytes = record->max_token_bytes;
    if (v->num_tokens > TOKENS_LIMIT || v->num_merges > TOKENS_LIMIT ||
        v->max_token_bytes > TOKEN_LIMIT_BYTES ||
        offsets_size != (v->num_tokens + (size_t)1) * sizeof *v->offsets ||
        merges_size != v->num_merges * sizeof *v->merges)
        return status_fail("runner.bin: the vocabulary is damaged; convert the bundle again");
    if (v->num_tokens > runner_file_settings(file)->vocabulary_size)
        return status_fail("runner.bin: has token ids that the model has no row for");
    if (open_slots(&v->token_slots, file, SECTION_TOKEN_SLOTS, record->token_probes) ||
        open_slots(&v->merge_slots, file, SECTION_MERGE_SLOTS, record->merge_probes))
        return STATUS_FAILED;
    return STATUS_OK;
}

uint32_t hash_add_all(uint32_t hash, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = hash_add(hash, bytes[i]);
    return hash;
}

const uint8_t *token_bytes(const vocabulary *v, uint32_t id, size_t *size)
{
    *size = 0;
    if (id >= v->num_tokens)
        return NULL;
    uint32_t start = v->offsets[id], end = v->offsets[id + 1];
    if (start > end || end > v->size)
        return NULL;
    *size = end - start;
    return v->bytes + start;
}

/* The slots that may hold a key, from the one of its hash onwards. */
typedef struct {
    const hash_slots *slots;
    uint32_t hash, at, probes_left;
} hash_search;

static inline hash_search search_of(const hash_slots *slots, uint32_t hash)
{
    return (hash_search){slots, hash, hash & slots->mask, slots->max_probes};
}

/* The next index that may be that of the key, NONE at the end. Most others differ in the bits of
   the hash that a slot has, and what they stand for is not even read. */
static inline uint32_t next_index(hash_search *search)
{
    for (; search->probes_left > 0; search->probes_left--) {
        uint32_t slot = search->slots->slots[search->at];
        if (slot == NONE)
            return NONE;
        search->at = (search->at + 1) & search->slots->mask;
        if ((slot ^ search->hash) >> INDEX_BITS)
            continue;
        search->probes_left--;
        return slot & ((1u << INDEX_BITS) - 1);
    }
    return NONE;
}

uint32_t token_find(const vocabulary *v, uint32_t hash, const uint8_t *prefix, size_t prefix_size,
                    const uint8_t *bytes, size_t size)
{
    hash ^= hash >> 15;
    hash *= 0x2C1B3C6Du;
    hash ^= hash >> 12;
    hash_search search = search_of(&v->token_slots, hash);
    uint32_t id;
    while ((id = next_index(&search)) != NONE) {
        size_t token_size;
        const uint8_t *token = token_bytes(v, id, &token_size);
        if (token_size != 0 && token_size == prefix_size + size &&
            memcmp(token, prefix, prefix_size) == 0 &&
            memcmp(token + prefix_size, bytes, size) == 0)
            return id;
    }
    return NONE;
}

uint32_t merge_find(const vocabulary *v, uint32_t first, uint32_t second)
{
    uint64_t key = (uint64_t)first << 32 | second;
    uint32_t hash = (uint32_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> 32);
    hash_search search = search_of(&v->merge_slots, hash);
    uint32_t number;
    while ((number = next_index(&search)) != NONE)
        if (number < v->num_merges && v->merges[number].first == first &&
            v->merges[number].second == second)
            return v->merges[number].whole < v->num_tokens ? number : NONE;
    return NONE;
}
