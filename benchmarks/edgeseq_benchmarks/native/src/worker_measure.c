#define _POSIX_C_SOURCE 200809L
#include <sys/resource.h>
#include <time.h>

#include "failure.h"
#include "process_memory.h"
#include "recorder.h"
#include "worker.h"

// Progress within a limit is reported at most this often: reporting takes time too.
static const int64_t REPORT_INTERVAL_NS = 100000000;

// What the process went through during a slice.
typedef struct {
    int64_t wall_ns, cpu_ns, waiting_ns, minor_faults, major_faults;
} slice_costs;

static int64_t cpu_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
}

static int run_passes(worker *worker, recorder *queries, slice_costs *costs) {
    const command *slice = &worker->command;
    int64_t minor, major;
    memory_read_faults(&minor, &major);
    int64_t waiting = memory_read_waiting_ns(), cpu = cpu_ns(), begun = clock_ns();
    for (;;) {
        if (recorder_run(queries, slice, slice->texts, &worker->session.steps)) return -1;
        int64_t count = (int64_t)queries->count;
        costs->wall_ns = clock_ns() - begun;
        bool is_enough = count >= slice->min_queries && costs->wall_ns >= slice->min_duration_ns;
        if (is_enough || count + (int64_t)slice->texts.count > slice->max_queries) break;
    }
    costs->cpu_ns = cpu_ns() - cpu;
    int64_t waited = memory_read_waiting_ns();
    costs->waiting_ns = waiting < 0 || waited < 0 ? -1 : waited - waiting;
    memory_read_faults(&costs->minor_faults, &costs->major_faults);
    costs->minor_faults -= minor;
    costs->major_faults -= major;
    return 0;
}

// Nothing fails behind the beginning of a reply: a text that was run can be divided once more.
static void write_all_flags(worker *worker) {
    const command *slice = &worker->command;
    writer_name(&worker->writer, "flags");
    writer_open(&worker->writer, '[');
    for (size_t number = 0; number < slice->texts.count; number++) {
        query_input text = command_input(slice, slice->texts.first + number);
        tokenization_flags flags = {false, false, false};
        if (steps_tokenize(&worker->session.steps, &text) == 0)
            flags = steps_flags(&worker->session.steps);
        worker_write_flags(&worker->writer, flags);
    }
    writer_close(&worker->writer, ']');
}

static int send_slice(worker *worker, const recorder *warmup, const recorder *queries,
                      const slice_costs *costs) {
    json_writer *writer = &worker->writer;
    memory_reading reading;
    memory_read(&reading, false);
    worker_begin_reply(worker, "slice");
    writer_name(writer, "warmup");
    recorder_write_columns(warmup, writer);
    writer_name(writer, "queries");
    recorder_write_columns(queries, writer);
    writer_integer_member(writer, "wall_ns", costs->wall_ns);
    writer_integer_member(writer, "cpu_ns", costs->cpu_ns);
    writer_name(writer, "waiting_ns");
    if (costs->waiting_ns < 0)
        writer_null(writer);
    else
        writer_integer(writer, costs->waiting_ns);
    writer_integer_member(writer, "minor_faults", costs->minor_faults);
    writer_integer_member(writer, "major_faults", costs->major_faults);
    writer_integer_member(writer, "rss_bytes", reading.rss_bytes);
    write_all_flags(worker);
    writer_name(writer, "predictions");
    recorder_write_predictions(queries, writer);
    writer_name(writer, "inconsistent");
    recorder_write_inconsistent(queries, writer);
    return worker_end_reply(worker);
}

int worker_run_slice(worker *worker) {
    const command *slice = &worker->command;
    recorder warmup = {.count = 0}, queries = {.count = 0};
    slice_costs costs = {0};
    if (!slice->texts.count) return fail(FAILURE_DEVICE, "has no texts", "stdin", NULL);
    int failed = recorder_run(&warmup, slice, slice->warmup_texts, &worker->session.steps);
    if (!failed) failed = run_passes(worker, &queries, &costs);
    if (!failed) failed = send_slice(worker, &warmup, &queries, &costs);
    recorder_release(&warmup);
    recorder_release(&queries);
    return failed;
}

int worker_measure_overhead(worker *worker) {
    recorder record = {.count = 0};
    text_range nothing = {0, (size_t)worker->command.queries};
    if (recorder_run(&record, NULL, nothing, NULL)) {
        recorder_release(&record);
        return -1;
    }
    worker_begin_reply(worker, "overhead");
    writer_name(&worker->writer, "total_ns");
    recorder_write_column(&record, &worker->writer, offsetof(query_record, total_ns));
    recorder_release(&record);
    return worker_end_reply(worker);
}

// The numbers of all places that have at least the length, as `encode_exact` has ids.
static int read_exact(worker *worker, pages *numbers, size_t *count) {
    const command *length = &worker->command;
    const sequence_rows *rows = &worker->session.rows;
    size_t steps = (size_t)length->tokens, size = steps * rows->features;
    for (size_t number = 0; number < length->texts.count; number++) {
        query_input place = command_input(length, length->texts.first + number);
        size_t start, found;
        if (place.words)
            return fail(FAILURE_DEVICE, "is a list of words", "a place", "send a place");
        if (sequence_rows_place(rows, place.text, &start, &found)) return -1;
        if (found < steps || !sequence_rows_within(rows, start, steps)) continue;
        if (pages_reserve_array(numbers, (*count + 1) * size, sizeof(float))) return -1;
        float *copy = (float *)(void *)numbers->bytes + (*count)++ * size;
        __builtin_memcpy(copy, rows->numbers + start * rows->features, size * sizeof(float));
    }
    return 0;
}

// The ids of all texts that have exactly the length, one text after the other.
static int encode_exact(worker *worker, pages *ids, size_t *count) {
    const command *length = &worker->command;
    size_t tokens = (size_t)length->tokens;
    if (worker->session.steps.rows) return read_exact(worker, ids, count);
    *count = 0;
    for (size_t number = 0; number < length->texts.count; number++) {
        query_input text = command_input(length, length->texts.first + number);
        encoding found;
        if (text.words) return fail(FAILURE_DEVICE, "is a list of words", "a text", "send a text");
        if (tokenizer_encode_exact(worker->session.tokenizer, text.text, tokens, &found))
            return fail_status(FAILURE_DEVICE, "cannot be divided into tokens", "a text");
        if (found.count != tokens) continue;
        if (pages_reserve_array(ids, (*count + 1) * tokens, sizeof(int32_t))) return -1;
        int32_t *place = (int32_t *)(void *)ids->bytes + (*count)++ * tokens;
        __builtin_memcpy(place, found.ids, tokens * sizeof(int32_t));
    }
    return 0;
}

static int time_length(worker *worker, const int32_t *ids, size_t num_inputs, pages *times,
                       size_t *count) {
    const command *length = &worker->command;
    steps *steps = &worker->session.steps;
    size_t tokens = (size_t)length->tokens, size = tokens * steps_width(steps);
    if (steps_prepare_repeats(steps, ids, tokens)) return -1;
    if (steps_repeat(steps, ids, tokens)) return -1; // resizing belongs to no sample
    int64_t first = clock_ns();
    while ((int64_t)*count < length->max_samples) {
        if (pages_reserve_array(times, *count + 1, sizeof(int64_t))) return -1;
        int64_t begun = clock_ns();
        if (steps_repeat(steps, ids + *count % num_inputs * size, tokens)) return -1;
        int64_t ended = clock_ns();
        ((int64_t *)(void *)times->bytes)[(*count)++] = ended - begun;
        int64_t wall = ended - first;
        bool is_enough = (int64_t)*count >= length->min_samples;
        if (wall >= length->max_duration_ns || (is_enough && wall >= length->min_duration_ns))
            break;
    }
    return 0;
}

int worker_run_length(worker *worker) {
    pages ids = {NULL, 0}, times = {NULL, 0};
    size_t num_inputs = 0, count = 0;
    int failed = encode_exact(worker, &ids, &num_inputs);
    if (!failed && num_inputs)
        failed = time_length(worker, (const int32_t *)(const void *)ids.bytes, num_inputs, &times,
                             &count);
    if (!failed) {
        worker_begin_reply(worker, "length");
        writer_name(&worker->writer, "inference_ns");
        writer_base64_begin(&worker->writer);
        if (count) writer_base64_add(&worker->writer, times.bytes, count * sizeof(int64_t));
        writer_base64_end(&worker->writer);
        failed = worker_end_reply(worker);
    }
    pages_release(&ids);
    pages_release(&times);
    return failed;
}

static int send_progress(worker *worker, const pages *times, size_t count, bool is_done) {
    json_writer *writer = &worker->writer;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    worker_begin_reply(worker, "limited");
    writer_name(writer, "total_ns");
    writer_open(writer, '[');
    for (size_t index = 0; index < count; index++)
        writer_integer(writer, ((const int64_t *)(const void *)times->bytes)[index]);
    writer_close(writer, ']');
    writer_name(writer, "done");
    writer_boolean(writer, is_done);
    writer_integer_member(writer, "major_faults", used.ru_majflt);
    return worker_end_reply(worker);
}

static int run_texts(worker *worker, pages *times, size_t *count) {
    const command *limited = &worker->command;
    steps *steps = &worker->session.steps;
    int64_t first = clock_ns(), reported = first;
    for (size_t number = 0; number < limited->texts.count; number++) {
        query_input text = command_input(limited, limited->texts.first + number);
        classes found;
        int64_t begun = clock_ns();
        if (steps_tokenize(steps, &text) || steps_infer(steps) || steps_decode(steps, &found))
            return -1;
        int64_t ended = clock_ns();
        ((int64_t *)(void *)times->bytes)[(*count)++] = ended - begun;
        if (ended - first >= limited->max_duration_ns) break;
        if (ended - reported < REPORT_INTERVAL_NS) continue;
        if (send_progress(worker, times, *count, false)) return -1;
        *count = 0;
        reported = clock_ns();
    }
    return 0;
}

int worker_run_limited(worker *worker) {
    pages times = {NULL, 0};
    size_t count = 0;
    int failed =
        pages_reserve_array(&times, worker->command.texts.count, sizeof(int64_t)) ||
        run_texts(worker, &times, &count) || send_progress(worker, &times, count, true);
    pages_release(&times);
    return failed ? -1 : 0;
}
