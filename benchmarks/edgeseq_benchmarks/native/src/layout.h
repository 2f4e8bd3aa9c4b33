/* The structures of runner.bin, as edgeseq/formats/runner_file writes them. */
#ifndef EDGESEQ_LAYOUT_H
#define EDGESEQ_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "runner_file.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "runner.bin is little-endian and read in place"
#endif

enum { FORMAT_VERSION = 3 };

enum {
    SECTION_SETTINGS,
    SECTION_STRINGS,
    SECTION_TENSORS,
    SECTION_LABELS,
    SECTION_SPECIAL_IDS,
    SECTION_TOKENIZER,
    SECTION_NORMALIZER_STEPS,
    SECTION_PRE_TOKENIZER_STEPS,
    SECTION_TABLES,
    SECTION_TEXTS,
    SECTION_TOKEN_OFFSETS,
    SECTION_TOKEN_BYTES,
    SECTION_TOKEN_SLOTS,
    SECTION_MERGES,
    SECTION_MERGE_SLOTS,
    SECTION_BYTE_IDS,
    SECTION_ADDED_TOKENS,
    SECTION_ASCII_MAP,
    SECTION_TRANSITIONS,
    SECTION_COUNT
};

typedef struct {
    uint8_t magic[8];
    uint32_t version, num_sections;
    uint64_t size, reserved;
} header_record;

typedef struct {
    uint64_t offset, size;
} section_record;

typedef struct {
    uint32_t head, max_tokens, num_logits, num_labels, span_labels, has_markers;
    int32_t marker_ids[RUNNER_MARKERS], unknown_id;
    uint32_t num_before, num_after, name, task, signature_key, num_inputs, num_outputs;
    uint32_t vocabulary_size, padding;
    int32_t pad_id;
    uint32_t cuts_beginning, word_feature_rows;
} settings_record;

typedef struct {
    uint32_t name, is_float, num_axes;
    int32_t shape[RUNNER_TENSOR_AXES];
} tensor_record;

enum { MODEL_WORDPIECE, MODEL_WORDLEVEL, MODEL_BPE };
enum { FLAG_BYTE_LEVEL = 1, FLAG_IGNORE_MERGES = 2, FLAG_FUSE_UNKNOWN = 4, FLAG_ASCII_MAP = 8 };

#define NONE UINT32_MAX

typedef struct {
    uint32_t model, flags, unknown, max_word_chars;
    uint32_t prefix_offset, prefix_size; /* of pieces within a word, in the texts */
    uint32_t num_tokens, max_token_bytes, token_probes, num_merges, merge_probes;
    uint32_t num_raw_added, num_normalized_added;
    uint32_t word_classes; /* table; NONE: no added token looks around */
} tokenizer_record;

enum { STEP_MAP = 1, STEP_DECOMPOSE, STEP_COMPOSE, STEP_STRIP, STEP_REPLACE, STEP_PREPEND };
enum { SPLIT_BERT = 1, SPLIT_CLASS, SPLIT_RUNS, SPLIT_TEXT, SPLIT_BYTE_LEVEL };
enum { REMOVED, ISOLATED, CONTIGUOUS, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, INVERTED = 16 };

typedef struct {
    uint32_t kind, table, second_table;
    uint32_t text, text_size, second_text, second_text_size, setting;
} step_record;

enum { ADDED_SINGLE_WORD = 1, ADDED_STRIP_LEFT = 2, ADDED_STRIP_RIGHT = 4 };

typedef struct {
    uint32_t text, text_size, id, flags;
} added_record;

typedef struct {
    uint32_t first, second, whole;
} merge_record;

/* A section's bytes, aligned to 8; *size may be 0. */
const void *runner_file_section(const runner_file *file, unsigned section, size_t *size);

#endif
