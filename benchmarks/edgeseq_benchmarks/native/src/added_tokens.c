#include <string.h>

#include "status.h"
#include "tokenizer_parts.h"
#include "utf8.h"

enum { CLASS_SIGN = 0, CLASS_WORD = 1, CLASS_SPACE = 2 };

int added_group_open(tokenizer *t, added_group *group, const added_record *records, uint32_t count)
{
    group->records = records;
    group->count = count;
    unsigned byte = 0;
    for (uint32_t i = 0; i < count; i++) {
        const added_record *record = &records[i];
        if (record->text_size == 0 || record->text > t->texts_size ||
            record->text_size > t->texts_size - record->text ||
            record->id >= t->settings->vocabulary_size ||
            (record->flags != 0 && t->record.word_classes == NONE) ||
            t->texts[record->text] < (byte ? byte - 1 : 0) ||
            utf8_valid_size(t->texts + record->text, record->text_size) != record->text_size)
            return status_fail("runner.bin: added token %u is damaged", i);
        while (byte <= t->texts[record->text])
            group->first[byte++] = (uint16_t)i;
    }
    while (byte <= 256)
        group->first[byte++] = (uint16_t)count;
    return STATUS_OK;
}

/* The longest token that begins at `at`. */
static const added_record *match_at(const tokenizer *t, const added_group *group,
                                    const uint8_t *at, const uint8_t *end)
{
    for (uint32_t i = group->first[*at]; i < group->first[*at + 1]; i++) {
        const added_record *record = &group->records[i];
        if (record->text_size <= (size_t)(end - at) &&
            memcmp(at, t->texts + record->text, record->text_size) == 0)
            return record;
    }
    return NULL;
}

static bool is_within_word(const tokenizer *t, piece text, const uint8_t *start,
                           const uint8_t *stop)
{
    const uint8_t *end = text.bytes + text.size;
    if (start > text.bytes) {
        const uint8_t *before = utf8_previous(start);
        if (class_of(&t->word_classes, utf8_next(&before)) == CLASS_WORD)
            return true;
    }
    return stop < end && class_of(&t->word_classes, utf8_next(&stop)) == CLASS_WORD;
}

static const uint8_t *skip_spaces_left(const tokenizer *t, const uint8_t *begin, const uint8_t *at)
{
    while (at > begin) {
        const uint8_t *before = utf8_previous(at), *next = before;
        if (class_of(&t->word_classes, utf8_next(&next)) != CLASS_SPACE)
            break;
        at = before;
    }
    return at;
}

static const uint8_t *skip_spaces_right(const tokenizer *t, const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        const uint8_t *next = at;
        if (class_of(&t->word_classes, utf8_next(&next)) != CLASS_SPACE)
            break;
        at = next;
    }
    return at;
}

int extract_added(tokenizer *t, const added_group *group, piece text,
                  int (*other)(tokenizer *t, piece text))
{
    const uint8_t *end = text.bytes + text.size, *done = text.bytes;
    if (group->count != 0) {
        for (const uint8_t *at = text.bytes; at < end;) {
            const added_record *record = match_at(t, group, at, end);
            if (!record) {
                at++;
                continue;
            }
            const uint8_t *start = at, *stop = at + record->text_size;
            at = stop; /* matches do not overlap, whether they count or not */
            if ((record->flags & ADDED_SINGLE_WORD) && is_within_word(t, text, start, stop))
                continue;
            /* Spaces that the token before took are not taken again. */
            if (record->flags & ADDED_STRIP_LEFT)
                start = skip_spaces_left(t, done < start ? done : start, start);
            if (record->flags & ADDED_STRIP_RIGHT)
                stop = skip_spaces_right(t, stop, end);
            if (done < start && other(t, (piece){done, (size_t)(start - done)}))
                return STATUS_FAILED;
            if (tokenizer_add_id(t, record->id))
                return STATUS_FAILED;
            done = stop;
        }
    }
    if (done < end)
        return other(t, (piece){done, (size_t)(end - done)});
    return STATUS_OK;
}
