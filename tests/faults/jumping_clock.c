/* The wall clock of a process, preloaded: a year ahead, a year behind, right, and so on, changing
 * every two seconds. Times of files and the monotonic clock are the kernel's, as when a board
 * without a battery sets its clock in the middle of a run.
 *
 * The kernel's own wall clock does not jump. A wait until a time of day, which a program computes
 * from this clock, is therefore given to it without the jump: it takes as long as was meant.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define YEAR_S (365 * 24 * 3600L)
#define PERIOD_S 2

typedef long (*syscall_function)(long, ...);
typedef int (*cond_wait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
typedef int (*semaphore_wait)(sem_t *, const struct timespec *);

static void *libc_function(const char *name) { return dlsym(RTLD_NEXT, name); }

static int kernel_time(clockid_t clock, struct timespec *now) {
  static syscall_function call;
  if (!call) call = (syscall_function)libc_function("syscall");
  return (int)call(SYS_clock_gettime, clock, now);
}

static long jump_s(void) {
  static const long jumps[] = {YEAR_S, -YEAR_S, 0};
  struct timespec now;
  kernel_time(CLOCK_MONOTONIC, &now);
  return jumps[now.tv_sec / PERIOD_S % 3];
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int status = kernel_time(clock, now);
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

/* A time of day without the jump that was in it when it was computed: no wait is half a year long.
 * A time of the monotonic clock is as it is. */
static struct timespec without_jump(const struct timespec *at) {
  struct timespec now, real = *at;
  kernel_time(CLOCK_REALTIME, &now);
  if (at->tv_sec < now.tv_sec / 4) return real;
  if (at->tv_sec - now.tv_sec > YEAR_S / 2) real.tv_sec -= YEAR_S;
  if (now.tv_sec - at->tv_sec > YEAR_S / 2) real.tv_sec += YEAR_S;
  return real;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict at) {
  static cond_wait wait;
  if (!wait) wait = (cond_wait)libc_function("pthread_cond_timedwait");
  struct timespec real = without_jump(at);
  return wait(condition, mutex, &real);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict at) {
  static semaphore_wait wait;
  if (!wait) wait = (semaphore_wait)libc_function("sem_timedwait");
  struct timespec real = without_jump(at);
  return wait(semaphore, &real);
}

/* Libraries wait through futexes of their own. */
long syscall(long number, ...) {
  static syscall_function call;
  if (!call) call = (syscall_function)libc_function("syscall");
  long values[6];
  va_list arguments;
  va_start(arguments, number);
  for (int index = 0; index < 6; index++) values[index] = va_arg(arguments, long);
  va_end(arguments);
  struct timespec real;
  if (number == SYS_futex && values[3] && (values[1] & FUTEX_CLOCK_REALTIME)) {
    real = without_jump((const struct timespec *)values[3]);
    values[3] = (long)&real;
  }
  return call(number, values[0], values[1], values[2], values[3], values[4], values[5]);
}
