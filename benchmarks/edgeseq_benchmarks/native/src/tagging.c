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

int tagger_open(tagger *tagger, const text_span *labels, size_t count, size_t num_labels,
                const float *transitions) {
    memset(tagger, 0, sizeof *tagger);
    tagger->transitions = transitions;
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

static double start_score(const tagger *tagger, size_t tag) {
    return tagger->transitions ? (double)tagger->transitions[tag] : 0;
}

static double pair_score(const tagger *tagger, size_t before, size_t tag) {
    size_t count = tagger->num_labels;
    return tagger->transitions ? (double)tagger->transitions[count + before * count + tag] : 0;
}

static double end_score(const tagger *tagger, size_t tag) {
    size_t count = tagger->num_labels;
    return tagger->transitions ? (double)tagger->transitions[(count + 1) * count + tag] : 0;
}

// The scores of a word's tags: logits with transitions, else log-probabilities.
static void word_scores(const tagger *tagger, const float *logits, double *scores) {
    if (!tagger->transitions) {
        log_softmax(logits, tagger->num_labels, scores);
        return;
    }
    for (size_t tag = 0; tag < tagger->num_labels; tag++) scores[tag] = (double)logits[tag];
}

// One word further: the best path to each tag, over the tags that it may follow.
static void extend_paths(tagger *tagger, const double *scores, int32_t *came_from) {
    size_t count = tagger->num_labels;
    double *best = numbers(&tagger->best), *previous = numbers(&tagger->previous);
    memcpy(previous, best, count * sizeof *best);
    for (size_t tag = 0; tag < count; tag++) {
        size_t from = 0;
        double largest = -INFINITY;
        for (size_t before = 0; before < count; before++) {
            double path = previous[before] + pair_score(tagger, before, tag);
            if (path > largest &&
                (!tagger->has_rules || may_follow(tagger, (int32_t)before, (int32_t)tag))) {
                largest = path;
                from = before;
            }
        }
        came_from[tag] = (int32_t)from;
        best[tag] = largest + scores[tag];
    }
}

static int reserve_paths(tagger *tagger, size_t num_words) {
    size_t count = tagger->num_labels;
    return pages_reserve_array(&tagger->scores, count, sizeof(double)) ||
                   pages_reserve_array(&tagger->best, count, sizeof(double)) ||
                   pages_reserve_array(&tagger->previous, count, sizeof(double)) ||
                   pages_reserve_array(&tagger->came_from, num_words * count, sizeof(int32_t))
               ? -1
               : 0;
}

// Viterbi's path over the sums of scores and transitions; without transitions these are free or
// forbidden.
static int find_path(tagger *tagger, const float *logits, size_t num_words, int32_t *tags) {
    size_t count = tagger->num_labels;
    if (reserve_paths(tagger, num_words)) return -1;
    double *scores = numbers(&tagger->scores), *best = numbers(&tagger->best);
    int32_t *came_from = integers(&tagger->came_from);
    word_scores(tagger, logits, scores);
    for (size_t tag = 0; tag < count; tag++) {
        bool is_allowed = !tagger->has_rules || may_start(tagger, (int32_t)tag);
        best[tag] = is_allowed ? start_score(tagger, tag) + scores[tag] : -INFINITY;
    }
    for (size_t word = 1; word < num_words; word++) {
        word_scores(tagger, logits + word * count, scores);
        extend_paths(tagger, scores, came_from + word * count);
    }
    for (size_t tag = 0; tag < count; tag++) best[tag] += end_score(tagger, tag);
    tags[num_words - 1] = (int32_t)argmax(best, count);
    for (size_t word = num_words - 1; word > 0; word--)
        tags[word - 1] = came_from[word * count + (size_t)tags[word]];
    return 0;
}

int tagger_decode(tagger *tagger, const float *logits, size_t num_words, int32_t *tags) {
    for (size_t word = 0; word < num_words; word++)
        tags[word] = (int32_t)scores_argmax(logits + word * tagger->num_labels, tagger->num_labels);
    if (!num_words) return 0;
    bool is_best = !tagger->has_rules || follows_rules(tagger, tags, num_words);
    return is_best && !tagger->transitions ? 0 : find_path(tagger, logits, num_words, tags);
}

// ln of the sum of exp(values).
static double log_total(const double *values, size_t count) {
    double largest = values[argmax(values, count)], total = 0;
    for (size_t index = 0; index < count; index++) total += exp(values[index] - largest);
    return largest + log(total);
}

static void find_forward(tagger *tagger, const float *logits, size_t num_words) {
    size_t count = tagger->num_labels;
    double *forward = numbers(&tagger->forward), *paths = numbers(&tagger->scores);
    for (size_t tag = 0; tag < count; tag++)
        forward[tag] = start_score(tagger, tag) + (double)logits[tag];
    for (size_t word = 1; word < num_words; word++) {
        const double *before = forward + (word - 1) * count;
        for (size_t tag = 0; tag < count; tag++) {
            for (size_t other = 0; other < count; other++)
                paths[other] = before[other] + pair_score(tagger, other, tag);
            forward[word * count + tag] = log_total(paths, count) + (double)logits[word * count + tag];
        }
    }
}

// The sums over the paths behind a word's tags, from those behind the word after it, `later`.
static void extend_backward(tagger *tagger, const float *logits, const double *later,
                            double *backward) {
    size_t count = tagger->num_labels;
    double *paths = numbers(&tagger->scores);
    for (size_t tag = 0; tag < count; tag++) {
        for (size_t other = 0; other < count; other++)
            paths[other] = pair_score(tagger, tag, other) + (double)logits[other] + later[other];
        backward[tag] = log_total(paths, count);
    }
}

int tagger_probabilities(tagger *tagger, const float *logits, size_t num_words,
                         const int32_t *tags, double *probabilities) {
    size_t count = tagger->num_labels;
    if (!num_words) return 0;
    if (scores_check_finite(logits, num_words * count) || reserve_paths(tagger, num_words) ||
        pages_reserve_array(&tagger->forward, num_words * count, sizeof(double)))
        return -1;
    double *backward = numbers(&tagger->best), *later = numbers(&tagger->previous);
    double *both = numbers(&tagger->scores);
    if (tagger->transitions) find_forward(tagger, logits, num_words);
    for (size_t word = num_words; word-- > 0;) {
        const float *row = logits + word * count;
        if (!tagger->transitions) {
            if (scores_softmax(row, count, both)) return -1;
            probabilities[word] = both[tags[word]];
            continue;
        }
        for (size_t tag = 0; tag < count; tag++) backward[tag] = end_score(tagger, tag);
        if (word + 1 < num_words) extend_backward(tagger, row + count, later, backward);
        memcpy(later, backward, count * sizeof *later);
        const double *forward = numbers(&tagger->forward) + word * count;
        for (size_t tag = 0; tag < count; tag++) both[tag] = forward[tag] + backward[tag];
        probabilities[word] = exp(both[tags[word]] - log_total(both, count));
    }
    return 0;
}

void tagger_close(tagger *tagger) {
    pages_release(&tagger->is_inside);
    pages_release(&tagger->kinds);
    pages_release(&tagger->scores);
    pages_release(&tagger->best);
    pages_release(&tagger->previous);
    pages_release(&tagger->came_from);
    pages_release(&tagger->forward);
}
