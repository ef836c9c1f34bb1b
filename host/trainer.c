/* See trainer.h. */
#include "host/trainer.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "host/base/names.h"
#include "host/base/philox.h"
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

static enum status allocate(struct trainer *trainer, struct err *err)
{
    const struct train_plan *plan = &trainer->plan;
    size_t n = (size_t)trainer->adapter->n_parameters, texts = (size_t)plan->pass_texts;
    size_t tokens = (size_t)plan->pass_tokens;
    size_t drawn = (size_t)plan->unit_texts * (size_t)trainer->settings.accumulate;
    size_t d = (size_t)trainer->train.llama->config.hidden_size;
    const struct {
        void *pointer;
        size_t count, size;
    } arrays[] = {
        {&trainer->m, n, sizeof(float)},
        {&trainer->v, n, sizeof(float)},
        {&trainer->dhidden, tokens * d, sizeof(float)},
        {&trainer->drawn, drawn, sizeof(int)},
        {&trainer->tokens, tokens, sizeof(int32_t)},
        {&trainer->positions, tokens, sizeof(int32_t)},
        {&trainer->cu_seqlens, texts + 1, sizeof(int32_t)},
        {&trainer->labels, texts, sizeof(int32_t)},
        {&trainer->rows, texts, sizeof(int32_t)},
        {&trainer->mean_begin, texts, sizeof(int32_t)},
        {&trainer->mean_end, texts, sizeof(int32_t)},
        {&trainer->token_units, texts + 1, sizeof(int32_t)},
        {&trainer->text_units, texts + 1, sizeof(int32_t)},
    };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        void *block = arena_alloc(&trainer->arena, arrays[i].count, arrays[i].size);
        if (!block)
            return err_no_memory(err, "the optimiser", arrays[i].count * arrays[i].size);
        memset(block, 0, arrays[i].count * arrays[i].size);
        memcpy(arrays[i].pointer, &block, sizeof block);
    }
    return STATUS_OK;
}

enum status trainer_open(struct trainer *trainer, struct device *device, struct embedder *embedder,
                         struct lora_adapter *adapter, struct train_data *data,
                         const struct train_plan *plan, const struct trainer_settings *settings,
                         struct err *err)
{
    *trainer = (struct trainer){
        .settings = *settings,
        .plan = *plan,
        .device = device,
        .adapter = adapter,
        .data = data,
    };
    struct llama *llama = &embedder->llama;
    const struct llama_train_shape shape = {
        .config = &llama->config,
        .adapter = adapter,
        .n_tokens = plan->pass_tokens,
        .kept_layers = plan->kept_layers,
        .dropout = settings->dropout > 0,
        .value_bytes = sizeof(float),
    };
    const struct objective_settings objective =
        train_plan_objective(plan, settings->objective, settings->temperature, settings->near);
    size_t n = (size_t)adapter->n_parameters;
    enum status status = STATUS_OK;
    trainer->gradients = arena_alloc(&trainer->arena, n, sizeof *trainer->gradients);
    if (!trainer->gradients)
        TRY_TO(status, err_no_memory(err, "the gradients", n * sizeof *trainer->gradients),
               release);
    memset(trainer->gradients, 0, n * sizeof *trainer->gradients);
    TRY_TO(status,
           llama_train_open(&trainer->train, llama, adapter, trainer->gradients, &shape, err),
           release);
    TRY_TO(status,
           objective_open(&trainer->objective, llama, adapter, trainer->gradients,
                          embedder->weights, &objective, err),
           release);
    status = allocate(trainer, err);
release:
    if (status != STATUS_OK)
        trainer_close(trainer);
    return status;
}

void trainer_close(struct trainer *trainer)
{
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

static void draw_step(struct trainer *trainer)
{
    const struct trainer_settings *s = &trainer->settings;
    struct train_data *data = trainer->data;
    int64_t draw = trainer->step * s->batch * s->accumulate;
    for (int u = 0; u < s->accumulate; u++) {
        int *unit = trainer->drawn + u * trainer->plan.unit_texts;
        for (int i = 0; i < s->batch; i++)
            unit[i] = train_data_draw(data, draw++);
        if (is_paired(trainer))
            pair_unit(trainer, unit, s->batch, data->training, data->n_training,
                      (uint32_t)trainer->step, (uint64_t)(u * s->batch));
    }
}

/* ---- passes --------------------------------------------------------------------------------- */

static int unit_tokens(const struct trainer *trainer, const int *unit, int n)
{
    int tokens = 0;
    for (int i = 0; i < n; i++)
        tokens += trainer->data->texts[unit[i]].n_tokens;
    return tokens;
}

static void add_unit(struct trainer *trainer, struct objective_batch *batch, const int *unit, int n)
{
    for (int i = 0; i < n; i++) {
        const struct train_text *text = &trainer->data->texts[unit[i]];
        int at = batch->texts.n_texts++, begin = trainer->cu_seqlens[at];
        memcpy(trainer->tokens + begin, trainer->data->tokens + text->first,
               (size_t)text->n_tokens * sizeof *trainer->tokens);
        for (int j = 0; j < text->n_tokens; j++)
            trainer->positions[begin + j] = j;
        trainer->cu_seqlens[at + 1] = begin + text->n_tokens;
        trainer->labels[at] = text->label;
        trainer->rows[at] = (int32_t)text->row;
        trainer->mean_begin[at] = begin + text->mean_begin;
        trainer->mean_end[at] = begin + text->mean_end;
    }
    batch->n_units++;
    trainer->text_units[batch->n_units] = batch->texts.n_texts;
    batch->texts.n_tokens = trainer->cu_seqlens[batch->texts.n_texts];
    trainer->token_units[batch->n_units] = batch->texts.n_tokens;
}

/* As many units from `unit` on, each of unit_texts, as fit; returns how many. */
static int fill_pass(struct trainer *trainer, struct objective_batch *batch, const int *drawn,
                     int unit_texts, int n_units)
{
    *batch = (struct objective_batch){
        .texts = {.tokens = trainer->tokens,
                  .positions = trainer->positions,
                  .cu_seqlens = trainer->cu_seqlens},
        .token_units = trainer->token_units,
        .text_units = trainer->text_units,
        .labels = trainer->labels,
        .rows = trainer->rows,
        .mean_begin = trainer->mean_begin,
        .mean_end = trainer->mean_end,
    };
    int unit = 0;
    for (; unit < n_units; unit++) {
        const int *texts = drawn + unit * unit_texts;
        int tokens =
            trainer->cu_seqlens[batch->texts.n_texts] + unit_tokens(trainer, texts, unit_texts);
        if (unit > 0 && (tokens > trainer->plan.pass_tokens ||
                         batch->texts.n_texts + unit_texts > trainer->plan.pass_texts))
            break;
        add_unit(trainer, batch, texts, unit_texts);
    }
    return unit;
}

/* Texts, tokens with a next one, or anchors. */
static int64_t count_losses(const struct trainer *trainer, const int *drawn, int n_texts)
{
    switch (trainer->settings.objective) {
    case OBJECTIVE_CLASSIFY:
        return n_texts;
    case OBJECTIVE_NEXT_TOKEN:
        return unit_tokens(trainer, drawn, n_texts) - n_texts;
    case OBJECTIVE_CONTRASTIVE:
        return n_texts / 2;
    }
    return 0;
}

/* All passes over n_units units of unit_texts. weight 0: only the losses are wanted. */
static enum status run_passes(struct trainer *trainer, const int *drawn, int unit_texts,
                              int n_units, const struct dropout *dropout, float weight,
                              struct objective_result *result, int64_t *tokens, struct err *err)
{
    bool backward = weight != 0;
    struct llama_pass pass = {.dropout = *dropout};
    for (int unit = 0; unit < n_units;) {
        struct objective_batch batch;
        unit += fill_pass(trainer, &batch, drawn + unit * unit_texts, unit_texts, n_units - unit);
        TRY(llama_train_forward(&trainer->train, trainer->device, &batch.texts, &pass, err));
        TRY(objective_run(&trainer->objective, trainer->device, &batch, weight,
                          backward ? trainer->dhidden : NULL, result, err));
        if (backward)
            TRY(llama_train_backward(&trainer->train, &pass, trainer->dhidden, batch.token_units,
                                     batch.n_units, err));
        pass.dropout.first_row += pass.n_tokens;
        *tokens += pass.n_tokens;
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

/* Names the first rows of the step, so that a strange text can be looked at. */
static enum status not_finite(struct trainer *trainer, const char *what, double value,
                              struct err *err)
{
    char rows[16 * sizeof "18446744073709551615, "] = "";
    int n = trainer->plan.unit_texts * trainer->settings.accumulate;
    for (int i = 0, length = 0; i < n && i < 16; i++)
        length +=
            snprintf(rows + length, sizeof rows - (size_t)length, "%s%zu", i ? ", " : "",
                     trainer->data->rows_before + trainer->data->texts[trainer->drawn[i]].row + 1);
    memset(trainer->gradients, 0,
           (size_t)trainer->adapter->n_parameters * sizeof *trainer->gradients);
    return err_set(err, STATUS_FAILED,
                   "step %lld: %s is %s (texts of rows %s%s); lower --learning-rate, or give some "
                   "--warm-up",
                   (long long)trainer->step + 1, what, isnan(value) ? "not a number" : "infinite",
                   rows, n > 16 ? ", ..." : "");
}

enum status trainer_step(struct trainer *trainer, struct trainer_report *report, struct err *err)
{
    const struct trainer_settings *s = &trainer->settings;
    int64_t n = trainer->adapter->n_parameters;
    int n_texts = trainer->plan.unit_texts * s->accumulate;
    struct objective_result result = {0};
    *report = (struct trainer_report){.accuracy = NAN,
                                      .learning_rate = trainer_learning_rate(s, trainer->step)};
    draw_step(trainer);
    /* From 1: the adapter's initial values were drawn as step 0. */
    const struct dropout dropout = dropout_of(trainer, (uint32_t)trainer->step + 1);
    int64_t count = count_losses(trainer, trainer->drawn, n_texts);
    enum status status =
        run_passes(trainer, trainer->drawn, trainer->plan.unit_texts, s->accumulate, &dropout,
                   count > 0 ? 1.0f / (float)count : 0, &result, &report->tokens, err);
    if (status != STATUS_OK) { /* half a gradient is none */
        memset(trainer->gradients, 0, (size_t)n * sizeof *trainer->gradients);
        return status;
    }
    report->loss = count > 0 ? result.loss / (double)count : 0;
    if (s->objective == OBJECTIVE_CLASSIFY)
        report->accuracy = (double)result.correct / (double)count;
    if (!isfinite(report->loss))
        return not_finite(trainer, "the loss", report->loss, err);
    report->norm = sqrt(sum_of_squares(trainer->device, trainer->gradients, n));
    if (!isfinite(report->norm))
        return not_finite(trainer, "the gradient", report->norm, err);
    const struct adamw adamw = {
        .learning_rate = report->learning_rate,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .eps = 1e-8,
        .weight_decay = s->weight_decay,
        .step = trainer->step + 1,
        .gradient_scale = s->clip > 0 ? clip_scale(report->norm, s->clip) : 1,
    };
    TRY(adamw_step(trainer->device, trainer->adapter->parameters, trainer->gradients, trainer->m,
                   trainer->v, n, &adamw, err));
    trainer->step++;
    return STATUS_OK;
}

/* ---- evaluation ----------------------------------------------------------------------------- */

enum status trainer_evaluate(struct trainer *trainer, struct trainer_report *report,
                             struct err *err)
{
    const struct train_data *data = trainer->data;
    struct objective_result result = {0};
    struct dropout dropout = {0};
    int64_t count = 0;
    *report = (struct trainer_report){.accuracy = NAN};
    if (is_paired(trainer))
        dropout = dropout_of(trainer, EVALUATION_STEP);
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
        TRY(run_passes(trainer, trainer->drawn, unit_texts, n_units, &dropout, 0, &result,
                       &report->tokens, err));
        count += count_losses(trainer, trainer->drawn, n_units * unit_texts);
        dropout.first_row += report->tokens - before;
    }
    report->loss = count > 0 ? result.loss / (double)count : 0;
    if (trainer->settings.objective == OBJECTIVE_CLASSIFY)
        report->accuracy = (double)result.correct / (double)count;
    return STATUS_OK;
}
