// A line from a hostile parent: read as a command, walked through, and served without a model.
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "recorder.h"
#include "worker.h"

static size_t walk(const command *read) {
    size_t total = 0;
    for (size_t number = 0; number < read->num_query_texts; number++) {
        query_input input = command_input(read, number);
        for (size_t word = 0; word < input.num_words; word++)
            for (size_t at = 0; at < input.words[word].size; at++)
                total += (unsigned char)input.words[word].bytes[at];
        for (size_t at = 0; at < input.text.size; at++)
            total += (unsigned char)input.text.bytes[at];
    }
    const size_t *ends = (const size_t *)(const void *)read->token_ids.ends.bytes;
    for (size_t number = 0; number < read->token_ids.count; number++) total += ends[number];
    return total;
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t size) {
    static worker own;
    static command read;
    static char copy[1 << 20];
    static int is_ready;
    if (size > sizeof copy) return 0;
    if (!is_ready) {
        writer_begin(&own.writer, open("/dev/null", O_WRONLY));
        own.library = "/nowhere/libLiteRt.so";
        own.spawned_ns = -1;
        is_ready = 1;
    }
    memcpy(copy, bytes, size);
    if (command_read(&read, copy, size) == 0) {
        static size_t total; // so that nothing is left out
        total += walk(&read);
        if (total == SIZE_MAX) return -1;
        // Measuring the loop around nothing takes as long as it is told to.
        if (read.kind == COMMAND_MEASURE_OVERHEAD && read.queries > 1000) return 0;
    }
    memcpy(copy, bytes, size);
    worker_serve(&own, copy, size);
    return 0;
}
