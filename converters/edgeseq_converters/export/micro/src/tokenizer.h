/* From a text to token ids, with the table in vocabulary.c. No heap, no file, no locale. */
#ifndef EDGESEQ_TOKENIZER_H
#define EDGESEQ_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Writes the ids of a UTF-8 text, special tokens included and truncated to MAX_TOKENS
   (vocabulary.h), to `ids` [MAX_TOKENS]. Returns their number, which is never 0. Upper case and
   punctuation are those of ASCII; README.md says how many texts that changes. */
size_t tokenize(const char *text, size_t size, int32_t *ids);

#ifdef __cplusplus
}
#endif

#endif
