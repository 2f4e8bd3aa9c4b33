#define _GNU_SOURCE
#include "worker.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "failure.h"
#include "line_reader.h"

static const size_t LINE_LIMIT_BYTES = (size_t)256 << 20;

void worker_begin_reply(worker *worker, const char *name) {
    writer_open(&worker->writer, '{');
    writer_text_member(&worker->writer, "reply", name);
}

int worker_end_reply(worker *worker) {
    writer_close(&worker->writer, '}');
    return writer_end_line(&worker->writer);
}

static void write_part(json_writer *writer, const char *name, const char *text) {
    if (text[0]) writer_text_member(writer, name, text);
}

static int send_failure(worker *worker) {
    const failure *failed = current_failure();
    json_writer *writer = &worker->writer;
    worker_begin_reply(worker, "error");
    writer_text_member(writer, "kind", failed->kind == FAILURE_BUNDLE ? "bundle" : "device");
    writer_text_member(writer, "what", failed->what);
    write_part(writer, "where", failed->where);
    write_part(writer, "found", failed->found);
    write_part(writer, "expected", failed->expected);
    write_part(writer, "fix", failed->fix);
    return worker_end_reply(worker);
}

static int needs_model(worker *worker) {
    if (worker->session.has_steps) return 0;
    return fail(FAILURE_DEVICE, "no model is loaded", NULL, "send `load` first");
}

static int serve_model(worker *worker) {
    if (needs_model(worker)) return -1;
    switch (worker->command.kind) {
        case COMMAND_RUN_SLICE: return worker_run_slice(worker);
        case COMMAND_RUN_LENGTH: return worker_run_length(worker);
        case COMMAND_RUN_LIMITED: return worker_run_limited(worker);
        case COMMAND_PREDICT_TEXTS: return worker_predict_texts(worker);
        case COMMAND_INFER_TOKENS: return worker_infer_tokens(worker);
        case COMMAND_SCORE_DOCUMENT: return worker_score_document(worker);
        case COMMAND_COMPLETE: return worker_complete(worker);
        default: break;
    }
    fail(FAILURE_DEVICE, "is not served by the native runner", NULL, "send it to a Python worker");
    return fail_found("%.*s", (int)worker->command.name.size, worker->command.name.bytes);
}

static int serve_command(worker *worker) {
    switch (worker->command.kind) {
        case COMMAND_LOAD: return worker_load(worker);
        case COMMAND_READ_MEMORY: return worker_read_memory(worker);
        case COMMAND_MEASURE_OVERHEAD: return worker_measure_overhead(worker);
        default: return serve_model(worker);
    }
}

int worker_serve(worker *worker, char *line, size_t size) {
    if (command_read(&worker->command, line, size)) return -1;
    if (worker->command.kind == COMMAND_FINISH) return 0;
    int failed = serve_command(worker);
    // What the command needed is no memory of the phase that follows.
    command_release(&worker->command);
    if (!failed) return 1;
    if (worker->writer.has_failed) {
        fail(FAILURE_DEVICE, "cannot reply", "stdout", NULL);
        return fail_found("the other end has closed");
    }
    return send_failure(worker) ? -1 : 1;
}

static void die_with_parent(int parent) {
    if (!parent) return;
    // A process deep in page faults reads no stdin: the kernel ends it when the parent dies.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    // The parent may have died before the kernel was told.
    if (getppid() != parent) exit(0);
}

static int64_t spawned_ns(void) {
    const char *text = getenv("EDGESEQ_SPAWNED_NS");
    if (!text || !*text) return -1;
    char *end;
    long long value = strtoll(text, &end, 10);
    return *end || value < 0 ? -1 : value;
}

int worker_main(int parent, const char *library) {
    static worker own;
    die_with_parent(parent);
    signal(SIGPIPE, SIG_IGN);
    // What libraries print to stdout goes to stderr; only replies go to the original stdout.
    int replies = dup(STDOUT_FILENO);
    if (replies < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) return 1;
    writer_begin(&own.writer, replies);
    own.library = library;
    own.spawned_ns = spawned_ns();
    line_reader reader = {.descriptor = STDIN_FILENO, .limit = LINE_LIMIT_BYTES};
    char *line;
    size_t size;
    int served = 1, got = 1;
    while (served > 0 && (got = line_read(&reader, &line, &size)) > 0) {
        served = worker_serve(&own, line, size);
        line_release(&reader);
    }
    if (served < 0 || got < 0) {
        failure_print(stderr);
        return 1;
    }
    return 0;
}
