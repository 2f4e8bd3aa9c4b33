#include <string.h>

#include "crash.h"
#include "failure.h"
#include "litert.h"
#include "process_memory.h"
#include "recorder.h"
#include "worker.h"

typedef struct {
    const char *phases[MAX_PHASES];
    memory_reading readings[MAX_PHASES];
    size_t count;
} memory_ledger;

static void write_optional(json_writer *writer, const char *name, int64_t value) {
    writer_name(writer, name);
    if (value < 0)
        writer_null(writer);
    else
        writer_integer(writer, value);
}

static void write_reading(json_writer *writer, const memory_reading *reading) {
    writer_integer_member(writer, "rss_bytes", reading->rss_bytes);
    write_optional(writer, "pss_bytes", reading->pss_bytes);
    writer_integer_member(writer, "anonymous_bytes", reading->anonymous_bytes);
    writer_integer_member(writer, "file_bytes", reading->file_bytes);
    write_optional(writer, "peak_bytes", reading->peak_bytes);
    writer_integer_member(writer, "minor_faults", reading->minor_faults);
    writer_integer_member(writer, "major_faults", reading->major_faults);
}

static void read_phase(worker *worker, memory_reading *reading) {
    memory_read(reading, worker->peak_is_of_phase);
    worker->peak_is_of_phase = memory_reset_peak();
}

static int end_phase(worker *worker, memory_ledger *ledger, const char *phase) {
    if (worker->command.announce) {
        worker_begin_reply(worker, "reached");
        writer_text_member(&worker->writer, "phase", phase);
        if (worker_end_reply(worker)) return -1;
    }
    if (!worker->command.ledger || ledger->count == MAX_PHASES) return 0;
    ledger->phases[ledger->count] = phase;
    read_phase(worker, &ledger->readings[ledger->count++]);
    return 0;
}

static int read_head(text_span name, runner_head *head) {
    if (span_equals(name, "text-classification"))
        *head = HEAD_TEXT_CLASSIFICATION;
    else if (span_equals(name, "token-classification"))
        *head = HEAD_TOKEN_CLASSIFICATION;
    else if (span_equals(name, "multilabel-classification"))
        *head = HEAD_MULTILABEL_CLASSIFICATION;
    else if (span_equals(name, "language-modeling"))
        *head = HEAD_LANGUAGE_MODELING;
    else if (span_equals(name, "sequence-classification"))
        *head = HEAD_SEQUENCE_CLASSIFICATION;
    else if (span_equals(name, "sequence-regression"))
        *head = HEAD_SEQUENCE_REGRESSION;
    else
        return fail(FAILURE_DEVICE, "is no head that the native runner has", "stdin", NULL);
    return 0;
}

static int read_settings(worker *worker, steps_settings *settings) {
    const command *load = &worker->command;
    session *session = &worker->session;
    if (read_head(load->head, &settings->head) ||
        command_c_string(load->model_path, &session->model_path, &settings->model_path) ||
        command_c_string(load->signature_key, &session->signature_key, &settings->signature_key) ||
        command_c_string(load->input_name, &session->input_name, &settings->input_name) ||
        command_c_string(load->output_name, &session->output_name, &settings->output_name))
        return -1;
    if (load->labels > INT32_MAX || load->threads > 1024) {
        fail(FAILURE_DEVICE, "has a number out of range", "stdin", NULL);
        return fail_found("%lld labels, %lld threads", (long long)load->labels,
                          (long long)load->threads);
    }
    settings->max_tokens = (size_t)load->max_tokens;
    settings->num_logits = (size_t)load->labels;
    settings->threads = (int)load->threads;
    query_text labels = {load->span_labels.first, load->span_labels.count, true};
    settings->span_labels = labels.count ? command_spans(load, &labels) : NULL;
    settings->num_span_labels = labels.count;
    return 0;
}

// Opens what inputs are read with.
static int open_inputs(session *session, steps_settings *settings, const char *path) {
    if (!steps_are_numeric(settings->head)) return session_open_tokenizer(session, path);
    settings->rows = &session->rows;
    return session_open_rows(session, path);
}

static int answer_first(worker *worker, const query_input *text) {
    classes found;
    steps *steps = &worker->session.steps;
    return steps_tokenize(steps, text) || steps_infer(steps) || steps_decode(steps, &found) ? -1 : 0;
}

typedef struct {
    int64_t spawned, imported, begun, loaded, answered; // ns
    int threads;
} load_times;

static int load_phases(worker *worker, memory_ledger *ledger, load_times *times) {
    steps_settings settings = {0};
    session *session = &worker->session;
    const char *tokenizer_path;
    if (litert_open(worker->library)) return -1;
    times->imported = clock_ns();
    times->threads = memory_count_threads();
    if (worker->command.ledger) {
        memory_trim();
        // The first phase began with the process: its peak needs no reset.
        worker->peak_is_of_phase = true;
    }
    session_close(session);
    if (end_phase(worker, ledger, "runtime_imported")) return -1;
    times->begun = clock_ns();
    if (command_c_string(worker->command.tokenizer_path, &session->tokenizer_path,
                         &tokenizer_path) ||
        read_settings(worker, &settings) || open_inputs(session, &settings, tokenizer_path) ||
        end_phase(worker, ledger, "tokenizer_loaded"))
        return -1;
    crash_report(settings.model_path, false);
    if (session_open_model(session, &settings) || end_phase(worker, ledger, "model_loaded"))
        return -1;
    query_input text = command_input(&worker->command, worker->command.first_text.first);
    if (steps_allocate(&session->steps, &text) || end_phase(worker, ledger, "tensors_allocated"))
        return -1;
    times->loaded = clock_ns();
    if (answer_first(worker, &text)) return -1;
    times->answered = clock_ns();
    return end_phase(worker, ledger, "first_answer");
}

static void write_mapped_files(json_writer *writer, const char *names, size_t count) {
    writer_name(writer, "mapped_files");
    writer_open(writer, '[');
    for (size_t index = 0; index < count; index++) {
        writer_text(writer, names);
        names += strlen(names) + 1;
    }
    writer_close(writer, ']');
}

int worker_load(worker *worker) {
    memory_ledger ledger = {.count = 0};
    load_times times = {0};
    pages names = {NULL, 0};
    size_t num_names = 0;
    json_writer *writer = &worker->writer;
    times.spawned = worker->spawned_ns >= 0 ? worker->spawned_ns : worker->command.spawned_ns;
    // What can fail comes before the reply begins.
    if (load_phases(worker, &ledger, &times) ||
        (worker->command.ledger && memory_mapped_files(&names, &num_names))) {
        pages_release(&names);
        session_close(&worker->session);
        return -1;
    }
    worker_begin_reply(worker, "loaded");
    writer_text_member(writer, "package", "ai-edge-litert");
    writer_text_member(writer, "python", "");
    writer_integer_member(writer, "import_ns", times.imported - times.spawned);
    writer_integer_member(writer, "load_ns", times.loaded - times.begun);
    writer_integer_member(writer, "first_answer_ns", times.answered - times.loaded);
    writer_integer_member(writer, "total_ns", times.answered - times.spawned);
    writer_integer_member(writer, "threads_started", memory_count_threads() - times.threads);
    writer_name(writer, "memory");
    writer_open(writer, '[');
    for (size_t index = 0; index < ledger.count; index++) {
        writer_open(writer, '{');
        writer_text_member(writer, "reply", "memory");
        writer_text_member(writer, "phase", ledger.phases[index]);
        write_reading(writer, &ledger.readings[index]);
        writer_close(writer, '}');
    }
    writer_close(writer, ']');
    write_mapped_files(writer, names.bytes, num_names);
    pages_release(&names);
    return worker_end_reply(worker);
}

int worker_read_memory(worker *worker) {
    memory_reading reading;
    read_phase(worker, &reading);
    worker_begin_reply(worker, "memory");
    writer_name(&worker->writer, "phase");
    writer_string(&worker->writer, worker->command.phase.bytes, worker->command.phase.size);
    write_reading(&worker->writer, &reading);
    return worker_end_reply(worker);
}
