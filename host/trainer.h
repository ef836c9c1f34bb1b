/* Fine-tuning an adapter: one step after another. Files, logs and decisions between the steps are
 * host/train_run's.
 *
 * A step draws accumulate * batch texts; each batch is a unit (a micro-batch), whose part of every
 * gradient is summed by itself, and as many units as fit go through the model in one pass. So a
 * step's bytes depend on batch and accumulate, and not on memory, threads or passes. */
#ifndef MIDASHI_HOST_TRAINER_H
#define MIDASHI_HOST_TRAINER_H

#include "host/embedder.h"
#include "host/train_batch.h"
#include "host/train_plan.h"
#include "host/trainer_cuda.h"

enum schedule {
    SCHEDULE_LINEAR, /* to 0 at the end */
    SCHEDULE_COSINE, /* likewise */
    SCHEDULE_CONSTANT,
};
bool schedule_parse(enum schedule *schedule, const char *word);
const char *schedule_name(enum schedule schedule);

struct trainer_settings {
    enum objective_kind objective;
    float temperature; /* contrastive */
    int near;          /* contrastive: rows of one group so near are positives; 0: no groups */
    int steps, batch, accumulate;
    double learning_rate, weight_decay;
    double clip; /* of the norm of all gradients; 0: no clipping */
    enum schedule schedule;
    int warm_up; /* steps in which the rate rises from 0 */
    double dropout;
    uint64_t seed;
};

/* The rate of a step, from 0, as transformers' get_scheduler has it. */
double trainer_learning_rate(const struct trainer_settings *settings, int64_t step);

struct trainer_report {
    int64_t step;    /* from 1; 0: none, and of the validation */
    double loss;     /* mean over the step's losses, or over all of the validation's */
    double accuracy; /* classify; else NAN */
    double norm;     /* of the gradients, before clipping; a step's */
    double learning_rate;
    int64_t tokens;
};

/* Steps that may be under way, each with a record on the GPU. */
#define TRAINER_PENDING TRAINER_CUDA_RECORDS

struct trainer {
    struct trainer_settings settings;
    struct train_plan plan;
    struct objective_settings shape; /* of a pass */
    struct device *device;
    struct lora_adapter *adapter;
    struct train_data *data;
    /* (adapter->n_parameters); beside a GPU, as adapter->parameters, what trainer_fetch brought. */
    float *m, *v;
    int64_t step;     /* steps done, or on a GPU under way */
    int64_t reported; /* of which trainer_report has told */
    struct {
        struct trainer_report report;
        int64_t count;          /* of losses */
    } pending[TRAINER_PENDING]; /* of step i at (i - 1) % TRAINER_PENDING */
    int *drawn; /* the texts of a step or of a part of the validation: places in data->texts */

    struct trainer_cuda *cuda; /* a GPU's, owned, in place of all that follows; NULL: the CPU */
    struct llama_train train;
    struct objective objective;
    struct train_numbers numbers; /* of a pass */
    float *gradients;             /* (adapter->n_parameters) */
    float *dhidden;               /* (pass_tokens, D) */
    struct arena arena;
};

/* embedder: loaded, with batch_tokens of at least plan->pass_tokens. All arguments must outlive the
 * trainer. STATUS_RESOURCE: no memory. */
enum status trainer_open(struct trainer *trainer, struct device *device, struct embedder *embedder,
                         struct lora_adapter *adapter, struct train_data *data,
                         const struct train_plan *plan, const struct trainer_settings *settings,
                         struct err *err);
void trainer_close(struct trainer *trainer); /* a zeroed one is allowed */

/* One step; on a GPU it is queued. STATUS_FAILED as trainer_report. STATUS_INTERRUPTED: none of it
 * was done. */
enum status trainer_step(struct trainer *trainer, struct err *err);

/* The first step that was not told of yet; report->step is 0 where there is none. A GPU's newest
 * step is left under way unless `all`: while the host waits for the one before it, the GPU has
 * work. STATUS_FAILED: a loss or gradient of that step is not finite, with its number and rows; the
 * adapter is as it was before the step, trainer->step too, and no other step may follow. */
enum status trainer_report(struct trainer *trainer, bool all, struct trainer_report *report,
                           struct err *err);

/* Brings adapter->parameters and, with `moments`, m and v up to date, those after all steps; on the
 * CPU they are. All steps were told of. */
enum status trainer_fetch(struct trainer *trainer, bool moments, struct err *err);
/* The other way round, and they are those after so many steps. */
enum status trainer_send(struct trainer *trainer, int64_t step, struct err *err);

/* The validation texts, without dropout; contrastive pairs, which may be told apart by nothing
 * else, always with the same one. n_validation >= 1. All steps were told of. */
enum status trainer_evaluate(struct trainer *trainer, struct trainer_report *report,
                             struct err *err);

#endif
