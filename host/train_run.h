/* A training run from its first step, or from a checkpoint, to its last: evaluations, the best
 * adapter kept, early stopping, checkpoints, the log and the curve.
 *
 * The folder gets
 *   adapter_config.json, adapter_model.safetensors, labels.json   the best adapter so far, PEFT's
 *   training.jsonl           a line a step, a line an evaluation
 *   loss.svg                 the same as a picture
 *   checkpoint.safetensors   from which --resume goes on; gone when the run is done
 *   training.json            when it is done: settings and results */
#ifndef MIDASHI_HOST_TRAIN_RUN_H
#define MIDASHI_HOST_TRAIN_RUN_H

#include <jansson.h>
#include <limits.h>
#include "host/loss_fall.h"
#include "host/train_checkpoint.h"
#include "host/trainer.h"

struct train_run_settings {
    const char *folder;   /* there already */
    int evaluate_every;   /* steps; also at the last. Without validation texts there is none */
    int patience;         /* stop after so many evaluations without gain; 0: never */
    int checkpoint_every; /* steps; 0: none */
    bool resume;
    const json_t *record; /* what the run depends on, for checkpoint and training.json; borrowed */
};

/* Whoever shows how far it is. Calls come from the thread that runs. mean_loss: of training, over
 * the last steps, 20 at most, also those before an interruption; NAN: there was none. */
struct train_watcher {
    void *context;
    void (*stepped)(void *context, int64_t step, const struct trainer_report *report,
                    double mean_loss, double seconds);
    void (*evaluated)(void *context, int64_t step, const struct trainer_report *report,
                      double mean_loss, bool best);
    void (*resumed)(void *context, int64_t step); /* before all else: it goes on behind this step */
};

struct train_outcome {
    int64_t steps;                   /* done in all */
    int64_t resumed_from;            /* 0: from the start */
    int64_t best_step;               /* whose adapter was kept; without validation the last */
    double best_loss, best_accuracy; /* of the validation; NAN: there was none */
    double last_loss;                /* the mean over the last steps of training, 20 at most */
    bool stopped_early;
    struct loss_fall fall; /* at the end; not of a run that was done before */
    int64_t tokens;        /* of this process */
    double seconds;        /* likewise */
};

/* The trainer's adapter is the best one afterwards. STATUS_INTERRUPTED: a checkpoint of the last
 * whole step was written, where checkpoints are. STATUS_FAILED: what trainer_step says; the last
 * checkpoint and the best adapter so far stay. */
enum status train_run(struct trainer *trainer, const struct train_run_settings *settings,
                      const struct train_watcher *watcher, struct train_outcome *outcome,
                      struct err *err);

/* True where the folder holds the adapter of a finished run with this record; *outcome then has its
 * results. Anything odd is false, never an error. */
bool train_run_is_done(const char *folder, const json_t *record, struct train_outcome *outcome);

/* What an earlier run left in the folder, the strongest that is there. */
enum train_leftover {
    TRAIN_NOTHING,
    TRAIN_ADAPTER, /* of a run that did not come to its end, and left no checkpoint */
    TRAIN_FINISHED,
    TRAIN_CHECKPOINT, /* to go on from */
};
enum train_leftover train_run_leftover(const char *folder);

/* The record of the run that left what is in the folder, finished or not, as a new reference; NULL:
 * none that can be read. */
json_t *train_run_record(const char *folder);

/* A run of midashi's began there and did not come to its end. */
bool train_run_is_unfinished(const char *folder);

/* Whether the run of the checkpoint, or the finished one, that is in the folder (`left`, one of
 * these two) is the one with this record, which may lack members. STATUS_USAGE: it is another; says
 * what differs and what to do. STATUS_BAD_DATA: no whole checkpoint. */
enum status train_run_compare(const char *folder, enum train_leftover left, const json_t *record,
                              struct err *err);

/* The names that a run writes into its folder, NULL at the end, for output_folder_check. */
extern const char *const train_run_files[];

#endif
