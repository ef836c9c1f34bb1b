/* A process that times rows on request, so that two builds can take turns: `midashi bench --worker`
 * serves, `midashi bench compare --against` drives two of them.
 *
 * The worker prints a line "row TITLE" for each of its rows, then "ready". It answers
 *
 *     open I      "opened", or "wrong" where row I differs from its reference; closes the row
 * before run S       "ran RUNS SECONDS PROCESSOR_SECONDS INSTRUCTIONS": runs of the open row for
 * about S seconds of processor time; INSTRUCTIONS is 0 where the system does not count
 *
 * and ends with its input. A request that fails is answered by "failed TEXT". */
#ifndef MIDASHI_BENCH_WORKER_H
#define MIDASHI_BENCH_WORKER_H

#include <stdio.h>
#include "bench/run.h"

/* Serves until `in` ends. STATUS_USAGE: a request that is none. */
enum status worker_serve(const struct bench_row *rows, int n_rows, struct device *device, FILE *in,
                         FILE *out, struct err *err);

/* The other side. */
struct worker {
    const char *name; /* in messages: the program */
    int pid;
    FILE *requests, *answers;
};

/* Starts `program bench --worker ARGUMENTS`; arguments end with NULL, at most 16. processor: the
 * one that it may run on, counted from 0 among those that this process may, and round again; -1:
 * all of them. STATUS_RESOURCE: it does not start. */
enum status worker_start(struct worker *worker, const char *program, const char *const *arguments,
                         int processor, struct err *err);
/* The titles of its rows, in order, in the arena: to be read once, first. STATUS_FAILED: it is none
 * that serves. */
enum status worker_titles(struct worker *worker, char ***titles, int *n_titles, struct arena *arena,
                          struct err *err);

/* *right: false where the row differs from its reference. */
enum status worker_open(struct worker *worker, int row, bool *right, struct err *err);

struct worker_time {
    double runs, seconds, processor_seconds, instructions;
};
enum status worker_run(struct worker *worker, double seconds, struct worker_time *time,
                       struct err *err);

void worker_stop(struct worker *worker); /* a zeroed one is allowed */

#endif
