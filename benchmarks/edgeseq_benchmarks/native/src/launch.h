// `edgeseq-runner launch --library PATH`: starts a worker whose parent is on another machine.
#ifndef EDGESEQ_LAUNCH_H
#define EDGESEQ_LAUNCH_H

// Notes the time, starts this program again as a worker with the same stdin and stdout, and waits.
// The time goes with it in EDGESEQ_SPAWNED_NS, so that a cold start is measured by one clock.
// Returns the worker's exit status, or 128 and the signal's number.
int launch_main(const char *library);

#endif
