// Texts as a person types them: words for a token classifier, marked mentions.
#ifndef EDGESEQ_PREDICT_WORDS_H
#define EDGESEQ_PREDICT_WORDS_H

#include <stddef.h>

#include "pages.h"
#include "tokenizer.h"

// Divides a text into spans: letters and digits together, with an apostrophe, hyphen or point
// between them, and every other sign by itself. Outside of ASCII everything but white space and
// the punctuation of U+2000 to U+206F and U+3000 to U+303F counts as a letter.
int predict_words_split(text_span text, pages *words, size_t *count);

// Fails unless each of the mentions P, A and B is marked once, its end behind its beginning.
int predict_words_check_marked(text_span text, const char *where);

#endif
