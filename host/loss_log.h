/* The log of a training run, training.jsonl, and its picture, loss.svg. */
#ifndef MIDASHI_HOST_LOSS_LOG_H
#define MIDASHI_HOST_LOSS_LOG_H

#include <stdint.h>
#include <stdio.h>
#include "host/base/memory.h"
#include "host/base/status.h"

struct loss_point {
    int64_t step;
    double loss, accuracy; /* accuracy NAN: none */
};

struct loss_log {
    FILE *stream;
    char *path;    /* in the arena */
    int64_t bytes; /* whole lines so far */
    struct loss_point *steps, *evaluations;
    int n_steps, n_evaluations, steps_capacity, evaluations_capacity;
    struct arena arena;
};

/* Begins the file anew, or with keep_bytes > 0 goes on behind its first keep_bytes, whose lines are
 * read again. STATUS_BAD_DATA: the file is shorter or no such log. STATUS_RESOURCE. */
enum status loss_log_open(struct loss_log *log, const char *path, int64_t keep_bytes,
                          struct err *err);
/* A line each, handed to the system at once. NAN is left out. */
enum status loss_log_step(struct loss_log *log, int64_t step, double loss, double accuracy,
                          double norm, double learning_rate, int64_t tokens, double seconds,
                          struct err *err);
enum status loss_log_evaluation(struct loss_log *log, int64_t step, double loss, double accuracy,
                                struct err *err);
/* The curve of training, faint and as a running mean, and the points of validation; of accuracy
 * too, where there is one. */
enum status loss_log_draw(const struct loss_log *log, const char *path, struct err *err);
void loss_log_close(struct loss_log *log); /* a zeroed one is allowed */

#endif
