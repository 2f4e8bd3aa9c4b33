/* The wall clock of a process, preloaded: a year ahead, a year behind, right, and so on, changing
 * every two seconds. Times of files and the monotonic clock are the kernel's, as when a board
 * without a battery sets its clock in the middle of a run.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define YEAR_S (365 * 24 * 3600L)
#define PERIOD_S 2

static long jump_s(void) {
  static const long jumps[] = {YEAR_S, -YEAR_S, 0};
  struct timespec now;
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
  return jumps[now.tv_sec / PERIOD_S % 3];
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int status = (int)syscall(SYS_clock_gettime, clock, now);
  if (status == 0 && clock == CLOCK_REALTIME) now->tv_sec += jump_s();
  return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec exact;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &exact) != 0) return -1;
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *now) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (now != 0) *now = exact.tv_sec;
  return exact.tv_sec;
}
