// The memory of this process as the kernel reports it, as bench/probes/process_memory.py reads it.
#ifndef EDGESEQ_PROCESS_MEMORY_H
#define EDGESEQ_PROCESS_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "pages.h"

typedef struct {
    int64_t rss_bytes, anonymous_bytes, file_bytes;
    int64_t pss_bytes, peak_bytes; // -1 where the kernel does not say
    int64_t minor_faults, major_faults;
} memory_reading;

// `peak_is_of_phase`: the peak was reset when the phase began; without that it is not reported.
void memory_read(memory_reading *reading, bool peak_is_of_phase);

// Begins a new phase for the peak; false where the kernel does not allow it.
bool memory_reset_peak(void);

// Returns freed memory of the C library's heap to the system.
void memory_trim(void);

// Releases the pages of a mapped file from this process; the path is resolved as the kernel shows it.
void memory_release_mapping(const char *path);

// Releases the pages of a library's code from this process: what runs again is mapped again. Its other
// read-only pages stay, as the loader has written addresses into some of them.
void memory_release_code(const char *path);

void memory_read_faults(int64_t *minor, int64_t *major);

// Time in which threads of this process were ready to run but had no processor, -1 where unknown.
int64_t memory_read_waiting_ns(void);

int memory_count_threads(void);

// The files that this process has mapped, sorted, each once and ended by NUL, in `names`.
int memory_mapped_files(pages *names, size_t *count);

#endif
