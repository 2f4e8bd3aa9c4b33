// White space of Unicode, as Python's str.split and str.strip take it.
#ifndef EDGESEQ_WHITE_SPACE_H
#define EDGESEQ_WHITE_SPACE_H

#include <stddef.h>

#include "tokenizer.h"

// The first place from `at` on that is no white space, or the text's size.
size_t white_space_end(text_span text, size_t at);

// The first place from `at` on that is white space, or the text's size.
size_t white_space_begin(text_span text, size_t at);

#endif
