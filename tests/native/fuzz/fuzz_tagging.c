// Labels, logits and transitions of any value: tags are labels, keep the rules of BIO where the path
// is finite, and have probabilities where logits and transitions are not extreme.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "scores.h"
#include "tagging.h"

static const char *const NAMES[] = {"O", "B-a", "I-a", "B-bb", "I-bb", "I-", "B-", "", "I", "I-c"};
enum { NUM_NAMES = sizeof NAMES / sizeof *NAMES, MAX_WORDS = 64, MAX_SCORES = 10 * 8 };

static int may_follow(const char *before, const char *tag) {
    if (strncmp(tag, "I-", 2) != 0) return 1;
    const char *kind = strncmp(before, "I-", 2) == 0 || strncmp(before, "B-", 2) == 0 ? before + 2
                                                                                      : "";
    return strcmp(kind, tag + 2) == 0;
}

static void check_rules(const text_span *labels, const int32_t *tags, size_t num_words) {
    for (size_t word = 0; word < num_words; word++) {
        const char *tag = labels[tags[word]].bytes;
        if (word == 0 && strncmp(tag, "I-", 2) == 0) abort();
        if (word && !may_follow(labels[tags[word - 1]].bytes, tag)) abort();
    }
}

static int are_moderate(const float *values, size_t count) {
    for (size_t index = 0; index < count; index++)
        if (!(fabsf(values[index]) < 1e6f)) return 0;
    return 1;
}

static void check_probabilities(tagger *own, const float *logits, size_t num_words,
                                const int32_t *tags) {
    double probabilities[MAX_WORDS];
    if (tagger_probabilities(own, logits, num_words, tags, probabilities)) abort();
    for (size_t word = 0; word < num_words; word++)
        if (!(probabilities[word] >= 0 && probabilities[word] <= 1 + 1e-6)) abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t size) {
    text_span labels[8];
    static float logits[MAX_WORDS * 8], transitions[MAX_SCORES];
    static int32_t tags[MAX_WORDS];
    if (size < 9) return 0;
    size_t num_labels = 1 + bytes[0] % 8, can_start = 0, is_finite = 1;
    size_t num_scores = bytes[0] & 8 ? (num_labels + 2) * num_labels : 0;
    for (size_t label = 0; label < num_labels; label++) {
        const char *name = NAMES[bytes[1 + label] % NUM_NAMES];
        labels[label] = (text_span){name, strlen(name)};
        can_start |= strncmp(name, "I-", 2) != 0;
    }
    bytes += 9;
    size -= 9;
    if (size < num_scores * sizeof(float)) return 0;
    memcpy(transitions, bytes, num_scores * sizeof(float));
    bytes += num_scores * sizeof(float);
    size -= num_scores * sizeof(float);
    size_t num_words = size / sizeof(float) / num_labels;
    if (num_words > MAX_WORDS) num_words = MAX_WORDS;
    memcpy(logits, bytes, num_words * num_labels * sizeof(float));
    for (size_t index = 0; index < num_words * num_labels; index++)
        is_finite = is_finite && isfinite(logits[index]);
    tagger own;
    const float *learnt = num_scores ? transitions : NULL;
    if (tagger_open(&own, labels, num_labels, num_labels, learnt)) abort();
    if (tagger_decode(&own, logits, num_words, tags)) abort();
    for (size_t word = 0; word < num_words; word++)
        if (tags[word] < 0 || (size_t)tags[word] >= num_labels) abort();
    // From a label that is no `I-X` there is always a way on: itself, or one like it.
    int is_moderate = are_moderate(transitions, num_scores);
    if (can_start && is_finite && is_moderate) check_rules(labels, tags, num_words);
    if (is_moderate && are_moderate(logits, num_words * num_labels))
        check_probabilities(&own, logits, num_words, tags);
    tagger_close(&own);
    return 0;
}
