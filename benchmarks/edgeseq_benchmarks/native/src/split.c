#include <string.h>

#include "status.h"
#include "tokenizer_parts.h"
#include "utf8.h"

enum { BERT_SPACE = 1, BERT_PUNCTUATION = 2 };
enum { RUN_SPACE = 2 };
enum { BYTE_LEVEL_PREFIX = 1, BYTE_LEVEL_PATTERN = 2 };
enum { PATTERN_SPACE = 3 };

static int split_from(tokenizer *t, piece text, unsigned number);

/* A part is what the next split, or the model, gets; empty ones are dropped. */
static int pass_on(tokenizer *t, const uint8_t *start, const uint8_t *end, unsigned number)
{
    if (start >= end)
        return STATUS_OK;
    return split_from(t, (piece){start, (size_t)(end - start)}, number + 1);
}

/* Matches and what lies between them, joined as the behavior says. */
typedef struct {
    tokenizer *t;
    unsigned number, behavior;
    const uint8_t *start, *end; /* what waits */
    bool waits, was_match;
} joiner;

static int joiner_flush(joiner *j)
{
    if (!j->waits)
        return STATUS_OK;
    j->waits = false;
    return pass_on(j->t, j->start, j->end, j->number);
}

static int joiner_add(joiner *j, const uint8_t *start, const uint8_t *end, bool is_match)
{
    bool joins = false;
    switch (j->behavior) {
    case REMOVED:
        return is_match ? STATUS_OK : pass_on(j->t, start, end, j->number);
    case ISOLATED:
        return pass_on(j->t, start, end, j->number);
    case CONTIGUOUS:
        joins = is_match == j->was_match;
        break;
    case MERGED_WITH_PREVIOUS:
        joins = is_match && !j->was_match;
        break;
    default:
        joins = !is_match && j->was_match;
        break;
    }
    j->was_match = is_match;
    if (joins && j->waits) {
        j->end = end;
        return STATUS_OK;
    }
    if (joiner_flush(j))
        return STATUS_FAILED;
    j->start = start;
    j->end = end;
    j->waits = true;
    return STATUS_OK;
}

static joiner joiner_of(tokenizer *t, unsigned number)
{
    return (joiner){.t = t, .number = number, .behavior = t->splits[number].setting & 15};
}

static int split_bert(tokenizer *t, piece text, unsigned number)
{
    const class_table *classes = &t->splits[number].classes;
    const uint8_t *end = text.bytes + text.size, *start = text.bytes;
    for (const uint8_t *at = text.bytes; at < end;) {
        const uint8_t *here = at;
        const unsigned class = class_of(classes, utf8_next(&at));
        if (class == 0)
            continue;
        if (pass_on(t, start, here, number) ||
            ((class & BERT_PUNCTUATION) && pass_on(t, here, at, number)))
            return STATUS_FAILED;
        start = at;
    }
    return pass_on(t, start, end, number);
}

static int split_class(tokenizer *t, piece text, unsigned number)
{
    const class_table *classes = &t->splits[number].classes;
    const uint8_t *end = text.bytes + text.size, *start = text.bytes;
    joiner j = joiner_of(t, number);
    for (const uint8_t *at = text.bytes; at < end;) {
        const uint8_t *here = at;
        if (class_of(classes, utf8_next(&at)) == 0)
            continue;
        if ((start < here && joiner_add(&j, start, here, false)) || joiner_add(&j, here, at, true))
            return STATUS_FAILED;
        start = at;
    }
    if (start < end && joiner_add(&j, start, end, false))
        return STATUS_FAILED;
    return joiner_flush(&j);
}

static int split_runs(tokenizer *t, piece text, unsigned number)
{
    const class_table *classes = &t->splits[number].classes;
    const uint8_t *end = text.bytes + text.size, *start = text.bytes;
    unsigned class_before = RUN_SPACE;
    for (const uint8_t *at = text.bytes; at < end;) {
        const uint8_t *here = at;
        const unsigned class = class_of(classes, utf8_next(&at));
        if (class == class_before)
            continue;
        if (class_before != RUN_SPACE && pass_on(t, start, here, number))
            return STATUS_FAILED;
        start = here;
        class_before = class;
    }
    return class_before == RUN_SPACE ? STATUS_OK : pass_on(t, start, end, number);
}

static int split_text(tokenizer *t, piece text, unsigned number)
{
    const piece pattern = t->splits[number].text;
    const bool inverted = (t->splits[number].setting & INVERTED) != 0;
    const uint8_t *end = text.bytes + text.size, *start = text.bytes;
    joiner j = joiner_of(t, number);
    for (const uint8_t *at = text.bytes; pattern.size <= (size_t)(end - at);) {
        at = memchr(at, pattern.bytes[0], (size_t)(end - at) - pattern.size + 1);
        if (!at)
            break;
        if (memcmp(at, pattern.bytes, pattern.size) != 0) {
            at++;
            continue;
        }
        if ((start < at && joiner_add(&j, start, at, inverted)) ||
            joiner_add(&j, at, at + pattern.size, !inverted))
            return STATUS_FAILED;
        at += pattern.size;
        start = at;
    }
    if (start < end && joiner_add(&j, start, end, inverted))
        return STATUS_FAILED;
    return joiner_flush(&j);
}

/* The size of 's 't 're 've 'm 'll 'd at `at`, else 0. */
static size_t contraction_size(const uint8_t *at, const uint8_t *end)
{
    if (at[0] != '\'' || end - at < 2)
        return 0;
    if (at[1] == 's' || at[1] == 't' || at[1] == 'm' || at[1] == 'd')
        return 2;
    if (end - at < 3)
        return 0;
    const bool is_long = (at[1] == 'r' && at[2] == 'e') || (at[1] == 'v' && at[2] == 'e') ||
                         (at[1] == 'l' && at[2] == 'l');
    return is_long ? 3 : 0;
}

static const uint8_t *end_of_run(const class_table *classes, const uint8_t *at,
                                 const uint8_t *end, unsigned class)
{
    while (at < end) {
        const uint8_t *next = at;
        if (class_of(classes, utf8_next(&next)) != class)
            break;
        at = next;
    }
    return at;
}

/* Where the match of GPT-2's pattern that begins at `at` ends (Radford et al. 2019):
   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static const uint8_t *pattern_end(const class_table *classes, const uint8_t *at,
                                  const uint8_t *end)
{
    const size_t contraction = contraction_size(at, end);
    if (contraction)
        return at + contraction;
    const uint8_t *next = at + (at[0] == ' ' && end - at > 1), *behind = next;
    const unsigned class = class_of(classes, utf8_next(&behind));
    if (class != PATTERN_SPACE)
        return end_of_run(classes, behind, end, class);
    /* White space leaves its last character to what follows, unless it is alone. */
    const uint8_t *stop = end_of_run(classes, at, end, PATTERN_SPACE);
    if (stop == end || stop == at)
        return end;
    const uint8_t *last = utf8_previous(stop);
    return last == at ? stop : last;
}

static int split_byte_level(tokenizer *t, piece text, unsigned number)
{
    const step *s = &t->splits[number];
    if ((s->setting & BYTE_LEVEL_PREFIX) && text.bytes[0] != ' ') {
        if (buffer_need(&t->prefixed, text.size + 1))
            return STATUS_FAILED;
        t->prefixed.bytes[0] = ' ';
        memcpy(t->prefixed.bytes + 1, text.bytes, text.size);
        text = (piece){t->prefixed.bytes, text.size + 1};
    }
    const uint8_t *end = text.bytes + text.size;
    if (!(s->setting & BYTE_LEVEL_PATTERN))
        return pass_on(t, text.bytes, end, number);
    for (const uint8_t *at = text.bytes; at < end;) {
        const uint8_t *stop = pattern_end(&s->classes, at, end);
        if (pass_on(t, at, stop, number))
            return STATUS_FAILED;
        at = stop;
    }
    return STATUS_OK;
}

static int split_from(tokenizer *t, piece text, unsigned number)
{
    if (number == t->num_splits)
        return encode_word(t, text);
    switch (t->splits[number].kind) {
    case SPLIT_BERT:
        return split_bert(t, text, number);
    case SPLIT_CLASS:
        return split_class(t, text, number);
    case SPLIT_RUNS:
        return split_runs(t, text, number);
    case SPLIT_TEXT:
        return split_text(t, text, number);
    default:
        return split_byte_level(t, text, number);
    }
}

int split_and_encode(tokenizer *t, piece text)
{
    return text.size ? split_from(t, text, 0) : STATUS_OK;
}
