#define _GNU_SOURCE
#include "process_memory.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "proc_file.h"

// The value of a line `NAME:   123 kB` in bytes; unchanged when the line has another name.
static void take_field(const char *line, const char *name, int64_t *bytes) {
    size_t size = strlen(name);
    long long kilobytes = 0;
    if (strncmp(line, name, size) == 0 && line[size] == ':' &&
        sscanf(line + size + 1, "%lld kB", &kilobytes) == 1)
        *bytes = kilobytes * 1024;
}

void memory_read(memory_reading *reading, bool peak_is_of_phase) {
    int64_t status_rss = 0, status_anonymous = 0, peak = 0, rss = -1, anonymous = -1, pss = -1;
    proc_file file;
    char *line;
    if (proc_open(&file, "/proc/self/status")) {
        while ((line = proc_line(&file))) {
            take_field(line, "VmRSS", &status_rss);
            take_field(line, "RssAnon", &status_anonymous);
            take_field(line, "VmHWM", &peak);
        }
        proc_close(&file);
    }
    // The rollup walks the page tables; the counters in status lag behind since Linux 6.2.
    if (proc_open(&file, "/proc/self/smaps_rollup")) {
        while ((line = proc_line(&file))) {
            take_field(line, "Rss", &rss);
            take_field(line, "Anonymous", &anonymous);
            take_field(line, "Pss", &pss);
        }
        proc_close(&file);
    }
    bool has_rollup = rss >= 0 && anonymous >= 0;
    reading->rss_bytes = has_rollup ? rss : status_rss;
    reading->anonymous_bytes = has_rollup ? anonymous : status_anonymous;
    reading->file_bytes = reading->rss_bytes - reading->anonymous_bytes;
    reading->pss_bytes = pss;
    // The lagging counter must not say less than what was just counted.
    if (peak < reading->rss_bytes) peak = reading->rss_bytes;
    reading->peak_bytes = peak_is_of_phase ? peak : -1;
    memory_read_faults(&reading->minor_faults, &reading->major_faults);
}

bool memory_reset_peak(void) {
    int descriptor = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (descriptor < 0) return false;
    bool is_reset = write(descriptor, "5", 1) == 1;
    close(descriptor);
    return is_reset;
}

void memory_trim(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

// A line of /proc/self/maps: its addresses, whether it may be written to, and its path.
typedef struct {
    unsigned long begin, end;
    bool is_writable, is_code;
    const char *path;
} mapping;

static bool parse_mapping(char *line, mapping *found) {
    char rights[8] = "";
    int path = 0;
    if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %n", &found->begin, &found->end, rights, &path) < 3 ||
        !path)
        return false;
    found->is_writable = strchr(rights, 'w') != NULL;
    found->is_code = strchr(rights, 'x') != NULL;
    found->path = line + path;
    return true;
}

static void release_pages(const char *path, bool code_only) {
    char resolved[PATH_MAX];
    proc_file file;
    char *line;
    if (!realpath(path, resolved) || !proc_open(&file, "/proc/self/maps")) return;
    while ((line = proc_line(&file))) {
        mapping found;
        // A private page that was written would be lost; only read-only mappings are released.
        if (!parse_mapping(line, &found) || strcmp(found.path, resolved) != 0 || found.is_writable ||
            (code_only && !found.is_code))
            continue;
        // Advice: where the kernel does not follow it, the pages stay.
        (void)madvise((void *)found.begin, found.end - found.begin, MADV_DONTNEED);
    }
    proc_close(&file);
}

void memory_release_mapping(const char *path) { release_pages(path, false); }

void memory_release_code(const char *path) { release_pages(path, true); }

void memory_read_faults(int64_t *minor, int64_t *major) {
    proc_file file;
    long long first = 0, second = 0;
    *minor = *major = 0;
    if (!proc_open(&file, "/proc/self/stat")) return;
    const char *line = proc_line(&file);
    // proc(5): fields 10 and 12, after the command's name, which may itself hold spaces.
    const char *after = line ? strrchr(line, ')') : NULL;
    if (after && sscanf(after + 1, " %*s %*s %*s %*s %*s %*s %*s %lld %*s %lld", &first,
                        &second) == 2) {
        *minor = first;
        *major = second;
    }
    proc_close(&file);
}

int64_t memory_read_waiting_ns(void) {
    DIR *tasks = opendir("/proc/self/task");
    int64_t waiting_ns = 0;
    if (!tasks) return -1;
    struct dirent *task;
    while (waiting_ns >= 0 && (task = readdir(tasks))) {
        if (task->d_name[0] == '.') continue;
        char path[PATH_MAX];
        proc_file file;
        snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", task->d_name);
        long long value = -1;
        if (proc_open(&file, path)) {
            const char *line = proc_line(&file);
            if (!line || sscanf(line, "%*s %lld", &value) != 1) value = -1;
            proc_close(&file);
        }
        waiting_ns = value < 0 ? -1 : waiting_ns + value;
    }
    closedir(tasks);
    return waiting_ns;
}

int memory_count_threads(void) {
    DIR *tasks = opendir("/proc/self/task");
    int count = 0;
    struct dirent *task;
    while (tasks && (task = readdir(tasks))) count += task->d_name[0] != '.';
    if (tasks) closedir(tasks);
    return count;
}

// Puts a name into its place among `count` sorted ones, unless it is there.
static int insert_name(pages *names, size_t *used, size_t *count, const char *name) {
    size_t size = strlen(name) + 1, at = 0;
    while (at < *used) {
        int order = strcmp(names->bytes + at, name);
        if (order == 0) return 0;
        if (order > 0) break;
        at += strlen(names->bytes + at) + 1;
    }
    if (pages_reserve_array(names, *used + size, 1)) return -1;
    memmove(names->bytes + at + size, names->bytes + at, *used - at);
    memcpy(names->bytes + at, name, size);
    *used += size;
    (*count)++;
    return 0;
}

int memory_mapped_files(pages *names, size_t *count) {
    proc_file file;
    char *line;
    size_t used = 0;
    int failed = 0;
    *count = 0;
    if (!proc_open(&file, "/proc/self/maps")) return 0;
    while (!failed && (line = proc_line(&file))) {
        mapping found;
        if (parse_mapping(line, &found) && found.path[0] == '/' &&
            !strstr(found.path, "(deleted)"))
            failed = insert_name(names, &used, count, found.path);
    }
    proc_close(&file);
    return failed;
}
