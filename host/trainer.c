/* See trainer.h. */
#include "host/trainer.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "host/base/names.h"
#include "host/base/philox.h"
#include "host/trainer_cuda.h"
#include "kernels/adamw.h"

/* Draws near rows as positives; train_data has the streams before it. */
#define STREAM_POSITIVES 0x40000010
/* The step of the dropout with which pairs are evaluated. */
#define EVALUATION_STEP UINT32_MAX

/* ---- settings ------------------------------------------------------------------------------- */

static const char *const schedules[] = {"linear", "cosine", "constant"};

bool schedule_parse(enum schedule *schedule, const char *word)
{
    int found = find_name(schedules, N_NAMES(schedules), word);
    if (found >= 0)
        *schedule = (enum schedule)found;
    return found >= 0;
}

const char *schedule_name(enum schedule schedule)
{
    return schedules[schedule];
}

double trainer_learning_rate(const struct trainer_settings *settings, int64_t step)
{
    if (step < settings->warm_up)
        return settings->learning_rate * (double)step / settings->warm_up;
    int left = settings->steps - settings->warm_up;
    double done = left > 0 ? (double)(step - settings->warm_up) / left : 1;
    switch (settings->schedule) {
    case SCHEDULE_LINEAR:
        return settings->learning_rate * fmax(0, 1 - done);
    case SCHEDULE_COSINE:
        return settings->learning_rate * 0.5 * (1 + cos(acos(-1) * fmin(1, done)));
    case SCHEDULE_CONSTANT:
        return settings->learning_rate;
    }
    return 0;
}

/* ---- opening -------------------------------------------------------------------------------- */

static bool is_paired(const struct trainer *trainer)
{
    return trainer->settings.objective == OBJECTIVE_CONTRASTIVE;
}

/* Cleared. NULL: no memory, which is told. */
static void *take(struct trainer *trainer, size_t count, size_t size, const char *what,
                  struct err *err)
{
    void *block = arena_alloc(&trainer->arena, count, size);
    if (block)
        memset(block, 0, count * size);
    else
        err_no_memory(err, what, count * size);
    return block;
}

/* What computes on the CPU. */
static enum status open_cpu(struct trainer *trainer, struct embedder *embedder, struct err *err)
{
    struct llama *llama = &embedder->llama;
    const struct train_plan *plan = &trainer->plan;
    const struct llama_train_shape shape = {
        .config = &llama->config,
        .adapter = trainer->adapter,
        .n_tokens = plan->pass_tokens,
        .kept_layers = plan->kept_layers,
        .dropout = trainer->settings.dropout > 0,
    };
    size_t n = (size_t)trainer->adapter->n_parameters;
    size_t values = (size_t)plan->pass_tokens * (size_t)llama->config.hidden_size;
    size_t bytes = train_numbers_carve(&trainer->numbers, &trainer->shape, NULL);
    trainer->gradients = take(trainer, n, sizeof(float), "the gradients", err);
    trainer->dhidden = take(trainer, values, sizeof(float), "a training pass", err);
    char *block = take(trainer, bytes, 1, "a training pass", err);
    if (!trainer->gradients || !trainer->dhidden || !block)
        return STATUS_RESOURCE;
    train_numbers_carve(&trainer->numbers, &trainer->shape, block);
    TRY(llama_train_open(&trainer->train, llama, trainer->adapter, trainer->gradients, &shape,
                         err));
    return objective_open(&trainer->objective, llama, trainer->adapter, trainer->gradients,
                          embedder->weights, &trainer->shape, err);
}

/* What computes on a GPU; it begins with the adapter as the host has it. */
static enum status open_cuda(struct trainer *trainer, struct embedder *embedder, struct err *err)
{
    const struct trainer_cuda_shape shape = {
        .config = &embedder->llama.config,
        .adapter = trainer->adapter,
        .objective = trainer->shape,
        .kept_layers = trainer->plan.kept_layers,
        .own_output = objective_has_output(&embedder->llama.config, embedder->weights),
    };
    TRY(trainer_cuda_open(&trainer->cuda, trainer->device, embedder, &shape, err));
    return trainer_send(trainer, 0, err);
}

enum status trainer_open(struct trainer *trainer, struct device *device, struct embedder *embedder,
                         struct lora_adapter *adapter, struct train_data *data,
                         const struct train_plan *plan, const struct trainer_settings *settings,
                         struct err *err)
{
    *trainer = (struct trainer){
        .settings = *settings,
        .plan = *plan,
        .shape =
            train_plan_objective(plan, settings->objective, settings->temperature, settings->near),
        .device = device,
        .adapter = adapter,
        .data = data,
    };
    size_t n = (size_t)adapter->n_parameters;
    size_t texts = (size_t)plan->unit_texts * (size_t)settings->accumulate;
    enum status status = STATUS_RESOURCE;
    trainer->m = take(trainer, n, sizeof(float), "the optimiser", err);
    trainer->v = take(trainer, n, sizeof(float), "the optimiser", err);
    trainer->drawn = take(trainer, texts, sizeof(int), "the texts of a step", err);
    if (trainer->m && trainer->v && trainer->drawn)
        status = device->kind == DEVICE_CUDA ? open_cuda(trainer, embedder, err)
                                             : open_cpu(trainer, embedder, err);
    if (status != STATUS_OK)
        trainer_close(trainer);
    return status;
}

void trainer_close(struct trainer *trainer)
{
    trainer_cuda_close(trainer->cuda);
    llama_train_close(&trainer->train);
    objective_close(&trainer->objective);
    arena_free(&trainer->arena);
    *trainer = (struct trainer){0};
}

/* ---- drawing -------------------------------------------------------------------------------- */

/* A text of the same group whose row is near, other than the text itself; the text itself where
 * there is none, or no group, which dropout alone then tells apart. `places`: training or
 * validation. */
static int near_text(const struct trainer *trainer, const int *places, int n_places, int text,
                     uint32_t step, uint64_t index)
{
    const struct train_text *texts = trainer->data->texts, *anchor = &texts[text];
    int near = trainer->settings.near, candidates = 0, low = 0, high = n_places;
    while (low < high) { /* places are in the order of the rows */
        int middle = low + (high - low) / 2;
        if (texts[places[middle]].row + (size_t)near < anchor->row)
            low = middle + 1;
        else
            high = middle;
    }
    int end = low;
    for (; end < n_places && texts[places[end]].row <= anchor->row + (size_t)near; end++)
        candidates += places[end] != text && texts[places[end]].label == anchor->label;
    if (near == 0 || anchor->label < 0 || candidates == 0)
        return text;
    int chosen =
        (int)(philox_uniform(trainer->settings.seed, step, STREAM_POSITIVES, index) * candidates);
    for (int i = low; i < end; i++)
        if (places[i] != text && texts[places[i]].label == anchor->label && chosen-- == 0)
            return places[i];
    return text;
}

/* The positives of a unit's anchors, behind them. */
static void pair_unit(struct trainer *trainer, int *unit, int n_anchors, const int *places,
                      int n_places, uint32_t step, uint64_t first)
{
    for (int i = 0; i < n_anchors; i++)
        unit[n_anchors + i] =
            near_text(trainer, places, n_places, unit[i], step, first + (uint64_t)i);
}

/* Those of a step, from 0. */
static void draw_step(struct trainer *trainer, int64_t step)
{
    const struct trainer_settings *s = &trainer->settings;
    struct train_data *data = trainer->data;
    int64_t draw = step * s->batch * s->accumulate;
    for (int u = 0; u < s->accumulate; u++) {
        int *unit = trainer->drawn + u * trainer->plan.unit_texts;
        for (int i = 0; i < s->batch; i++)
            unit[i] = train_data_draw(data, draw++);
        if (is_paired(trainer))
            pair_unit(trainer, unit, s->batch, data->training, data->n_training, (uint32_t)step,
                      (uint64_t)(u * s->batch));
    }
}

/* ---- passes --------------------------------------------------------------------------------- */

/* Texts, tokens with a next one, or anchors. */
static int64_t count_losses(const struct trainer *trainer, const int *drawn, int n_texts)
{
    switch (trainer->settings.objective) {
    case OBJECTIVE_CLASSIFY:
        return n_texts;
    case OBJECTIVE_NEXT_TOKEN:
        return train_batch_tokens(trainer->data, drawn, n_texts) - n_texts;
    case OBJECTIVE_CONTRASTIVE:
        return n_texts / 2;
    }
    return 0;
}

/* weight 0: only the losses are wanted. On a GPU the result comes later. */
static enum status run_pass(struct trainer *trainer, const struct objective_batch *batch,
                            const struct dropout *dropout, float weight,
                            struct objective_result *result, struct err *err)
{
    struct llama_pass pass = {.dropout = *dropout};
    if (trainer->cuda)
        return trainer_cuda_pass(trainer->cuda, batch, dropout, weight, err);
    TRY(llama_train_forward(&trainer->train, trainer->device, &batch->texts, &pass, err));
    TRY(objective_run(&trainer->objective, trainer->device, batch, weight,
                      weight != 0 ? trainer->dhidden : NULL, result, err));
    if (weight == 0)
        return STATUS_OK;
    return llama_train_backward(&trainer->train, &pass, trainer->dhidden, batch->token_units,
                                batch->n_units, err);
}

/* All passes over n_units units of unit_texts. */
static enum status run_passes(struct trainer *trainer, const int *drawn, int unit_texts,
                              int n_units, struct dropout dropout, float weight,
                              struct objective_result *result, int64_t *tokens, struct err *err)
{
    for (int unit = 0; unit < n_units;) {
        struct objective_batch batch;
        if (trainer->cuda)
            TRY(trainer_cuda_numbers(trainer->cuda, &trainer->numbers, err));
        unit += train_batch_fill(&batch, &trainer->numbers, &trainer->shape, trainer->data,
                                 drawn + unit * unit_texts, unit_texts, n_units - unit);
        TRY(run_pass(trainer, &batch, &dropout, weight, result, err));
        dropout.first_row += batch.texts.n_tokens;
        *tokens += batch.texts.n_tokens;
    }
    return STATUS_OK;
}

static struct dropout dropout_of(const struct trainer *trainer, uint32_t step)
{
    return (struct dropout){
        .seed = trainer->settings.seed,
        .step = step,
        .threshold = dropout_threshold(trainer->settings.dropout),
    };
}

/* ---- a step --------------------------------------------------------------------------------- */

/* Of step `step`, from 1. Names its first rows, so that a strange text can be looked at. */
static enum status not_finite(struct trainer *trainer, int64_t step, const char *what, double value,
                              struct err *err)
{
    char rows[16 * sizeof "18446744073709551615, "] = "";
    int n = trainer->plan.unit_texts * trainer->settings.accumulate;
    draw_step(trainer, step - 1);
    for (int i = 0, length = 0; i < n && i < 16; i++)
        length +=
            snprintf(rows + length, sizeof rows - (size_t)length, "%s%zu", i ? ", " : "",
                     trainer->data->rows_before + trainer->data->texts[trainer->drawn[i]].row + 1);
    return err_set(err, STATUS_FAILED,
                   "step %lld: %s is %s (texts of rows %s%s); lower --learning-rate, or give some "
                   "--warm-up",
                   (long long)step, what, isnan(value) ? "not a number" : "infinite", rows,
                   n > 16 ? ", ..." : "");
}

/* Means, from the sums of `count` losses. */
static void settle(const struct trainer *trainer, struct trainer_report *report, int64_t count,
                   const struct objective_result *result)
{
    report->loss = count > 0 ? result->loss / (double)count : 0;
    report->accuracy = trainer->settings.objective == OBJECTIVE_CLASSIFY
                           ? (double)result->correct / (double)count
                           : NAN;
}

/* Of a step whose norm is known too. */
static enum status check_finite(struct trainer *trainer, const struct trainer_report *report,
                                struct err *err)
{
    if (!isfinite(report->loss))
        return not_finite(trainer, report->step, "the loss", report->loss, err);
    if (!isfinite(report->norm))
        return not_finite(trainer, report->step, "the gradient", report->norm, err);
    return STATUS_OK;
}

/* The gradients' norm, and AdamW. */
static enum status update(struct trainer *trainer, struct trainer_report *report, struct err *err)
{
    double clip = trainer->settings.clip;
    int64_t n = trainer->adapter->n_parameters;
    struct adamw adamw = {
        .learning_rate = report->learning_rate,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .eps = 1e-8,
        .weight_decay = trainer->settings.weight_decay,
        .step = report->step,
        .gradient_scale = 1,
    };
    if (trainer->cuda) {
        TRY(trainer_cuda_update(trainer->cuda, &adamw, clip, err));
        return trainer_cuda_end(trainer->cuda, err);
    }
    report->norm = sqrt(sum_of_squares(trainer->device, trainer->gradients, n));
    TRY(check_finite(trainer, report, err));
    if (clip > 0)
        adamw.gradient_scale = clip_scale(report->norm, clip);
    return adamw_step(trainer->device, trainer->adapter->parameters, trainer->gradients, trainer->m,
                      trainer->v, n, &adamw, err);
}

/* Half a gradient is none. */
static void drop_gradients(struct trainer *trainer)
{
    struct err ignored; /* something has gone wrong already */
    if (trainer->cuda)
        trainer_cuda_abandon(trainer->cuda, &ignored);
    else
        memset(trainer->gradients, 0,
               (size_t)trainer->adapter->n_parameters * sizeof *trainer->gradients);
}

static enum status begin(struct trainer *trainer, int64_t step, struct err *err)
{
    return trainer->cuda ? trainer_cuda_begin(trainer->cuda, (int)(step % TRAINER_PENDING), err)
                         : STATUS_OK;
}

enum status trainer_step(struct trainer *trainer, struct err *err)
{
    const struct trainer_settings *s = &trainer->settings;
    int n_texts = trainer->plan.unit_texts * s->accumulate;
    struct objective_result result = {0};
    struct trainer_report report = {
        .step = trainer->step + 1,
        .learning_rate = trainer_learning_rate(s, trainer->step),
    };
    assert(trainer->step - trainer->reported < TRAINER_PENDING);
    draw_step(trainer, trainer->step);
    /* From 1: the adapter's initial values were drawn as step 0. */
    const struct dropout dropout = dropout_of(trainer, (uint32_t)report.step);
    int64_t count = count_losses(trainer, trainer->drawn, n_texts);
    TRY(begin(trainer, trainer->step, err));
    enum status status =
        run_passes(trainer, trainer->drawn, trainer->plan.unit_texts, s->accumulate, dropout,
                   count > 0 ? 1.0f / (float)count : 0, &result, &report.tokens, err);
    settle(trainer, &report, count, &result);
    if (status == STATUS_OK)
        status = update(trainer, &report, err);
    if (status != STATUS_OK) {
        drop_gradients(trainer);
        return status;
    }
    trainer->pending[trainer->step % TRAINER_PENDING].report = report;
    trainer->pending[trainer->step % TRAINER_PENDING].count = count;
    trainer->step++;
    return STATUS_OK;
}

/* ---- what came of it ------------------------------------------------------------------------ */

/* What the GPU knows of what was begun as `step`, from 0. */
static enum status await(struct trainer *trainer, int64_t step, struct trainer_report *report,
                         int64_t count, struct err *err)
{
    struct step_record record;
    TRY(trainer_cuda_await(trainer->cuda, (int)(step % TRAINER_PENDING), &record, err));
    settle(trainer, report, count, &(struct objective_result){record.loss, record.correct});
    report->norm = record.norm;
    return STATUS_OK;
}

enum status trainer_report(struct trainer *trainer, bool all, struct trainer_report *report,
                           struct err *err)
{
    int64_t step = trainer->reported;
    *report = (struct trainer_report){0};
    if (trainer->step - step < (trainer->cuda && !all ? 2 : 1))
        return STATUS_OK;
    *report = trainer->pending[step % TRAINER_PENDING].report;
    if (trainer->cuda) {
        TRY(await(trainer, step, report, trainer->pending[step % TRAINER_PENDING].count, err));
        enum status status = check_finite(trainer, report, err);
        if (status != STATUS_OK) {
            trainer->step = step; /* no later one has changed anything either */
            return status;
        }
    }
    trainer->reported++;
    return STATUS_OK;
}

enum status trainer_fetch(struct trainer *trainer, bool moments, struct err *err)
{
    if (!trainer->cuda)
        return STATUS_OK;
    return trainer_cuda_fetch(trainer->cuda, trainer->adapter->parameters,
                              moments ? trainer->m : NULL, moments ? trainer->v : NULL, err);
}

enum status trainer_send(struct trainer *trainer, int64_t step, struct err *err)
{
    trainer->step = trainer->reported = step;
    if (!trainer->cuda)
        return STATUS_OK;
    return trainer_cuda_send(trainer->cuda, trainer->adapter->parameters, trainer->m, trainer->v,
                             err);
}

/* ---- evaluation ----------------------------------------------------------------------------- */

enum status trainer_evaluate(struct trainer *trainer, struct trainer_report *report,
                             struct err *err)
{
    const struct train_data *data = trainer->data;
    struct objective_result result = {0};
    struct dropout dropout = {0};
    int64_t count = 0;
    *report = (struct trainer_report){0};
    if (is_paired(trainer))
        dropout = dropout_of(trainer, EVALUATION_STEP);
    TRY(begin(trainer, 0, err));
    /* Texts that do not meet are units of their own, and fill whole passes. */
    int most = is_paired(trainer) ? trainer->settings.batch
                                  : trainer->plan.unit_texts * trainer->settings.accumulate;
    for (int first = 0, n; first < data->n_validation; first += n) {
        n = data->n_validation - first < most ? data->n_validation - first : most;
        memcpy(trainer->drawn, data->validation + first, (size_t)n * sizeof *trainer->drawn);
        if (is_paired(trainer))
            pair_unit(trainer, trainer->drawn, n, data->validation, data->n_validation,
                      EVALUATION_STEP, (uint64_t)first);
        int n_units = is_paired(trainer) ? 1 : n, unit_texts = is_paired(trainer) ? 2 * n : 1;
        int64_t before = report->tokens;
        TRY(run_passes(trainer, trainer->drawn, unit_texts, n_units, dropout, 0, &result,
                       &report->tokens, err));
        count += count_losses(trainer, trainer->drawn, n_units * unit_texts);
        dropout.first_row += report->tokens - before;
    }
    settle(trainer, report, count, &result);
    if (!trainer->cuda)
        return STATUS_OK;
    TRY(trainer_cuda_end(trainer->cuda, err));
    return await(trainer, 0, report, count, err);
}
