/* See finetune.h: the memory of a run, what it may take and the plan that is printed. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "host/base/amount.h"
#include "host/base/cuda_device.h"
#include "host/base/cuda_memory.h"
#include "host/estimate.h"
#include "tools/midashi/finetune.h"
#include "tools/midashi/system.h"

/* The model's weights in the CPU's memory, as they will be kept. */
static size_t weight_bytes(const struct finetune *f, const struct weights *weights,
                           enum precision precision)
{
    const struct model_config *config = &f->embedder.config;
    struct estimate estimate;
    estimate_memory(&estimate, weights, config, 1, 1);
    size_t output = (size_t)config->vocab_size * (size_t)config->hidden_size;
    bool own = f->objective == OBJECTIVE_NEXT_TOKEN && objective_has_output(config, weights) &&
               weights_find(weights, "lm_head.weight");
    return estimate.weights[precision] + (own ? output * (precision == PRECISION_F32 ? 4 : 2) : 0);
}

static void note_plan(const struct finetune *f, size_t budget)
{
    const struct train_plan *p = &f->plan;
    char layers[64];
    if (p->kept_layers < p->n_layers)
        snprintf(layers, sizeof layers, "%d of %d layers", p->kept_layers, p->n_layers);
    else
        strcpy(layers, "all");
    meter_note(f->meter,
               "memory: %s of %s: model %s, adapter and optimiser %s, activations %s (%s kept), "
               "buffers %s, losses %s; up to %d tokens a pass",
               amount_of(p->total).text, amount_of(budget).text, amount_of(p->weights).text,
               amount_of(p->adapter).text, amount_of(p->kept).text, layers,
               amount_of(p->shared).text, amount_of(p->losses).text, p->pass_tokens);
}

/* A GPU holds no more than is free on it, whatever --memory says; elsewhere the system swaps. */
static enum status bound_memory(const struct finetune *f, size_t *budget, struct err *err)
{
    size_t available;
    if (f->device->kind != DEVICE_CUDA)
        return STATUS_OK;
    TRY(cuda_memory_free(f->device->cuda, &available, err));
    if (*budget <= available)
        return STATUS_OK;
    meter_note(f->meter, "--memory %s: cuda:%d has %s, %s of them free; taking no more",
               f->options->memory, f->device->cuda->ordinal,
               amount_of(f->device->cuda->info.memory).text, amount_of(available).text);
    *budget = available;
    return STATUS_OK;
}

enum status finetune_plan(struct finetune *f, const struct trainer_settings *s,
                          enum precision precision, struct err *err)
{
    size_t budget;
    struct weights *weights;
    TRY(parse_memory(&budget, f->options->memory, f->device, err));
    TRY(bound_memory(f, &budget, err));
    TRY(weights_open(&weights, f->options->model_path, &f->embedder.config, err));
    f->embedder.max_tokens = train_data_longest(&f->data); /* no longer text will come */
    enum status status = train_plan_make(&f->plan,
                                         &(struct train_plan_request){
                                             .config = &f->embedder.config,
                                             .adapter = &f->adapter,
                                             .objective = s->objective,
                                             .batch = s->batch,
                                             .accumulate = s->accumulate,
                                             .longest = f->embedder.max_tokens,
                                             .dropout = s->dropout > 0,
                                             .weight_bytes = weight_bytes(f, weights, precision),
                                             .budget = budget,
                                             .gpu = f->device->kind == DEVICE_CUDA,
                                             .precision = precision,
                                             .weights = weights,
                                         },
                                         err);
    weights_close(weights);
    if (status == STATUS_OK)
        note_plan(f, budget);
    return status;
}
