// A loaded model with its tokenizer, or the rows of numeric sequences, and steps: what the worker and
// `predict` have in common.
#ifndef EDGESEQ_SESSION_H
#define EDGESEQ_SESSION_H

#include <stdbool.h>

#include "pages.h"
#include "runner_file.h"
#include "steps.h"
#include "tokenizer.h"

typedef struct {
    runner_file *file;
    tokenizer *tokenizer;
    sequence_rows rows;
    steps steps;
    bool has_steps;
    // Strings that live as long as the model.
    pages model_path, tokenizer_path, signature_key, input_name, output_name;
} session;

// Maps runner.bin and opens its tokenizer.
int session_open_tokenizer(session *session, const char *path);

// Maps the rows of numeric sequences, which have no runner.bin; `path` lives as long.
int session_open_rows(session *session, const char *path);

// Loads the model; the tokenizer or the rows must be open. `settings` point to what lives as long.
int session_open_model(session *session, const steps_settings *settings);

// Gives everything back; a session that was not opened, too.
void session_close(session *session);

#endif
