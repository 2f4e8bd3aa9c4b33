/* Answers texts with a bundle, by LiteRT's C library. Linux, x86-64 and aarch64.

   A model is used by one thread at a time; models are opened one at a time. Texts are UTF-8, of
   `size` bytes, at most 1 MiB, and need not end with a NUL. A function that fails returns -1 or
   NULL, and edgeseq_error says why in one line. What a model returns by pointer is its own, and
   valid until its next text. */
#ifndef EDGESEQ_H
#define EDGESEQ_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EDGESEQ_API __attribute__((visibility("default")))

typedef struct edgeseq_model edgeseq_model;

typedef enum {
    EDGESEQ_TEXT_CLASSIFICATION,  /* edgeseq_classify */
    EDGESEQ_TOKEN_CLASSIFICATION, /* edgeseq_tag */
    EDGESEQ_LANGUAGE_MODELING,    /* edgeseq_begin_text, edgeseq_read, edgeseq_next_words */
    EDGESEQ_MULTILABEL_CLASSIFICATION /* edgeseq_label_text */
} edgeseq_task;

/* A word of a text: its position in bytes, and its tag with the tag's probability. */
typedef struct {
    size_t begin, size;
    const char *tag;
    double probability;
} edgeseq_tagged_word;

/* A next word, of `size` bytes without a NUL behind it. */
typedef struct {
    const char *bytes;
    size_t size;
    double probability;
} edgeseq_next_word;

/* Opens the bundle in a folder. `library` is the path of libLiteRt.so, NULL where the system finds
   it by its name; `threads` is the number of threads for the model, 1 or more. */
EDGESEQ_API edgeseq_model *edgeseq_open(const char *folder, const char *library, int threads);

/* Gives everything back; NULL does nothing. */
EDGESEQ_API void edgeseq_close(edgeseq_model *model);

/* Why the last function of this thread failed, in one line; never NULL. */
EDGESEQ_API const char *edgeseq_error(void);

/* What the model does. */
EDGESEQ_API edgeseq_task edgeseq_get_task(const edgeseq_model *model);

/* The number of labels or tags, 0 for language modeling, and their names. */
EDGESEQ_API size_t edgeseq_num_labels(const edgeseq_model *model);
EDGESEQ_API const char *edgeseq_label(const edgeseq_model *model, size_t index);

/* The index of a text's label; `*probabilities` is one number per label. */
EDGESEQ_API int edgeseq_classify(edgeseq_model *model, const char *text, size_t size,
                                 const double **probabilities);

/* The labels of a text that may have any number of them: `*has_label` is 1 or 0 for each label,
   `*probabilities` one number per label. Returns how many the text has. */
EDGESEQ_API int edgeseq_label_text(edgeseq_model *model, const char *text, size_t size,
                                   const double **probabilities, const int **has_label);

/* The words of a text with their tags; returns their number. */
EDGESEQ_API int edgeseq_tag(edgeseq_model *model, const char *text, size_t size,
                            const edgeseq_tagged_word **words);

/* Begins a text: the model has read nothing. Returns 0. */
EDGESEQ_API int edgeseq_begin_text(edgeseq_model *model);

/* Reads more of the text, whole words, and keeps what it led to; returns the number of tokens. */
EDGESEQ_API int edgeseq_read(edgeseq_model *model, const char *text, size_t size);

/* The `count` most likely next words, at most 64, the most likely first; returns their number. */
EDGESEQ_API int edgeseq_next_words(edgeseq_model *model, edgeseq_next_word *words, size_t count);

#ifdef __cplusplus
}
#endif

#endif
