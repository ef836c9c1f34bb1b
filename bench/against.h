/* Two builds against each other, in turns: the comparison to trust on a noisy machine. */
#ifndef MIDASHI_BENCH_AGAINST_H
#define MIDASHI_BENCH_AGAINST_H

#include <stdbool.h>
#include "host/base/memory.h"
#include "host/base/progress.h"
#include "host/base/status.h"

struct against_settings {
    const char *program, *other;  /* B, which is judged, and A */
    const char *const *arguments; /* of both, to choose the rows; NULL at the end */
    bool one_processor; /* both on the same one, another in each pass: for rows of one thread,
                           where processors are not equally busy */
    double tolerance;   /* by which share B may be slower */
    double slice;       /* seconds of a turn */
};

/* One row: processor time of B over that of A. */
struct against_row {
    const char *title;
    double ratio, interval[2]; /* the median over the turns, and its 95 % interval */
    double instructions;       /* the ratio of instructions; 0 where they are not counted */
    double seconds;            /* A's, of a run, the median */
    int n_turns;
    bool slower;           /* ratio > 1 + tolerance */
    bool uncertain;        /* the interval holds 1 + tolerance */
    bool wrong_a, wrong_b; /* differs from its reference, and was not timed */
};

/* Runs the rows that both have, in the order of B's. Each turn runs A and B one behind the other,
 * the first of them changing; both are started anew four times, since where a process finds itself
 * in memory stays with it. More turns follow, up to 72, while a row is uncertain, and before one is
 * called slower. Results live in the arena. STATUS_FAILED: a program does not serve; STATUS_USAGE:
 * they share no row. */
enum status against_run(struct against_row **rows, int *n_rows,
                        const struct against_settings *settings, const struct progress *progress,
                        struct arena *arena, struct err *err);

#endif
