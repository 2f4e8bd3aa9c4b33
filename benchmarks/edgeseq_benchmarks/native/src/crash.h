// A line for a crash inside of LiteRT: a file that its own checks let through may still break it.
#ifndef EDGESEQ_CRASH_H
#define EDGESEQ_CRASH_H

#include <stdbool.h>

// Says from now on, when the process is ended by a fault, that the runtime crashed with the model
// at `path`. With `exits` the process then exits with 1; without, the signal ends it as it would
// have, for a parent that looks at signals.
void crash_report(const char *path, bool exits);

#endif
