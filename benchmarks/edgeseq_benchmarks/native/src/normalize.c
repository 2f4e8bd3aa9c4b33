#include <string.h>

#include "status.h"
#include "tokenizer_parts.h"
#include "utf8.h"

/* Hangul is computed: The Unicode Standard, section 3.12. */
enum { S_BASE = 0xAC00, L_BASE = 0x1100, V_BASE = 0x1161, T_BASE = 0x11A7 };
enum { L_COUNT = 19, V_COUNT = 21, T_COUNT = 28, S_COUNT = L_COUNT * V_COUNT * T_COUNT };
enum { SHORT_RUN = 24, NUM_CLASSES = 256 };

/* Code points on their way: `at` lies in codes[buffer]. */
typedef struct {
    uint32_t *at;
    size_t count;
    unsigned buffer;
} codes;

static uint32_t *codes_of(tokenizer *t, unsigned number)
{
    return (uint32_t *)(void *)t->codes[number].bytes;
}

/* Room for `count` codes in the buffer that is not in use. */
static int other_codes(tokenizer *t, const codes *in, size_t count, codes *out)
{
    *out = (codes){codes_of(t, !in->buffer), 0, !in->buffer};
    return buffer_need(&t->codes[out->buffer], (count + 1) * sizeof(uint32_t));
}

static bool is_scalar(uint32_t code)
{
    return code < 0xD800 || (code > 0xDFFF && code < 0x110000);
}

static size_t decompose_hangul(uint32_t syllable, uint32_t *out)
{
    uint32_t s = syllable - S_BASE;
    out[0] = L_BASE + s / (V_COUNT * T_COUNT);
    out[1] = V_BASE + s % (V_COUNT * T_COUNT) / T_COUNT;
    if (s % T_COUNT == 0)
        return 2;
    out[2] = T_BASE + s % T_COUNT;
    return 3;
}

static int map_codes(tokenizer *t, const step *s, codes *text)
{
    codes out;
    const bool is_decomposition = s->kind == STEP_DECOMPOSE;
    if (other_codes(t, text, text->count + 3, &out))
        return STATUS_FAILED;
    for (size_t i = 0; i < text->count; i++) {
        const uint32_t code = text->at[i], hangul = code - S_BASE;
        const unsigned number = replacement_of(&s->map, code);
        if (number == 0 && !(is_decomposition && hangul < S_COUNT)) {
            out.at[out.count++] = code;
            continue;
        }
        size_t count = 3;
        const uint32_t *replacement = NULL;
        if (number)
            replacement = replacement_codes(&s->map, number, &count);
        if (buffer_need(&t->codes[out.buffer],
                        (out.count + count + (text->count - i) + 1) * sizeof(uint32_t)))
            return STATUS_FAILED;
        if (!replacement) {
            out.count += decompose_hangul(code, out.at + out.count);
            continue;
        }
        for (size_t k = 0; k < count; k++) {
            uint32_t part = replacement[k] == NONE ? code : replacement[k];
            if (!is_scalar(part))
                return status_fail("runner.bin: a table holds what is no character");
            out.at[out.count++] = part;
        }
    }
    *text = out;
    return STATUS_OK;
}

/* A stable sort of combining marks by their class, in linear time however many there are. */
static int sort_run(tokenizer *t, const class_table *classes, codes *text, size_t start,
                    size_t count)
{
    uint32_t *run = text->at + start;
    if (count <= SHORT_RUN) {
        for (size_t i = 1; i < count; i++) {
            uint32_t code = run[i];
            unsigned class = class_of(classes, code);
            size_t k = i;
            for (; k > 0 && class_of(classes, run[k - 1]) > class; k--)
                run[k] = run[k - 1];
            run[k] = code;
        }
        return STATUS_OK;
    }
    codes scratch;
    if (other_codes(t, text, count, &scratch))
        return STATUS_FAILED;
    size_t places[NUM_CLASSES + 1] = {0};
    for (size_t i = 0; i < count; i++)
        places[class_of(classes, run[i]) + 1]++;
    for (unsigned class = 0; class < NUM_CLASSES; class++)
        places[class + 1] += places[class];
    for (size_t i = 0; i < count; i++)
        scratch.at[places[class_of(classes, run[i])]++] = run[i];
    memcpy(run, scratch.at, count * sizeof *run);
    return STATUS_OK;
}

static int reorder_marks(tokenizer *t, const class_table *classes, codes *text)
{
    for (size_t i = 0; i < text->count;) {
        size_t start = i;
        while (i < text->count && class_of(classes, text->at[i]) != 0)
            i++;
        if (i - start > 1 && sort_run(t, classes, text, start, i - start))
            return STATUS_FAILED;
        if (i == start)
            i++;
    }
    return STATUS_OK;
}

static uint32_t compose(const pair_table *pairs, uint32_t first, uint32_t second)
{
    const uint32_t l = first - L_BASE, v = second - V_BASE, s = first - S_BASE;
    if (l < L_COUNT && v < V_COUNT)
        return S_BASE + (l * V_COUNT + v) * T_COUNT;
    const uint32_t tail = second - T_BASE;
    if (s < S_COUNT && s % T_COUNT == 0 && tail > 0 && tail < T_COUNT)
        return first + tail;
    const uint32_t composed = composed_pair(pairs, first, second);
    return is_scalar(composed) ? composed : 0;
}

/* The canonical composition algorithm (The Unicode Standard, section 3.11), in place. */
static void compose_codes(const step *s, codes *text)
{
    size_t count = 0, starter = SIZE_MAX;
    unsigned last = 0; /* class of what was put behind the starter, if `is_next` is false */
    bool is_next = false;
    for (size_t i = 0; i < text->count; i++) {
        const uint32_t code = text->at[i];
        const unsigned class = class_of(&s->classes, code);
        if (starter != SIZE_MAX && (is_next || last < class)) {
            uint32_t composed = compose(&s->pairs, text->at[starter], code);
            if (composed) {
                text->at[starter] = composed;
                continue;
            }
        }
        if (class == 0)
            starter = count;
        is_next = class == 0;
        last = class;
        text->at[count++] = code;
    }
    text->count = count;
}

static void strip_spaces(const step *s, codes *text)
{
    while ((s->setting & 1) && text->count && class_of(&s->classes, text->at[0])) {
        text->at++;
        text->count--;
    }
    while ((s->setting & 2) && text->count && class_of(&s->classes, text->at[text->count - 1]))
        text->count--;
}

static size_t decode(piece text, uint32_t *out)
{
    size_t count = 0;
    for (const uint8_t *at = text.bytes; at < text.bytes + text.size;)
        out[count++] = utf8_next(&at);
    return count;
}

static int replace_text(tokenizer *t, const step *s, codes *text)
{
    uint32_t pattern[STEP_TEXT_LIMIT_BYTES], content[STEP_TEXT_LIMIT_BYTES];
    const size_t size = decode(s->text, pattern), added = decode(s->second_text, content);
    codes out;
    if (other_codes(t, text, text->count, &out))
        return STATUS_FAILED;
    for (size_t i = 0; i < text->count;) {
        if (size > text->count - i || memcmp(text->at + i, pattern, size * sizeof *pattern) != 0) {
            out.at[out.count++] = text->at[i++];
            continue;
        }
        i += size;
        if (buffer_need(&t->codes[out.buffer],
                        (out.count + added + (text->count - i) + 1) * sizeof(uint32_t)))
            return STATUS_FAILED;
        memcpy(out.at + out.count, content, added * sizeof *content);
        out.count += added;
    }
    *text = out;
    return STATUS_OK;
}

static int prepend_text(tokenizer *t, const step *s, codes *text)
{
    codes out;
    if (text->count == 0)
        return STATUS_OK;
    if (other_codes(t, text, text->count + s->text.size, &out))
        return STATUS_FAILED;
    out.count = decode(s->text, out.at);
    memcpy(out.at + out.count, text->at, text->count * sizeof *text->at);
    out.count += text->count;
    *text = out;
    return STATUS_OK;
}

static int take_step(tokenizer *t, const step *s, codes *text)
{
    switch (s->kind) {
    case STEP_MAP:
        return map_codes(t, s, text);
    case STEP_DECOMPOSE:
        return map_codes(t, s, text) || reorder_marks(t, &s->classes, text);
    case STEP_COMPOSE:
        compose_codes(s, text);
        return STATUS_OK;
    case STEP_STRIP:
        strip_spaces(s, text);
        return STATUS_OK;
    case STEP_REPLACE:
        return replace_text(t, s, text);
    default:
        return prepend_text(t, s, text);
    }
}

/* The steps of an ASCII text in one: nothing there depends on what stands next to it. */
static int normalize_ascii(tokenizer *t, piece text, piece *out)
{
    if (buffer_need(&t->normalized, text.size))
        return STATUS_FAILED;
    uint8_t *written = t->normalized.bytes;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = t->ascii_map[text.bytes[i]];
        *written = byte;
        written += byte < 0x80;
    }
    *out = (piece){t->normalized.bytes, (size_t)(written - t->normalized.bytes)};
    return STATUS_OK;
}

int normalize_text(tokenizer *t, piece text, piece *out)
{
    *out = text;
    if (t->num_normalizers == 0)
        return STATUS_OK;
    if (t->ascii_map && utf8_is_ascii(text.bytes, text.size))
        return normalize_ascii(t, text, out);
    if (buffer_need(&t->codes[0], (text.size + 1) * sizeof(uint32_t)))
        return STATUS_FAILED;
    codes work = {codes_of(t, 0), 0, 0};
    work.count = decode(text, work.at);
    for (unsigned i = 0; i < t->num_normalizers; i++)
        if (take_step(t, &t->normalizers[i], &work))
            return STATUS_FAILED;
    /* As much as is needed, not four bytes for each code: most are ASCII. */
    size_t size = 0;
    for (size_t i = 0; i < work.count; i++) {
        if (buffer_need(&t->normalized, size + 4))
            return STATUS_FAILED;
        size += utf8_put(t->normalized.bytes + size, work.at[i]);
    }
    *out = (piece){t->normalized.bytes, size};
    return STATUS_OK;
}
