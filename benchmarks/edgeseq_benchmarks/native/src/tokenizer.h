/* The tokenizer of a runner.bin: equal to edgeseq.runtime.text_tokenizer on every text.

   Functions return STATUS_OK or STATUS_FAILED with a line (status.h). A text is UTF-8, may hold NUL
   bytes, and is at most TEXT_LIMIT_BYTES long; bytes that are not UTF-8 (surrogates, too) fail. */
#ifndef EDGESEQ_TOKENIZER_H
#define EDGESEQ_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runner_file.h"

enum { TEXT_LIMIT_BYTES = 1 << 20 };

typedef struct {
    const char *bytes;
    size_t size;
} text_span;

/* Arrays belong to the tokenizer and are valid until its next call. */
typedef struct {
    const int32_t *ids; /* special tokens included */
    size_t count;
    const int32_t *words; /* the word of each token, -1 for special tokens around the text; NULL
                             but after tokenizer_encode_words */
    bool truncated, unknown_only;
} encoding;

typedef struct tokenizer tokenizer;

/* Reserves address space for everything it will ever need; pages are taken when texts need them.
   `file` must stay open. */
int tokenizer_open(tokenizer **out, const runner_file *file);

/* As TextTokenizer.encode: never empty, truncated to `max_tokens` (0: not at all) and padded to it
   as the settings say, truncated around the marked mentions where the tokenizer has markers. */
int tokenizer_encode(tokenizer *t, text_span text, size_t max_tokens, encoding *out);

/* As TextTokenizer.encode_exact: not padded, truncated at the end even where there are markers, and
   `out->count` is less than `max_tokens` where the text is shorter. Can be empty. */
int tokenizer_encode_exact(tokenizer *t, text_span text, size_t max_tokens, encoding *out);

/* As Tokenizer.encode(words, is_pretokenized=True) without truncation: a word may have no token,
   and without special tokens all may be empty (count 0). `words` together are at most
   TEXT_LIMIT_BYTES. */
int tokenizer_encode_words(tokenizer *t, const text_span *words, size_t count, encoding *out);

/* The token of an id, as Tokenizer.id_to_token; {NULL, 0} where there is none. Not ended by NUL. */
text_span tokenizer_token(const tokenizer *t, int32_t id);

void tokenizer_close(tokenizer *t);

#endif
