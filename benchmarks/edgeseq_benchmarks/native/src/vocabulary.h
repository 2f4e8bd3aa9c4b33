/* Tokens and merges, looked up in the mapped file (edgeseq/formats/runner_file/hash_tables.py). */
#ifndef EDGESEQ_VOCABULARY_H
#define EDGESEQ_VOCABULARY_H

#include <stddef.h>
#include <stdint.h>

#include "layout.h"

enum { TOKEN_LIMIT_BYTES = 1 << 16 };

typedef struct {
    const uint32_t *slots;
    uint32_t mask, max_probes;
} hash_slots;

typedef struct {
    const uint32_t *offsets; /* [num_tokens + 1] */
    const uint8_t *bytes;
    size_t size;
    const merge_record *merges;
    uint32_t num_tokens, num_merges, max_token_bytes;
    hash_slots token_slots, merge_slots;
} vocabulary;

int vocabulary_open(vocabulary *v, const runner_file *file, const tokenizer_record *record);

#define HASH_START 0x811C9DC5u

/* FNV-1a, byte by byte. */
static inline uint32_t hash_add(uint32_t hash, uint8_t byte)
{
    return (hash ^ byte) * 0x01000193u;
}

uint32_t hash_add_all(uint32_t hash, const uint8_t *bytes, size_t size);

/* The id of the token prefix + bytes, whose hash (by hash_add) is given; NONE where there is none.
 */
uint32_t token_find(const vocabulary *v, uint32_t hash, const uint8_t *prefix, size_t prefix_size,
                    const uint8_t *bytes, size_t size);

/* The number of the merge of two tokens, NONE where they are not merged. */
uint32_t merge_find(const vocabulary *v, uint32_t first, uint32_t second);

/* A token's bytes; *size is 0 where the id has none. */
const uint8_t *token_bytes(const vocabulary *v, uint32_t id, size_t *size);

#endif
