#define _GNU_SOURCE
#include "launch.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "failure.h"
#include "recorder.h"

// A worker that is asked to end sees the end of its input, and ends within this.
enum { GRACE_S = 2, SIGNAL_STATUS = 128 };

static void note_signal(int number) { (void)number; }

static pid_t start_command(char **command, const sigset_t *usual) {
    char spawned[32];
    snprintf(spawned, sizeof spawned, "%lld", (long long)clock_ns());
    setenv("EDGESEQ_SPAWNED_NS", spawned, 1);
    pid_t parent = getpid(), child = fork();
    if (child) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(0); // it died before the kernel was told
    sigprocmask(SIG_SETMASK, usual, NULL);
    execvp(command[0], command);
    fprintf(stderr, "edgeseq-runner: %s: %s\n", command[0], strerror(errno));
    _exit(127);
}

// Waits for the child's end, or for that of the connection. SIGCHLD is blocked but for ppoll.
static int watch_child(pid_t child, const sigset_t *usual) {
    struct pollfd ends[] = {{STDIN_FILENO, POLLRDHUP, 0}, {STDOUT_FILENO, 0, 0}};
    const struct timespec grace = {.tv_sec = GRACE_S};
    bool is_ending = false;
    int status;
    while (waitpid(child, &status, WNOHANG) == 0) {
        int ready = ppoll(ends, 2, is_ending ? &grace : NULL, usual);
        if (ready < 0 && errno != EINTR) return -1;
        if (ready == 0 || (ready > 0 && ends[1].revents)) {
            kill(child, SIGKILL);
            return waitpid(child, &status, 0) < 0 ? -1 : status;
        }
        if (ready > 0 && ends[0].revents) {
            is_ending = true;
            ends[0].fd = -1;
        }
    }
    return status;
}

int launch_main(char **command) {
    const struct sigaction action = {.sa_handler = note_signal};
    sigset_t blocked, usual;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    sigaction(SIGCHLD, &action, NULL);
    sigprocmask(SIG_BLOCK, &blocked, &usual);
    pid_t child = start_command(command, &usual);
    int status = child < 0 ? -1 : watch_child(child, &usual);
    if (status < 0) {
        fail(FAILURE_DEVICE, "cannot start the worker", "this machine", NULL);
        fail_found("%s", strerror(errno));
        failure_print(stderr);
        return 1;
    }
    return WIFSIGNALED(status) ? SIGNAL_STATUS + WTERMSIG(status) : WEXITSTATUS(status);
}
