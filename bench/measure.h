/* Times a trial on the CPU beside its bound. */
#ifndef MIDASHI_BENCH_MEASURE_H
#define MIDASHI_BENCH_MEASURE_H

#include "bench/trial.h"

/* Which of the machine's limits an operation meets first. */
enum bound {
    BOUND_ARITHMETIC, /* fused multiply-adds */
    BOUND_MEMORY,     /* reading and writing what it must, from where the caches hold it */
};

struct measurement {
    int n_runs;                  /* samples */
    double seconds, interval[2]; /* the median of the runs, and its 95 % interval */
    double best;                 /* the shortest run */
    double processor_seconds;    /* the median, of all threads together */
    enum bound bound;
    double bound_seconds;  /* what the bound alone takes, the shortest of its slices */
    double share_of_bound; /* bound_seconds / best: what else runs on the machine only adds to both
                            */
};

/* A sample has at least and at most this many. */
#define RUNS_LEAST 9
#define RUNS_MOST  1000

/* n_runs, seconds, interval and best of n runs, which it sorts. scratch: room for n. */
void measurement_set_runs(struct measurement *measurement, double *runs, int n, double *scratch);
/* The bound, and best's share of it. After measurement_set_runs. */
void measurement_set_bound(struct measurement *measurement, enum bound bound, double seconds);

/* Takes samples for about `seconds`, RUNS_LEAST to RUNS_MOST, of one run each, or of so many
 * that they last 0.1 ms. STATUS_RESOURCE: no memory. */
enum status measure_trial(struct measurement *measurement, struct trial *trial, double seconds,
                          struct err *err);

#endif
