#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "status.h"
#include "tokenizer_parts.h"
#include "utf8.h"

enum { IDS_LIMIT = 1 << 24 };

/* ---- opening ---- */

static int text_at(const tokenizer *t, uint32_t offset, uint32_t size, piece *out)
{
    if (offset > t->texts_size || size > t->texts_size - offset || size > STEP_TEXT_LIMIT_BYTES ||
        utf8_valid_size(t->texts + offset, size) != size)
        return status_fail("runner.bin: a text of the tokenizer is damaged");
    *out = (piece){t->texts + offset, size};
    return STATUS_OK;
}

static int open_normalizer(tokenizer *t, step *s, const step_record *record, const uint8_t *tables,
                           size_t size)
{
    switch (record->kind) {
    case STEP_MAP:
        return code_map_open(&s->map, tables, size, record->table);
    case STEP_DECOMPOSE:
        return code_map_open(&s->map, tables, size, record->table) ||
               class_table_open(&s->classes, tables, size, record->second_table);
    case STEP_COMPOSE:
        return pair_table_open(&s->pairs, tables, size, record->table) ||
               class_table_open(&s->classes, tables, size, record->second_table);
    case STEP_STRIP:
        return class_table_open(&s->classes, tables, size, record->table);
    case STEP_REPLACE:
    case STEP_PREPEND:
        if (text_at(t, record->text, record->text_size, &s->text) ||
            text_at(t, record->second_text, record->second_text_size, &s->second_text))
            return STATUS_FAILED;
        if (s->text.size > 0 || record->kind == STEP_PREPEND)
            return STATUS_OK;
        break;
    default:
        break;
    }
    return status_fail("runner.bin: has a normalizer that this runner does not know");
}

static int open_split(tokenizer *t, step *s, const step_record *record, const uint8_t *tables,
                      size_t size)
{
    switch (record->kind) {
    case SPLIT_BERT:
    case SPLIT_CLASS:
    case SPLIT_RUNS:
        return class_table_open(&s->classes, tables, size, record->table);
    case SPLIT_TEXT:
        if (text_at(t, record->text, record->text_size, &s->text))
            return STATUS_FAILED;
        if (s->text.size > 0)
            return STATUS_OK;
        break;
    case SPLIT_BYTE_LEVEL:
        /* A step behind it would write to the prefixed text that this one reads. */
        if (!(t->record.flags & FLAG_BYTE_LEVEL) || s != &t->splits[t->num_splits - 1])
            break;
        return (record->setting & 2) ? class_table_open(&s->classes, tables, size, record->table)
                                     : STATUS_OK;
    default:
        break;
    }
    return status_fail("runner.bin: has a pre-tokenizer that this runner does not know");
}

static int open_steps(tokenizer *t, unsigned section, step *steps, unsigned *count,
                      int (*open_step)(tokenizer *, step *, const step_record *, const uint8_t *,
                                       size_t))
{
    size_t size, tables_size;
    const step_record *records = runner_file_section(t->file, section, &size);
    const uint8_t *tables = runner_file_section(t->file, SECTION_TABLES, &tables_size);
    if (size % sizeof *records != 0 || size / sizeof *records > MAX_STEPS)
        return status_fail("runner.bin: has too many steps: found %zu, expected at most %d",
                           size / sizeof *records, MAX_STEPS);
    *count = (unsigned)(size / sizeof *records);
    for (unsigned i = 0; i < *count; i++) {
        steps[i].kind = records[i].kind;
        steps[i].setting = records[i].setting;
        if (open_step(t, &steps[i], &records[i], tables, tables_size))
            return STATUS_FAILED;
    }
    return STATUS_OK;
}

static int open_record(tokenizer *t)
{
    size_t size;
    const tokenizer_record *record = runner_file_section(t->file, SECTION_TOKENIZER, &size);
    if (size != sizeof *record || record->model > MODEL_BPE)
        return status_fail("runner.bin: the tokenizer is damaged; convert the bundle again");
    t->record = *record;
    t->texts = runner_file_section(t->file, SECTION_TEXTS, &t->texts_size);
    if (vocabulary_open(&t->vocabulary, t->file, record) ||
        text_at(t, record->prefix_offset, record->prefix_size, &t->prefix))
        return STATUS_FAILED;
    t->prefix_hash = hash_add_all(HASH_START, t->prefix.bytes, t->prefix.size);
    if (record->unknown >= record->num_tokens && record->model != MODEL_BPE)
        return status_fail("runner.bin: the tokenizer lacks its unknown token");
    const uint8_t *map = runner_file_section(t->file, SECTION_ASCII_MAP, &size);
    if (record->flags & FLAG_ASCII_MAP) {
        if (size != 128)
            return status_fail("runner.bin: the table of ASCII is damaged");
        t->ascii_map = map;
    }
    const uint32_t *bytes = runner_file_section(t->file, SECTION_BYTE_IDS, &size);
    if (record->flags & FLAG_BYTE_LEVEL) {
        if (size != 2 * 256 * sizeof *bytes || record->model != MODEL_BPE)
            return status_fail("runner.bin: the table of bytes is damaged");
        t->byte_ids = bytes;
        t->byte_codes = bytes + 256;
        for (unsigned i = 0; i < 256; i++)
            if (t->byte_codes[i] >= 0x800)
                return status_fail("runner.bin: the table of bytes is damaged");
    }
    return STATUS_OK;
}

static int open_added(tokenizer *t)
{
    size_t size;
    const added_record *records = runner_file_section(t->file, SECTION_ADDED_TOKENS, &size);
    const tokenizer_record *record = &t->record;
    if (record->num_raw_added > ADDED_LIMIT || record->num_normalized_added > ADDED_LIMIT ||
        size != (record->num_raw_added + record->num_normalized_added) * sizeof *records)
        return status_fail("runner.bin: the added tokens are damaged");
    size_t tables_size;
    const uint8_t *tables = runner_file_section(t->file, SECTION_TABLES, &tables_size);
    if (record->word_classes != NONE &&
        class_table_open(&t->word_classes, tables, tables_size, record->word_classes))
        return STATUS_FAILED;
    if (added_group_open(t, &t->raw_added, records, record->num_raw_added) ||
        added_group_open(t, &t->normalized_added, records + record->num_raw_added,
                         record->num_normalized_added))
        return STATUS_FAILED;
    return STATUS_OK;
}

static int reserve_memory(tokenizer *t)
{
    const size_t codes = (size_t)CODES_LIMIT * sizeof(uint32_t);
    const size_t ids = (size_t)IDS_LIMIT * sizeof(int32_t);
    const struct {
        buffer *b;
        size_t size;
    } buffers[] = {
        {&t->codes[0], codes},
        {&t->codes[1], codes},
        {&t->normalized, NORMALIZED_LIMIT_BYTES},
        {&t->prefixed, NORMALIZED_LIMIT_BYTES + 1},
        {&t->hashes, ((size_t)t->vocabulary.max_token_bytes + 1) * sizeof(uint32_t)},
        {&t->symbols, (size_t)NORMALIZED_LIMIT_BYTES * 12 + 12},
        {&t->heap, (size_t)NORMALIZED_LIMIT_BYTES * 24 + 24},
        {&t->ids, ids},
        {&t->words, ids},
        {&t->distances, 3 * ids + sizeof(uint32_t)},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (buffer_reserve(buffers[i].b, buffers[i].size))
            return STATUS_FAILED;
    return buffer_need(&t->hashes, ((size_t)t->vocabulary.max_token_bytes + 1) * sizeof(uint32_t));
}

int tokenizer_open(tokenizer **out, const runner_file *file)
{
    *out = NULL;
    tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return status_fail("no memory for the tokenizer");
    t->file = file;
    t->settings = runner_file_settings(file);
    if (open_record(t) ||
        open_steps(t, SECTION_NORMALIZER_STEPS, t->normalizers, &t->num_normalizers,
                   open_normalizer) ||
        open_steps(t, SECTION_PRE_TOKENIZER_STEPS, t->splits, &t->num_splits, open_split) ||
        open_added(t) || reserve_memory(t)) {
        tokenizer_close(t);
        return STATUS_FAILED;
    }
    *out = t;
    return STATUS_OK;
}

void tokenizer_close(tokenizer *t)
{
    if (!t)
        return;
    buffer *buffers[] = {&t->codes[0], &t->codes[1], &t->normalized, &t->prefixed, &t->hashes,
                         &t->symbols,  &t->heap,     &t->ids,        &t->words,    &t->distances};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        buffer_release(buffers[i]);
    free(t);
}

/* ---- encoding ---- */

static int encode_normalized(tokenizer *t, piece text)
{
    piece normalized;
    if (normalize_text(t, text, &normalized))
        return STATUS_FAILED;
    return extract_added(t, &t->normalized_added, normalized, split_and_encode);
}

static int encode_raw(tokenizer *t, text_span text)
{
    const piece whole = {(const uint8_t *)text.bytes, text.size};
    const size_t valid = utf8_valid_size(whole.bytes, whole.size);
    if (valid != whole.size)
        return status_fail("the text is not valid UTF-8: byte %zu of %zu", valid + 1, whole.size);
    return extract_added(t, &t->raw_added, whole, encode_normalized);
}

static int add_special(tokenizer *t, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++)
        if (tokenizer_add_id(t, (uint32_t)t->settings->special_ids[i]))
            return STATUS_FAILED;
    return STATUS_OK;
}

static int check_size(size_t size)
{
    if (size > TEXT_LIMIT_BYTES)
        return status_fail("the text is too long: found %zu bytes, expected at most %d", size,
                           TEXT_LIMIT_BYTES);
    return STATUS_OK;
}

/* Drops ids at the end of the text, or at its beginning behind the special tokens. */
static void truncate_ids(tokenizer *t, size_t count, bool cuts_beginning)
{
    int32_t *content = (int32_t *)(void *)t->ids.bytes + t->settings->num_special_before;
    const size_t kept = count - t->settings->num_special_before;
    if (cuts_beginning)
        memmove(content, content + (t->num_ids - count), kept * sizeof *content);
    t->num_ids = count;
}

/* Fills up to `count` ids on the side that the settings name. */
static int pad_ids(tokenizer *t, size_t count)
{
    const size_t missing = count > t->num_ids ? count - t->num_ids : 0;
    if (t->settings->padding == PADDING_NONE || missing == 0)
        return STATUS_OK;
    if (buffer_need(&t->ids, count * sizeof(int32_t)))
        return STATUS_FAILED;
    int32_t *ids = (int32_t *)(void *)t->ids.bytes, *padding = ids + t->num_ids;
    if (t->settings->padding == PADDING_PRE) {
        memmove(ids + missing, ids, t->num_ids * sizeof *ids);
        padding = ids;
    }
    for (size_t i = 0; i < missing; i++)
        padding[i] = t->settings->pad_id;
    t->num_ids = count;
    return STATUS_OK;
}

static int encode_text(tokenizer *t, text_span text, size_t max_tokens, bool cuts_beginning,
                       encoding *out)
{
    const uint32_t before = t->settings->num_special_before, after = t->settings->num_special_after;
    t->num_ids = 0;
    *out = (encoding){0};
    if (check_size(text.size) || add_special(t, 0, before) || encode_raw(t, text))
        return STATUS_FAILED;
    /* The library does not truncate at all where not even the special tokens fit. */
    if (max_tokens >= (size_t)before + after && max_tokens > 0 &&
        t->num_ids > max_tokens - after) {
        truncate_ids(t, max_tokens - after, cuts_beginning);
        out->truncated = true;
    }
    const int32_t *ids = (const int32_t *)(void *)t->ids.bytes;
    out->unknown_only = true;
    for (size_t i = before; i < t->num_ids && out->unknown_only; i++)
        out->unknown_only = ids[i] == t->settings->unknown_id;
    if (add_special(t, before, after))
        return STATUS_FAILED;
    return STATUS_OK;
}

int tokenizer_encode_exact(tokenizer *t, text_span text, size_t max_tokens, encoding *out)
{
    if (encode_text(t, text, max_tokens, false, out))
        return STATUS_FAILED;
    out->ids = (const int32_t *)(void *)t->ids.bytes;
    out->count = t->num_ids;
    return STATUS_OK;
}

int tokenizer_encode(tokenizer *t, text_span text, size_t max_tokens, encoding *out)
{
    const bool has_markers = t->settings->has_markers;
    if (encode_text(t, text, has_markers ? 0 : max_tokens, t->settings->cuts_beginning, out))
        return STATUS_FAILED;
    if (has_markers) {
        out->unknown_only = false;
        if (max_tokens > 0 && shorten_around_mentions(t, max_tokens, &out->truncated))
            return STATUS_FAILED;
    }
    if (max_tokens > 0 && !has_markers && pad_ids(t, max_tokens))
        return STATUS_FAILED;
    /* No model takes an input of length 0: such a text reads as one unknown token. */
    const int32_t unknown = t->settings->unknown_id;
    if (t->num_ids == 0 && tokenizer_add_id(t, unknown < 0 ? 0 : (uint32_t)unknown))
        return STATUS_FAILED;
    out->ids = (const int32_t *)(void *)t->ids.bytes;
    out->count = t->num_ids;
    return STATUS_OK;
}

static int set_words(tokenizer *t, size_t first, int32_t word)
{
    if (buffer_need(&t->words, t->num_ids * sizeof(int32_t)))
        return STATUS_FAILED;
    int32_t *words = (int32_t *)(void *)t->words.bytes;
    for (size_t i = first; i < t->num_ids; i++)
        words[i] = word;
    return STATUS_OK;
}

int tokenizer_encode_words(tokenizer *t, const text_span *words, size_t count, encoding *out)
{
    const uint32_t before = t->settings->num_special_before, after = t->settings->num_special_after;
    size_t size = 0;
    t->num_ids = 0;
    *out = (encoding){0};
    if (add_special(t, 0, before) || set_words(t, 0, -1))
        return STATUS_FAILED;
    out->unknown_only = true;
    for (size_t i = 0; i < count; i++) {
        const size_t first = t->num_ids;
        /* Each by itself, so that the sum cannot overflow. */
        if (check_size(words[i].size) || check_size(size += words[i].size) ||
            encode_raw(t, words[i]) || set_words(t, first, (int32_t)i))
            return STATUS_FAILED;
        const int32_t *ids = (const int32_t *)(void *)t->ids.bytes;
        for (size_t k = first; k < t->num_ids && out->unknown_only; k++)
            out->unknown_only = ids[k] == t->settings->unknown_id;
    }
    const size_t last = t->num_ids;
    if (add_special(t, before, after) || set_words(t, last, -1))
        return STATUS_FAILED;
    out->ids = (const int32_t *)(void *)t->ids.bytes;
    out->words = (const int32_t *)(void *)t->words.bytes;
    out->count = t->num_ids;
    return STATUS_OK;
}

text_span tokenizer_token(const tokenizer *t, int32_t id)
{
    size_t size;
    const uint8_t *bytes = token_bytes(&t->vocabulary, (uint32_t)id, &size);
    return size ? (text_span){(const char *)bytes, size} : (text_span){NULL, 0};
}
