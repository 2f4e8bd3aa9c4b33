#include "session.h"

#include <string.h>

#include "failure.h"

int session_open_tokenizer(session *session, const char *path) {
    if (runner_file_open(&session->file, path))
        return fail_status(FAILURE_BUNDLE, "is not a runner file that can be used", path);
    if (tokenizer_open(&session->tokenizer, session->file))
        return fail_status(FAILURE_BUNDLE, "has no tokenizer that can be used", path);
    return 0;
}

int session_open_rows(session *session, const char *path) {
    return sequence_rows_open(&session->rows, path);
}

int session_open_model(session *session, const steps_settings *settings) {
    session->has_steps = true;
    return steps_open(&session->steps, settings, session->tokenizer, session->file);
}

void session_close(session *session) {
    if (session->has_steps) steps_close(&session->steps);
    if (session->tokenizer) tokenizer_close(session->tokenizer);
    if (session->file) runner_file_close(session->file);
    sequence_rows_close(&session->rows);
    pages *all[] = {&session->model_path, &session->tokenizer_path, &session->signature_key,
                    &session->input_name, &session->output_name};
    for (size_t index = 0; index < sizeof all / sizeof *all; index++) pages_release(all[index]);
    memset(session, 0, sizeof *session);
}
