/* example BUNDLE LIBRARY TEXT…: prints what the model says of each text, one line each. */
#include <stdio.h>
#include <string.h>

#include "edgeseq.h"

static int classify(edgeseq_model *model, const char *text) {
    const double *probabilities;
    int label = edgeseq_classify(model, text, strlen(text), &probabilities);
    if (label < 0) return -1;
    printf("%s", edgeseq_label(model, (size_t)label));
    for (size_t index = 0; index < edgeseq_num_labels(model); index++)
        printf("\t%.9g", probabilities[index]);
    return 0;
}

static int label_text(edgeseq_model *model, const char *text) {
    const double *probabilities;
    const int *has_label;
    int count = edgeseq_label_text(model, text, strlen(text), &probabilities, &has_label);
    if (count < 0) return -1;
    for (size_t index = 0; index < edgeseq_num_labels(model); index++)
        if (has_label[index]) printf("%s%s", edgeseq_label(model, index), --count ? ";" : "");
    for (size_t index = 0; index < edgeseq_num_labels(model); index++)
        printf("\t%.9g", probabilities[index]);
    return 0;
}

static int tag(edgeseq_model *model, const char *text) {
    const edgeseq_tagged_word *words;
    int count = edgeseq_tag(model, text, strlen(text), &words);
    for (int index = 0; index < count; index++)
        printf("%s%.*s/%s", index ? " " : "", (int)words[index].size, text + words[index].begin,
               words[index].tag);
    for (int index = 0; index < count; index++) printf("\t%.9g", words[index].probability);
    return count < 0 ? -1 : 0;
}

static int continue_text(edgeseq_model *model, const char *text) {
    edgeseq_next_word words[3];
    if (edgeseq_begin_text(model) || edgeseq_read(model, text, strlen(text)) < 0) return -1;
    int count = edgeseq_next_words(model, words, 3);
    for (int index = 0; index < count; index++)
        printf("%s%.*s", index ? " " : "", (int)words[index].size, words[index].bytes);
    for (int index = 0; index < count; index++) printf("\t%.9g", words[index].probability);
    return count < 0 ? -1 : 0;
}

static int answer(edgeseq_model *model, const char *text) {
    switch (edgeseq_get_task(model)) {
        case EDGESEQ_TEXT_CLASSIFICATION: return classify(model, text);
        case EDGESEQ_MULTILABEL_CLASSIFICATION: return label_text(model, text);
        case EDGESEQ_TOKEN_CLASSIFICATION: return tag(model, text);
        case EDGESEQ_LANGUAGE_MODELING: break;
    }
    return continue_text(model, text);
}

int main(int count, char **arguments) {
    if (count < 4) {
        fprintf(stderr, "example BUNDLE LIBRARY TEXT…\n");
        return 2;
    }
    edgeseq_model *model = edgeseq_open(arguments[1], arguments[2], 1);
    int failed = model ? 0 : -1;
    for (int index = 3; !failed && index < count; index++) {
        failed = answer(model, arguments[index]);
        printf("\n");
    }
    if (failed) fprintf(stderr, "%s\n", edgeseq_error());
    edgeseq_close(model);
    return failed ? 1 : 0;
}
