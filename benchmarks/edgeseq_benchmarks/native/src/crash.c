#define _GNU_SOURCE
#include "crash.h"

#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char model_path[PATH_MAX];
static bool exits_then;

static void say(const char *text) {
    // Only functions that are safe in a signal handler; nothing can be done where writing fails.
    if (write(STDERR_FILENO, text, strlen(text)) < 0) return;
}

static const char *signal_name(int number) {
    switch (number) {
        case SIGSEGV: return "SIGSEGV";
        case SIGBUS: return "SIGBUS";
        case SIGFPE: return "SIGFPE";
        case SIGILL: return "SIGILL";
        default: return "SIGABRT";
    }
}

static void report(int number) {
    say("edgeseq-runner: ");
    say(model_path);
    say(": the runtime crashed; found ");
    say(signal_name(number));
    say("; copy or convert the bundle again\n");
    if (exits_then) _exit(1);
    // The handler was reset when it was called: the signal now does what it does by default.
    raise(number);
}

void crash_report(const char *path, bool exits) {
    static const int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    static char stack[16384]; // of its own: the fault may be a full stack
    snprintf(model_path, sizeof model_path, "%s", path);
    exits_then = exits;
#ifndef EDGESEQ_SANITIZED // a sanitizer's own report says more
    stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = report,
                               .sa_flags = (int)(SA_ONSTACK | SA_RESETHAND | SA_NODEFER)};
    if (sigaltstack(&own, NULL)) return;
    for (size_t index = 0; index < sizeof SIGNALS / sizeof *SIGNALS; index++)
        sigaction(SIGNALS[index], &action, NULL);
#else
    (void)stack, (void)SIGNALS, (void)report;
#endif
}
