// The measured process: one command per line on stdin, replies on stdout, as
// edgeseq_benchmarks/bench/worker.py.
#ifndef EDGESEQ_WORKER_H
#define EDGESEQ_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "command.h"
#include "json_writer.h"
#include "session.h"

enum { MAX_PHASES = 8 };

typedef struct {
    json_writer writer;
    command command;
    session session;
    const char *library;  // path of libLiteRt.so
    int64_t spawned_ns;   // of this machine's clock, -1 where the command has it
    bool peak_is_of_phase; // the peak was reset when the present phase began
} worker;

// Serves commands until `finish` or the end of stdin. `parent` is the process that must live for
// this one to, 0 for none. Returns the exit status.
int worker_main(int parent, const char *library);

// Reads and serves one command, and sends its reply. Returns 1 to go on, 0 for `finish`, -1 with a
// failure when the line is no command or the other end has closed.
int worker_serve(worker *worker, char *line, size_t size);

// Begins a reply, which is an object, and ends its line. A reply that cannot be sent is -1.
void worker_begin_reply(worker *worker, const char *name);
int worker_end_reply(worker *worker);

void worker_write_flags(json_writer *writer, tokenization_flags flags);

// The commands of loading and of measuring (worker_load.c, worker_measure.c, worker_texts.c). Each
// sends its reply, or returns -1 with a failure.
int worker_load(worker *worker);
int worker_read_memory(worker *worker);
int worker_run_slice(worker *worker);
int worker_run_length(worker *worker);
int worker_run_limited(worker *worker);
int worker_measure_overhead(worker *worker);
int worker_predict_texts(worker *worker);
int worker_infer_tokens(worker *worker);
int worker_score_document(worker *worker);
int worker_complete(worker *worker);

#endif
