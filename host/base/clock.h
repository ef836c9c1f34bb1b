/* Time. */
#ifndef MIDASHI_BASE_CLOCK_H
#define MIDASHI_BASE_CLOCK_H

#include <time.h>

static inline double clock_seconds_(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Monotonic, from an arbitrary start. */
static inline double seconds_now(void)
{
    return clock_seconds_(CLOCK_MONOTONIC);
}

/* What all threads of this process have computed for. */
static inline double processor_seconds(void)
{
    return clock_seconds_(CLOCK_PROCESS_CPUTIME_ID);
}

#endif
