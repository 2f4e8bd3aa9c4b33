// `edgeseq-runner launch COMMAND…`: starts a worker whose parent is on another machine.
#ifndef EDGESEQ_LAUNCH_H
#define EDGESEQ_LAUNCH_H

// Notes the time, starts the command with the same stdin and stdout, and waits for its end.
//
// The time goes with it in EDGESEQ_SPAWNED_NS, so that a cold start is measured by one clock. The
// command is killed when its output is closed or, after a grace time, its input: when the connection
// to the other machine ends. A worker deep in page faults would not notice. It dies with this
// process, too. Returns the command's exit status, or 128 and the signal's number.
int launch_main(char **command);

#endif
