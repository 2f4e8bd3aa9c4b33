// A bundle's folder, opened to answer texts: what `predict` and the library (edgeseq.h) share.
#ifndef EDGESEQ_BUNDLE_SESSION_H
#define EDGESEQ_BUNDLE_SESSION_H

#include <stddef.h>

#include "session.h"

typedef struct {
    session session;
    const runner_settings *settings;
    const char *model_path;
    pages labels, scores, words, ids;
} bundle_session;

// The words of a text and their tags; valid until the next text.
typedef struct {
    const text_span *words;
    const int32_t *tags;
    size_t count;
} tagged_text;

// Opens runner.bin, and then the model with LiteRT's C library. Between the two `model_path` is
// known, for whoever wants to say where a crash came from. Return -1 with a failure.
int bundle_session_open(bundle_session *bundle, const char *folder);
int bundle_session_load(bundle_session *bundle, const char *library, int threads);

// The name of a class; never NULL.
const char *bundle_session_label(const bundle_session *bundle, size_t index);

// Fails for a text that no model should see: an empty one, one that is not valid UTF-8, or one that
// lacks the marked mentions that the model needs. `where` is what the failure names.
int bundle_session_check(const bundle_session *bundle, text_span text, const char *where);

// Probabilities [labels] of a text, valid until the next one, and the index of the label.
int bundle_session_classify(bundle_session *bundle, text_span text, const double **scores,
                            size_t *label);

// Probabilities [labels] of a text with any number of labels and `decisions` [labels], 1 for each
// that it has; both are valid until the next text.
int bundle_session_label_text(bundle_session *bundle, text_span text, const double **scores,
                              const int32_t **decisions);

// The tags of a text's words; then the probability of each one's tag [words], valid until the next
// text.
int bundle_session_tag(bundle_session *bundle, text_span text, tagged_text *tagged);
int bundle_session_tag_scores(bundle_session *bundle, const tagged_text *tagged,
                              const double **scores);

// The token that begins each text, and then `*count` tokens of this one: ids [1 + *count].
int bundle_session_read(bundle_session *bundle, text_span text, const int32_t **ids,
                        size_t *count);

// The most likely next tokens under logits [vocabulary], the most likely first, with their
// probabilities. Writes at most `count` of each and returns the number, or -1 with a failure.
int bundle_session_top_k(const bundle_session *bundle, const float *logits, size_t count,
                         int32_t *ids, double *probabilities);

void bundle_session_close(bundle_session *bundle);

#endif
