/* Decodes sentences from stdin; for tests, which compare with Python.

   `tagging_program LABELS`: the labels, separated by spaces, or a number of labels without rules.
   stdin, all little-endian: the number of transitions (uint32; 0: none) and these (float32); then of
   each sentence the number of words (uint32) and logits [words, labels] (float32). A line per word:
   its tag and the tag's probability. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failure.h"
#include "tagging.h"

enum { LABELS = 64, WORDS = 256 };

static float transitions[LABELS * (LABELS + 2)], logits[WORDS * LABELS];
static int32_t tags[WORDS];
static double probabilities[WORDS];

static void stop(const char *reason)
{
    fprintf(stderr, "%s\n", reason);
    failure_print(stderr);
    exit(1);
}

static void read_floats(float *values, size_t count)
{
    if (fread(values, sizeof *values, count, stdin) != count)
        stop("stdin is cut");
}

static size_t split_labels(char *text, text_span *labels)
{
    size_t count = 0;
    for (char *label = strtok(text, " "); label && count < LABELS; label = strtok(NULL, " "))
        labels[count++] = (text_span){label, strlen(label)};
    return count;
}

int main(int count, char **arguments)
{
    text_span labels[LABELS];
    tagger own;
    uint32_t num_scores, num_words;
    if (count != 2 || fread(&num_scores, sizeof num_scores, 1, stdin) != 1 ||
        num_scores > sizeof transitions / sizeof *transitions)
        stop("usage: tagging_program LABELS");
    size_t num_labels = (size_t)atoi(arguments[1]), num_spans = 0;
    if (!num_labels)
        num_labels = num_spans = split_labels(arguments[1], labels);
    read_floats(transitions, num_scores);
    if (tagger_open(&own, labels, num_spans, num_labels, num_scores ? transitions : NULL))
        stop("cannot be opened");
    while (fread(&num_words, sizeof num_words, 1, stdin) == 1) {
        if (num_words > WORDS)
            stop("too many words");
        read_floats(logits, num_words * num_labels);
        if (tagger_decode(&own, logits, num_words, tags) ||
            tagger_probabilities(&own, logits, num_words, tags, probabilities))
            stop("cannot be decoded");
        for (uint32_t word = 0; word < num_words; word++)
            printf("%d %.17g\n", (int)tags[word], probabilities[word]);
    }
    tagger_close(&own);
    return 0;
}
