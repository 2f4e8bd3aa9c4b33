// edgeseq-runner: a bundle's model in a process without Python.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch.h"
#include "page_cache.h"
#include "predict.h"
#include "worker.h"

static const char HELP[] =
    "edgeseq-runner: run a bundle's model and tokenizer natively, with LiteRT's C library.\n"
    "\n"
    "  edgeseq-runner predict BUNDLE [--library PATH] [--threads N] [--json] [TEXT…]\n"
    "      Predict labels, tags or the next words; without a text, of each line of stdin.\n"
    "  edgeseq-runner worker PARENT_PID --library PATH\n"
    "      Serve the commands of `edgeseq bench`, one JSON object per line (0: no parent).\n"
    "  edgeseq-runner launch COMMAND [ARGUMENT…]\n"
    "      Start a worker whose parent is on another machine; it ends with the connection.\n"
    "  edgeseq-runner evict FILE…\n"
    "      Drop files from the page cache and print what is left, as JSON.\n"
    "\n"
    "PATH is that of libLiteRt.so out of the package ai-edge-litert; `predict` also finds it\n"
    "beside this program, in EDGESEQ_LITERT_LIBRARY, or where the system has its libraries.\n"
    "TEXT that begins with a hyphen goes behind `--`.\n";

static int refuse(const char *what, const char *found) {
    fprintf(stderr, "edgeseq-runner: %s%s%s; see edgeseq-runner --help\n", what,
            found ? ": " : "", found ? found : "");
    return 2;
}

// libLiteRt.so beside this program, where it is.
static const char *default_library(void) {
    static char path[4096];
    static const char NAME[] = "libLiteRt.so";
    const char *named = getenv("EDGESEQ_LITERT_LIBRARY");
    if (named && *named) return named;
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - sizeof NAME);
    while (size > 0 && path[size - 1] != '/') size--;
    if (size > 0) {
        memcpy(path + size, NAME, sizeof NAME);
        if (access(path, R_OK) == 0) return path;
    }
    return NAME;
}

static int parse_count(const char *text, int largest) {
    char *end;
    long value = strtol(text, &end, 10);
    return *text && !*end && value >= 0 && value <= largest ? (int)value : -1;
}

static int predict_command(int count, char **arguments) {
    predict_options options = {.threads = 1, .texts = arguments};
    bool has_options = true;
    for (int index = 0; index < count; index++) {
        char *argument = arguments[index];
        const char *value = index + 1 < count ? arguments[index + 1] : NULL;
        if (has_options && strcmp(argument, "--") == 0) {
            has_options = false;
        } else if (has_options && strcmp(argument, "--json") == 0) {
            options.json = true;
        } else if (has_options && value && strcmp(argument, "--library") == 0) {
            options.library = value;
            index++;
        } else if (has_options && value && strcmp(argument, "--threads") == 0) {
            options.threads = parse_count(value, 1024);
            if (options.threads < 1) return refuse("--threads is no number of 1 to 1024", value);
            index++;
        } else if (has_options && argument[0] == '-' && argument[1]) {
            return refuse("unknown option, or one without its value", argument);
        } else if (!options.bundle) {
            options.bundle = argument;
        } else {
            options.texts[options.num_texts++] = argument; // behind the present one never
        }
    }
    if (!options.bundle) return refuse("predict needs a BUNDLE", NULL);
    if (!options.library) options.library = default_library();
    return predict_main(&options);
}

static const char *library_option(int count, char **arguments) {
    return count == 2 && strcmp(arguments[0], "--library") == 0 ? arguments[1] : NULL;
}

static int worker_command(int count, char **arguments) {
    int parent = count ? parse_count(arguments[0], 1 << 30) : -1;
    if (parent < 0) return refuse("worker needs the PID of its parent, or 0", NULL);
    const char *library = library_option(count - 1, arguments + 1);
    if (!library) return refuse("worker needs --library PATH", NULL);
    return worker_main(parent, library);
}

int main(int count, char **arguments) {
    const char *name = count > 1 ? arguments[1] : "--help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        fputs(HELP, stdout);
        return count > 1 ? 0 : 2;
    }
    if (strcmp(name, "worker") == 0) return worker_command(count - 2, arguments + 2);
    if (strcmp(name, "predict") == 0) return predict_command(count - 2, arguments + 2);
    if (strcmp(name, "evict") == 0) {
        if (count < 3) return refuse("evict needs a FILE", NULL);
        return page_cache_main(count - 2, arguments + 2);
    }
    if (strcmp(name, "launch") == 0)
        return count > 2 ? launch_main(arguments + 2) : refuse("launch needs a COMMAND", NULL);
    return refuse("no such command", name);
}
