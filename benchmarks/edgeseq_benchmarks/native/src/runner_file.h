/* runner.bin: what the native runner knows of a bundle, mapped and read in place.

   Little-endian. A header, a table of sections, the sections at multiples of 8 bytes; layout.h has
   the structures, edgeseq/formats/runner_file writes them. Opening checks every offset, count and
   string of the settings; the tables of the tokenizer are checked where they are used. */
#ifndef EDGESEQ_RUNNER_FILE_H
#define EDGESEQ_RUNNER_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    HEAD_TEXT_CLASSIFICATION = 0,
    HEAD_TOKEN_CLASSIFICATION = 1,
    HEAD_LANGUAGE_MODELING = 2,
    HEAD_MULTILABEL_CLASSIFICATION = 3,
    /* Of numeric sequences, whose bundles have rows of numbers and no runner.bin. */
    HEAD_SEQUENCE_CLASSIFICATION = 4,
    HEAD_SEQUENCE_REGRESSION = 5
} runner_head;

typedef enum { PADDING_NONE, PADDING_PRE, PADDING_POST } runner_padding;

enum { RUNNER_MARKERS = 6, RUNNER_TENSOR_AXES = 8, RUNNER_MAX_FEATURE_ROWS = 1000000 };

/* An input or output of the signature; -1 in `shape` is an open axis. */
typedef struct {
    const char *name;
    bool is_float; /* float32, else int32 */
    uint32_t num_axes;
    int32_t shape[RUNNER_TENSOR_AXES];
} runner_tensor;

/* Strings end with a NUL and live as long as the file is open. */
typedef struct {
    runner_head head;
    uint32_t max_tokens;    /* longest input, special tokens included */
    uint32_t vocabulary_size; /* ids are smaller */
    uint32_t num_logits;    /* labels, or for language modeling the vocabulary's size */
    uint32_t num_labels;    /* 0 for language modeling */
    const float *thresholds; /* [labels] for multilabel classification: a text has the labels
                                whose logits reach them; else NULL */
    const float *transitions; /* of the labels of words: start [labels], pairs [label before,
                                 label], end [labels]; NULL where there are none */
    uint32_t word_feature_rows; /* of each feature of words that the model takes beside the ids;
                                   0: it takes none */
    bool span_labels;       /* labels are BIO tags, decoded under their rules */
    bool has_markers;       /* texts have marked mentions: [P] [/P] [A] [/A] [B] [/B] */
    int32_t marker_ids[RUNNER_MARKERS];
    runner_padding padding; /* where a text is filled up to max_tokens */
    int32_t pad_id;
    bool cuts_beginning;    /* of a text that is too long; else its end */
    int32_t unknown_id;     /* -1: the tokenizer has no unknown token */
    uint32_t num_special_before, num_special_after; /* special tokens around each text */
    const int32_t *special_ids; /* those before, then those after */
    const char *bundle_name;
    const char *task;
    const char *signature_key;
    uint32_t num_inputs, num_outputs; /* tensors of the signature, in its order */
} runner_settings;

typedef struct runner_file runner_file;

/* Maps the file. On failure returns STATUS_FAILED (status.h), and *out is NULL. */
int runner_file_open(runner_file **out, const char *path);

/* The same from memory that stays the caller's; `bytes` is aligned to 8. */
int runner_file_from_memory(runner_file **out, const void *bytes, size_t size);

void runner_file_close(runner_file *file);

const runner_settings *runner_file_settings(const runner_file *file);

/* The label of a class; `index` < num_labels, else NULL. */
const char *runner_file_label(const runner_file *file, uint32_t index);

/* A tensor of the signature; name is NULL where `index` is too large. */
runner_tensor runner_file_input(const runner_file *file, uint32_t index);
runner_tensor runner_file_output(const runner_file *file, uint32_t index);

#endif
