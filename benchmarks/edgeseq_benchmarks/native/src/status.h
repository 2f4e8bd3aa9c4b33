/* What went wrong, in one line: functions return 0 or STATUS_FAILED and leave the line here. */
#ifndef EDGESEQ_STATUS_H
#define EDGESEQ_STATUS_H

enum { STATUS_OK = 0, STATUS_FAILED = -1 };

/* Stores the line (cut at 511 bytes) and returns STATUS_FAILED. */
int status_fail(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

/* The line of the last failure in this thread; never NULL. */
const char *status_message(void);

#endif
