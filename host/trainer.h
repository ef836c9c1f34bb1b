/* Fine-tuning an adapter: one step after another. Files, logs and decisions between the steps are
 * host/train_run's.
 *
 * A step draws accumulate * batch texts; each batch is a unit (a micro-batch), whose part of every
 * gradient is summed by itself, and as many units as fit go through the model in one pass. So a
 * step's bytes depend on batch and accumulate, and not on memory, threads or passes. */
#ifndef MIDASHI_HOST_TRAINER_H
#define MIDASHI_HOST_TRAINER_H

#include "host/embedder.h"
#include "host/objective.h"
#include "host/train_data.h"
#include "host/train_plan.h"

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

struct trainer {
    struct trainer_settings settings;
    struct train_plan plan;
    struct device *device;
    struct lora_adapter *adapter;
    struct train_data *data;
    struct llama_train train;
    struct objective objective;
    float *gradients, *m, *v; /* each (adapter->n_parameters) */
    int64_t step;             /* steps done */

    /* The texts of a step or of a part of the validation, and a pass of them. */
    int *drawn; /* (step's texts) places in data->texts */
    int32_t *tokens, *positions, *cu_seqlens, *labels, *rows, *mean_begin, *mean_end;
    int32_t *token_units, *text_units;
    float *dhidden; /* (pass_tokens, D) */
    struct arena arena;
};

/* embedder: loaded, with batch_tokens of at least plan->pass_tokens. All arguments must outlive the
 * trainer. STATUS_RESOURCE: no memory. */
enum status trainer_open(struct trainer *trainer, struct device *device, struct embedder *embedder,
                         struct lora_adapter *adapter, struct train_data *data,
                         const struct train_plan *plan, const struct trainer_settings *settings,
                         struct err *err);
void trainer_close(struct trainer *trainer); /* a zeroed one is allowed */

struct trainer_report {
    double loss;     /* mean over the step's losses, or over all of the validation's */
    double accuracy; /* classify; else NAN */
    double norm;     /* of the gradients, before clipping; a step's */
    double learning_rate;
    int64_t tokens;
};

/* One step. STATUS_FAILED: a loss or gradient that is not finite, with step and rows; the adapter
 * is as it was before the step. */
enum status trainer_step(struct trainer *trainer, struct trainer_report *report, struct err *err);

/* The validation texts, without dropout; contrastive pairs, which may be told apart by nothing
 * else, always with the same one. n_validation >= 1. */
enum status trainer_evaluate(struct trainer *trainer, struct trainer_report *report,
                             struct err *err);

#endif
