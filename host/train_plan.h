/* The memory of a training run, planned before anything is loaded: how many tokens go through the
 * model in one pass, and of how many layers everything is kept. Neither changes a bit of what comes
 * out; both change how long it takes. */
#ifndef MIDASHI_HOST_TRAIN_PLAN_H
#define MIDASHI_HOST_TRAIN_PLAN_H

#include "host/llama_train.h"
#include "host/objective.h"

struct train_plan_request {
    const struct model_config *config;
    const struct lora_adapter *adapter;
    enum objective_kind objective;
    int batch, accumulate; /* texts of a micro-batch, micro-batches of a step */
    int longest;           /* tokens of the longest text */
    bool dropout;
    size_t weight_bytes; /* CPU: of the model, output matrix included where it is needed */
    size_t budget;       /* bytes; 0: no bound */
    bool gpu;            /* its memory; then from the model's files: */
    enum precision precision;
    const struct weights *weights; /* NULL: of files that need no more than the shapes say */
};

/* Bytes by what takes them. */
struct train_plan {
    int pass_tokens, pass_texts; /* of a pass at most */
    int unit_texts;              /* of a unit: twice the batch where texts come in pairs */
    int kept_layers, n_layers;   /* of those that a way back passes */
    size_t weights;
    size_t adapter; /* parameters, gradients, both moments: 16 bytes a number; the best so far: 4
                       more, or on a GPU, where that is the host's, the working copies: 4 more, of
                       ranks as they are filled up (kernels/lora_parts.h) */
    size_t kept;    /* activations of the layers */
    size_t shared;  /* buffers of one layer, forward and back */
    size_t losses;
    size_t total;
};

/* Keeps as many layers as the budget allows; on a GPU, where that can be all of them,
 * with longer passes than a CPU's, up to 1,024 tokens. STATUS_RESOURCE: not even none; says by how
 * much and what to do. */
enum status train_plan_make(struct train_plan *plan, const struct train_plan_request *request,
                            struct err *err);

/* The settings that objective_open wants. */
struct objective_settings train_plan_objective(const struct train_plan *plan,
                                               enum objective_kind kind, float temperature,
                                               int near);

#endif
