// Words as a model's tokens, in windows where a text is longer than the model: the same ones as
// edgeseq/tasks/word_windows.py.
#ifndef EDGESEQ_WORD_WINDOWS_H
#define EDGESEQ_WORD_WINDOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pages.h"
#include "tokenizer.h"

// A text's words as inputs of the model. Arrays are valid until the next text.
typedef struct {
    const int32_t *ids; // the windows' ids with special tokens, one window after the other
    const size_t *ends; // [num_windows]: where each window ends in `ids`
    size_t num_windows;
    // [num_words]: the logits of word w are those of token `tokens[w]` in window `inputs[w]`;
    // token -1 is a word for which the tokenizer has nothing at all.
    const int32_t *inputs, *tokens;
    // [tokens of all windows, WORD_FEATURES]: the rows of each one's word; NULL without features.
    const int32_t *word_rows;
    size_t num_words;
    size_t cut_words; // words whose end had to be cut off
    bool unknown_only;
} windowed_text;

typedef struct {
    tokenizer *tokenizer;
    const runner_settings *settings;
    size_t room; // tokens of a window without the special ones
    // The lengths of the words in tokens, the place of each one's first token, the ranges of words,
    // the context that each word has, and what `windowed_text` points to.
    pages lengths, starts, ranges, contexts, ids, ends, inputs, tokens, words;
    pages rows_of_words, rows; // of the features of each word, and of each token
} word_encoder;

void word_encoder_open(word_encoder *encoder, tokenizer *tokenizer, const runner_settings *settings,
                       size_t max_tokens);

// Returns -1 with a failure where the tokenizer refuses the words.
int word_encoder_encode(word_encoder *encoder, const text_span *words, size_t count,
                        windowed_text *out);

// Divides a text at white space, as Python's str.split; the spans belong to the encoder.
int word_encoder_split(word_encoder *encoder, text_span text, const text_span **words,
                       size_t *count);

void word_encoder_close(word_encoder *encoder);

#endif
