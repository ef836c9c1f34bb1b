/* See train_plan.h. */
#include "host/train_plan.h"

#include "host/base/amount.h"
#include "host/estimate.h"
#include "host/llama_cuda.h"
#include "host/train_batch.h"
#include "host/trainer_cuda.h"

/* From here on the matrix products have their full rate, so more tokens at once gain nothing. */
#define PASS_TOKENS 512

/* On a GPU they have it later, and each pass has a last wave of tiles that is partly empty: rather
 * a step in one pass, if there is memory for it without computing a layer twice. Lengths between,
 * which cut a step of 700 tokens into a long and a short pass, gain nothing (docs/speed.md). */
static const int gpu_pass_tokens[] = {1024, 896, 768};
#define N_GPU_PASSES (sizeof gpu_pass_tokens / sizeof *gpu_pass_tokens)

struct objective_settings train_plan_objective(const struct train_plan *plan,
                                               enum objective_kind kind, float temperature,
                                               int near)
{
    return (struct objective_settings){
        .kind = kind,
        .n_tokens = plan->pass_tokens,
        .n_texts = plan->pass_texts,
        .largest_unit = plan->unit_texts,
        .temperature = temperature,
        .near = near,
    };
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The number of texts and tokens of a pass: whole units, of about `wanted` tokens. */
static void size_passes(struct train_plan *plan, const struct train_plan_request *request,
                        int wanted)
{
    int unit = request->objective == OBJECTIVE_CONTRASTIVE ? 2 * request->batch : request->batch;
    int64_t unit_tokens = (int64_t)unit * request->longest;
    int64_t step_tokens = unit_tokens * request->accumulate;
    int64_t tokens = unit_tokens > wanted ? unit_tokens : wanted;
    plan->unit_texts = unit;
    plan->pass_tokens = (int)smaller(smaller(tokens, step_tokens), INT32_MAX);
    /* A text has a token at least. */
    plan->pass_texts =
        (int)smaller(smaller((int64_t)unit * request->accumulate, plan->pass_tokens), INT32_MAX);
}

static void measure_cpu(struct train_plan *plan, const struct train_plan_request *request,
                        const struct objective_settings *objective)
{
    const struct llama_train_shape shape = {
        .config = request->config,
        .adapter = request->adapter,
        .n_tokens = plan->pass_tokens,
        .kept_layers = plan->kept_layers,
        .dropout = request->dropout,
    };
    const struct llama_train_bytes bytes = llama_train_measure(&shape);
    size_t hidden = (size_t)plan->pass_tokens * (size_t)request->config->hidden_size;
    plan->weights = request->weight_bytes;
    plan->adapter = (size_t)request->adapter->n_parameters * 5 * sizeof(float);
    plan->kept = bytes.kept;
    plan->shared =
        bytes.shared + train_numbers_carve(&(struct train_numbers){0}, objective, NULL) +
        hidden * sizeof(float) + /* its gradient */
        estimate_activations(request->config, plan->pass_tokens, request->longest, false);
    plan->losses = objective_measure(request->config, request->adapter, objective);
}

/* model: of it alone, which no layer that is kept changes. */
static enum status measure_gpu(struct train_plan *plan, const struct train_plan_request *request,
                               const struct objective_settings *objective,
                               const struct llama_cuda_bytes *model, struct err *err)
{
    const struct trainer_cuda_shape shape = {
        .config = request->config,
        .adapter = request->adapter,
        .objective = *objective,
        .kept_layers = plan->kept_layers,
        .own_output = request->weights && objective_has_output(request->config, request->weights),
    };
    struct trainer_cuda_bytes bytes;
    TRY(trainer_cuda_measure(&shape, &bytes, err));
    plan->weights = model->weights;
    plan->adapter = bytes.adapter;
    plan->kept = bytes.kept;
    plan->shared = bytes.shared + model->all - model->weights;
    plan->losses = bytes.losses;
    return STATUS_OK;
}

static enum status measure_model(struct llama_cuda_bytes *bytes, const struct train_plan *plan,
                                 const struct train_plan_request *request, struct err *err)
{
    const struct llama llama = {
        .config = *request->config,
        .precision = request->precision,
        .n_layers = request->config->n_layers,
        .max_tokens = request->longest,
        .batch_tokens = plan->pass_tokens,
    };
    return llama_cuda_measure(&llama, request->weights, bytes, err);
}

/* Passes of about `wanted` tokens: keeps as many layers as the budget has room for. *fits: there is
 * room for `least`; otherwise the plan is what these take. */
static enum status keep_layers(bool *fits, struct train_plan *plan,
                               const struct train_plan_request *request, int wanted, int least,
                               struct err *err)
{
    struct llama_cuda_bytes model;
    size_passes(plan, request, wanted);
    const struct objective_settings objective =
        train_plan_objective(plan, request->objective, 0, 0);
    if (request->gpu)
        TRY(measure_model(&model, plan, request, err));
    for (int kept = plan->n_layers; kept >= least; kept--) {
        plan->kept_layers = kept;
        if (request->gpu)
            TRY(measure_gpu(plan, request, &objective, &model, err));
        else
            measure_cpu(plan, request, &objective);
        plan->total = plan->weights + plan->adapter + plan->kept + plan->shared + plan->losses;
        *fits = request->budget == 0 || plan->total <= request->budget;
        if (*fits)
            return STATUS_OK;
    }
    return STATUS_OK;
}

/* What would help, and only that: the model may take it all, or what no setting makes smaller. */
static enum status write_advice(char *text, size_t size, const struct train_plan *plan,
                                const struct train_plan_request *request, struct err *err)
{
    struct train_plan_request least = *request;
    struct train_plan smallest = {.n_layers = plan->n_layers};
    bool fits;
    least.batch = request->objective == OBJECTIVE_CONTRASTIVE ? 2 : 1;
    least.accumulate = least.longest = 1;
    TRY(keep_layers(&fits, &smallest, &least, PASS_TOKENS, 0, err));
    if (plan->weights >= request->budget)
        snprintf(text, size, "%s a smaller model, or raise --memory",
                 request->precision == PRECISION_NF4 ? "take" : "give --precision nf4 or");
    else if (!fits)
        snprintf(text, size, "raise --memory: a batch of %d of the shortest texts takes %s too",
                 least.batch, amount_of(smallest.total).text);
    else
        snprintf(text, size, "lower --batch, --max-tokens or --rank, or raise --memory");
    return STATUS_OK;
}

static enum status does_not_fit(const struct train_plan *plan,
                                const struct train_plan_request *request, struct err *err)
{
    char advice[128];
    TRY(write_advice(advice, sizeof advice, plan, request, err));
    return err_set(
        err, STATUS_RESOURCE,
        "training takes %s at least: model %s, adapter and optimiser %s, activations %s, "
        "buffers %s, losses %s; that is %s more than is allowed; %s",
        amount_of(plan->total).text, amount_of(plan->weights).text, amount_of(plan->adapter).text,
        amount_of(plan->kept).text, amount_of(plan->shared).text, amount_of(plan->losses).text,
        amount_of(plan->total - request->budget).text, advice);
}

enum status train_plan_make(struct train_plan *plan, const struct train_plan_request *request,
                            struct err *err)
{
    bool fits = false;
    *plan = (struct train_plan){.n_layers = llama_train_layers(request->config, request->adapter)};
    for (size_t i = 0; request->gpu && !fits && i < N_GPU_PASSES; i++)
        TRY(keep_layers(&fits, plan, request, gpu_pass_tokens[i], plan->n_layers, err));
    if (!fits)
        TRY(keep_layers(&fits, plan, request, PASS_TOKENS, 0, err));
    if (fits)
        return STATUS_OK;
    return does_not_fit(plan, request, err);
}
