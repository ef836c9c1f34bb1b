/* See finetune.h: the memory of a run, what it may take and the plan that is printed. */
#include <math.h>
#include <stdio.h>
#include <string.h>
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

/* In megabytes below a gigabyte. */
static const char *format_bytes(char text[16], size_t bytes)
{
    bool giga = bytes >= 1000000000;
    snprintf(text, 16,
             giga               ? "%.2f GB"
             : bytes < 10000000 ? "%.1f MB"
                                : "%.0f MB",
             (double)bytes / (giga ? 1e9 : 1e6));
    return text;
}

static void note_plan(const struct finetune *f, size_t budget)
{
    const struct train_plan *p = &f->plan;
    char total[16], all[16], model[16], adapter[16], kept[16], shared[16], losses[16], layers[64];
    if (p->kept_layers < p->n_layers)
        snprintf(layers, sizeof layers, "%d of %d layers", p->kept_layers, p->n_layers);
    else
        strcpy(layers, "all");
    meter_note(f->meter,
               "memory: %s of %s: model %s, adapter and optimiser %s, activations %s (%s kept), "
               "buffers %s, losses %s; up to %d tokens a pass",
               format_bytes(total, p->total), format_bytes(all, budget),
               format_bytes(model, p->weights), format_bytes(adapter, p->adapter),
               format_bytes(kept, p->kept), layers, format_bytes(shared, p->shared),
               format_bytes(losses, p->losses), p->pass_tokens);
}

enum status finetune_plan(struct finetune *f, const struct trainer_settings *s,
                          enum precision precision, struct err *err)
{
    size_t budget;
    struct weights *weights;
    TRY(parse_memory(&budget, f->options->memory, f->device, err));
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
