#define _GNU_SOURCE
#include "launch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "failure.h"
#include "recorder.h"

int launch_main(const char *library) {
    char spawned[32], parent[16];
    snprintf(parent, sizeof parent, "%d", (int)getpid());
    snprintf(spawned, sizeof spawned, "%lld", (long long)clock_ns());
    setenv("EDGESEQ_SPAWNED_NS", spawned, 1);
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "edgeseq-runner", "worker", parent, "--library", library,
              (char *)NULL);
        _exit(127);
    }
    int status = 0;
    pid_t waited;
    do {
        waited = child < 0 ? -1 : waitpid(child, &status, 0);
    } while (waited < 0 && child > 0 && errno == EINTR);
    if (waited < 0) {
        fail(FAILURE_DEVICE, "cannot start the worker", "this machine", NULL);
        fail_found("%s", strerror(errno));
        failure_print(stderr);
        return 1;
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
