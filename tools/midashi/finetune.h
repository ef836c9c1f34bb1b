/* What `train` and `topics --finetune` share: from a corpus and the options to an adapter in a
 * folder. */
#ifndef MIDASHI_TOOLS_FINETUNE_H
#define MIDASHI_TOOLS_FINETUNE_H

#include "host/output_folder.h"
#include "host/train_run.h"
#include "tools/midashi/options.h"
#include "tools/midashi/progress.h"

struct finetune {
    const struct options *options;
    struct meter *meter;
    struct device *device;
    bool reuse;   /* an adapter in the folder that the same run made is good enough */
    int n_topics; /* so many texts at least must not be held out */

    bool reused;
    struct train_plan plan;
    struct train_outcome outcome;
    enum objective_kind objective;
    int n_training, n_validation;
    /* (rows of the corpus) true: the row was held out for validation. NULL with
     * --validation-file. */
    bool *held_out;
    size_t n_rows;

    /* Of the run. */
    struct output_folder folder;
    struct embedder embedder;
    struct train_data data;
    struct lora_adapter adapter;
    struct trainer trainer;
    json_t *record;
    double accuracy_mean, seconds_mean, tokens_mean; /* running, for whoever watches */
};

/* Makes the folder of the adapter, which is this run's alone from now on. STATUS_USAGE: another run
 * is writing there; or, without --force, it holds what midashi did not write, or what a run left
 * that this one neither goes on with nor may use again. */
enum status finetune_take_folder(struct finetune *finetune, const char *folder, struct err *err);

/* Trains on `corpus` and leaves the adapter in `folder`, which was taken. validation: another
 * corpus, with texts to validate on, or NULL: --validation's share is held out. With --plan it only
 * prints what memory it would take. Errors of everything on the way; STATUS_USAGE: what the options
 * and the corpus do not fit. What remains is released by finetune_free. */
enum status finetune_run(struct finetune *finetune, const struct corpus *corpus,
                         const struct corpus *validation, const char *folder, struct err *err);
/* What came out, as `train --json` prints it; NULL: no memory. */
json_t *finetune_json(const struct finetune *finetune);
void finetune_free(struct finetune *finetune); /* a zeroed one is allowed */

/* ---- for finetune*.c alone ------------------------------------------------------------------ */

/* Plans the memory of the texts that were read, within --memory, and prints it. STATUS_USAGE: a
 * --memory that is no size. Errors of train_plan_make. */
enum status finetune_plan(struct finetune *finetune, const struct trainer_settings *settings,
                          enum precision precision, struct err *err);

#endif
