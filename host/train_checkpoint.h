/* The state of a training run in one file, from which it goes on to the same bytes.
 *
 * A safetensors file: the adapter's parameters, both of AdamW's moments, the best parameters so
 * far (F32, each one flat array), and `state` (U8), a JSON object with the counters, a hash of the
 * rest, and `run`: what the run depends on. Randomness needs no state: it is a function of the seed
 * and the step. Written aside and renamed, so a kill leaves the old file or the new one. */
#ifndef MIDASHI_HOST_TRAIN_CHECKPOINT_H
#define MIDASHI_HOST_TRAIN_CHECKPOINT_H

#include <jansson.h>
#include <stdint.h>
#include "host/base/status.h"

struct train_counters {
    int64_t step;         /* done */
    double best_loss;     /* of the validation; INFINITY: none yet */
    double best_accuracy; /* NAN: none */
    int64_t best_step;    /* 0: none yet */
    int64_t evaluations_without_gain;
    int64_t log_bytes; /* of the log, at this step */
};

struct train_arrays {
    float *parameters, *m, *v, *best; /* (n) each */
    int64_t n;
};

/* run: borrowed. */
enum status train_checkpoint_write(const char *path, const json_t *run,
                                   const struct train_counters *counters,
                                   const struct train_arrays *arrays, struct err *err);

/* Fills counters and arrays (n numbers each). STATUS_MISSING: no file. STATUS_BAD_DATA: damaged,
 * cut short, or not a checkpoint. STATUS_USAGE: its run is another; says what differs. */
enum status train_checkpoint_read(const char *path, const json_t *run,
                                  struct train_counters *counters, struct train_arrays *arrays,
                                  struct err *err);

/* The record of its run, as a new reference; NULL: none that can be read. */
json_t *train_checkpoint_record(const char *path);

/* Whether it is of this run, from its header and `state` alone; `run` may lack members. Errors as
 * train_checkpoint_read, as far as those two tell. */
enum status train_checkpoint_check(const char *path, const json_t *run, struct err *err);

#endif
