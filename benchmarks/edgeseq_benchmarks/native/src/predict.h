// `edgeseq-runner predict BUNDLE [TEXT…]`: labels and scores for a person or a script.
#ifndef EDGESEQ_PREDICT_H
#define EDGESEQ_PREDICT_H

#include <stdbool.h>

typedef struct {
    const char *bundle, *library;
    int threads;
    bool json;
    char **texts; // without any, each line of stdin is one
    int num_texts;
} predict_options;

// Returns the exit status: 0, or 1 with a line on stderr.
int predict_main(const predict_options *options);

#endif
