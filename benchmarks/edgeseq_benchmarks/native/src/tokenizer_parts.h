/* The tokenizer's inside, for its own files only. */
#ifndef EDGESEQ_TOKENIZER_PARTS_H
#define EDGESEQ_TOKENIZER_PARTS_H

#include "buffer.h"
#include "code_tables.h"
#include "layout.h"
#include "tokenizer.h"
#include "vocabulary.h"

enum { MAX_STEPS = 32, STEP_TEXT_LIMIT_BYTES = 1024, ADDED_LIMIT = 4096 };
/* A text of 1 MiB whose every character decomposes to the longest replacement (18) fits. */
enum { CODES_LIMIT = 1 << 23, NORMALIZED_LIMIT_BYTES = 1 << 24 };

/* Some UTF-8 of a text. */
typedef struct {
    const uint8_t *bytes;
    size_t size;
} piece;

typedef struct {
    unsigned kind, setting;
    code_map map;
    class_table classes;
    pair_table pairs;
    piece text, second_text;
} step;

/* Added tokens, sorted by first byte; those with the byte b are first[b] to first[b + 1]. */
typedef struct {
    const added_record *records;
    uint16_t first[257];
    uint32_t count;
} added_group;

struct tokenizer {
    const runner_file *file;
    const runner_settings *settings;
    tokenizer_record record;
    vocabulary vocabulary;
    piece prefix; /* of pieces within a word */
    uint32_t prefix_hash;
    step normalizers[MAX_STEPS], splits[MAX_STEPS];
    unsigned num_normalizers, num_splits;
    const uint8_t *ascii_map; /* NULL: an ASCII text takes all steps, too */
    const uint32_t *byte_ids, *byte_codes;
    const uint8_t *texts;
    size_t texts_size;
    added_group raw_added, normalized_added;
    class_table word_classes;
    buffer codes[2], normalized, prefixed, hashes, symbols, heap, ids, words, distances;
    size_t num_ids;
};

int tokenizer_add_id(tokenizer *t, uint32_t id);

/* The text after all steps; it lies in the tokenizer's memory or is `text` itself. */
int normalize_text(tokenizer *t, piece text, piece *out);

/* Splits a normalized text and encodes each part with the model. */
int split_and_encode(tokenizer *t, piece text);

/* Appends the ids of one word, which is not empty. */
int encode_word(tokenizer *t, piece word);
int encode_word_bpe(tokenizer *t, piece word);

/* Takes the tokens of a group out of a text: `other` is called for what lies between. */
int extract_added(tokenizer *t, const added_group *group, piece text,
                  int (*other)(tokenizer *t, piece text));
int added_group_open(tokenizer *t, added_group *group, const added_record *records, uint32_t count);

/* Keeps the `max_tokens` ids nearest to a mention: edgeseq.tasks.mentions.shorten. */
int shorten_around_mentions(tokenizer *t, size_t max_tokens, bool *truncated);

#endif
