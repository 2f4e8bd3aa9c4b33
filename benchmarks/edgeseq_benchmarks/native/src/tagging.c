#include "tagging.h"

#include <math.h>
#include <string.h>

#include "failure.h"
#include "scores.h"

static double *numbers(pages *memory) { return (double *)(void *)memory->bytes; }
static int32_t *integers(pages *memory) { return (int32_t *)(void *)memory->bytes; }

static bool has_prefix(text_span label, char letter) {
    return label.size >= 2 && label.bytes[0] == letter && label.bytes[1] == '-';
}

// The type X of `B-X` and `I-X`, empty for every other label.
static text_span kind_of(text_span label) {
    bool has_kind = has_prefix(label, 'B') || has_prefix(label, 'I');
    return has_kind ? (text_span){label.bytes + 2, label.size - 2} : (text_span){"", 0};
}

int tagger_open(tagger *tagger, const text_span *labels, size_t count, size_t num_labels) {
    memset(tagger, 0, sizeof *tagger);
    tagger->num_labels = num_labels;
    tagger->has_rules = count > 0;
    if (!count) return 0;
    if (count != num_labels) {
        fail(FAILURE_DEVICE, "has another number of labels than logits", "stdin", NULL);
        fail_found("%zu", count);
        return fail_expected("%zu", num_labels);
    }
    if (pages_reserve_array(&tagger->is_inside, count, sizeof(bool)) ||
        pages_reserve_array(&tagger->kinds, count, sizeof(int32_t)))
        return -1;
    for (size_t label = 0; label < count; label++) {
        text_span kind = kind_of(labels[label]);
        tagger->is_inside.bytes[label] = has_prefix(labels[label], 'I');
        size_t first = 0; // the first label with the same type gives it its number
        for (text_span other; first < label; first++) {
            other = kind_of(labels[first]);
            if (other.size == kind.size && memcmp(other.bytes, kind.bytes, kind.size) == 0) break;
        }
        integers(&tagger->kinds)[label] =
            first < label ? integers(&tagger->kinds)[first] : (int32_t)label;
    }
    return 0;
}

static bool may_start(const tagger *tagger, int32_t tag) { return !tagger->is_inside.bytes[tag]; }

static bool may_follow(tagger *tagger, int32_t before, int32_t tag) {
    const int32_t *kinds = integers(&tagger->kinds);
    return !tagger->is_inside.bytes[tag] || kinds[before] == kinds[tag];
}

static bool follows_rules(tagger *tagger, const int32_t *tags, size_t num_words) {
    if (!may_start(tagger, tags[0])) return false;
    for (size_t word = 1; word < num_words; word++)
        if (!may_follow(tagger, tags[word - 1], tags[word])) return false;
    return true;
}

static void log_softmax(const float *logits, size_t count, double *scores) {
    double largest = -INFINITY, total = 0;
    for (size_t index = 0; index < count; index++)
        if ((double)logits[index] > largest) largest = (double)logits[index];
    for (size_t index = 0; index < count; index++) total += exp((double)logits[index] - largest);
    double log_total = log(total);
    for (size_t index = 0; index < count; index++)
        scores[index] = (double)logits[index] - largest - log_total;
}

static size_t argmax(const double *scores, size_t count) {
    size_t best = 0;
    for (size_t index = 1; index < count; index++)
        if (scores[index] > scores[best]) best = index;
    return best;
}

// One word further: the best path to each tag, over the tags that it may follow.
static void extend_paths(tagger *tagger, const double *scores, int32_t *came_from) {
    size_t count = tagger->num_labels;
    double *best = numbers(&tagger->best), *previous = numbers(&tagger->previous);
    memcpy(previous, best, count * sizeof *best);
    for (size_t tag = 0; tag < count; tag++) {
        size_t from = 0;
        double largest = -INFINITY;
        for (size_t before = 0; before < count; before++)
            if (previous[before] > largest && may_follow(tagger, (int32_t)before, (int32_t)tag)) {
                largest = previous[before];
                from = before;
            }
        came_from[tag] = (int32_t)from;
        best[tag] = largest + scores[tag];
    }
}

// Viterbi's path over log-probabilities with transitions that are free or forbidden.
static int find_path(tagger *tagger, const float *logits, size_t num_words, int32_t *tags) {
    size_t count = tagger->num_labels;
    if (pages_reserve_array(&tagger->scores, count, sizeof(double)) ||
        pages_reserve_array(&tagger->best, count, sizeof(double)) ||
        pages_reserve_array(&tagger->previous, count, sizeof(double)) ||
        pages_reserve_array(&tagger->came_from, num_words * count, sizeof(int32_t)))
        return -1;
    double *scores = numbers(&tagger->scores), *best = numbers(&tagger->best);
    int32_t *came_from = integers(&tagger->came_from);
    log_softmax(logits, count, scores);
    for (size_t tag = 0; tag < count; tag++)
        best[tag] = may_start(tagger, (int32_t)tag) ? scores[tag] : -INFINITY;
    for (size_t word = 1; word < num_words; word++) {
        log_softmax(logits + word * count, count, scores);
        extend_paths(tagger, scores, came_from + word * count);
    }
    tags[num_words - 1] = (int32_t)argmax(best, count);
    for (size_t word = num_words - 1; word > 0; word--)
        tags[word - 1] = came_from[word * count + (size_t)tags[word]];
    return 0;
}

int tagger_decode(tagger *tagger, const float *logits, size_t num_words, int32_t *tags) {
    for (size_t word = 0; word < num_words; word++)
        tags[word] = (int32_t)scores_argmax(logits + word * tagger->num_labels, tagger->num_labels);
    if (!tagger->has_rules || !num_words || follows_rules(tagger, tags, num_words)) return 0;
    return find_path(tagger, logits, num_words, tags);
}

void tagger_close(tagger *tagger) {
    pages_release(&tagger->is_inside);
    pages_release(&tagger->kinds);
    pages_release(&tagger->scores);
    pages_release(&tagger->best);
    pages_release(&tagger->previous);
    pages_release(&tagger->came_from);
}
