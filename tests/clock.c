/* Preloaded by tests/clock.py: the time of day is so many seconds off as a file says, which may change at any moment.
   What waits for a time of day goes on waiting as long as it meant to; other clocks are as they are. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *file_says;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCK_OFF_BY");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *shared = mmap(NULL, sizeof *file_says, PROT_READ, MAP_SHARED, file, 0);
    if (shared != MAP_FAILED)
        file_says = shared;
    close(file);
}

static int64_t off(void) { return file_says ? *file_says : 0; }

/* Seconds since the machine was started are never as many as those since 1970. */
static int is_time_of_day(const struct timespec *at) { return at->tv_sec > 1000000000; }

static struct timespec in_truth(const struct timespec *at) {
    struct timespec moved = *at;
    moved.tv_sec -= off();
    return moved;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += off();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now)
        *now = precise.tv_sec;
    return precise.tv_sec;
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
    struct timespec moved = in_truth(until);
    return sem_clockwait(semaphore, CLOCK_REALTIME, &moved);
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    if (!is_time_of_day(until))
        return pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, until);
    struct timespec moved = in_truth(until);
    return pthread_cond_clockwait(condition, mutex, CLOCK_REALTIME, &moved);
}
