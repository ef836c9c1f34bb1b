/* See training_parity.h. */
#include "tests/training_parity.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/cuda_support.h"

#define TINYSTORIES "models/tinystories-656k"

#define TEXTS_A_STEP (TRAINING_GOLDEN_BATCH * TRAINING_GOLDEN_ACCUMULATE)
#define NEAR         32 /* rows between a text and its positive, at most */

const struct parity_case parity_cases[PARITY_CASES] = {
    {"tinystories_classify", TINYSTORIES, false, OBJECTIVE_CLASSIFY, 8, 16},
    {"tinystories_next_token", TINYSTORIES, false, OBJECTIVE_NEXT_TOKEN, 8, 16},
    {"tinystories_contrastive", TINYSTORIES, false, OBJECTIVE_CONTRASTIVE, 4, 8},
    {"tiny_contrastive", NULL, false, OBJECTIVE_CONTRASTIVE, 4, 8},
    {"smollm2_classify", "smollm2-135m", true, OBJECTIVE_CLASSIFY, 2, 4},
};

const char *parity_model(const struct parity_case *c)
{
    static char path[512]; /* those of support.h are used again soon */
    if (!c->model)
        return tiny_model();
    const char *found = c->large ? local_model(c->model) : shared_data(c->model);
    if (found)
        snprintf(path, sizeof path, "%s", found);
    return found ? path : NULL;
}

static void must(enum status status, const struct err *err)
{
    ck_assert_msg(status == STATUS_OK, "%s", err->text);
}

/* The positive of a text, where that is an anchor. */
static int positive_of(int text)
{
    return (text ^ text >> 1) & 2 ? text ^ NEAR : text ^ 1;
}

/* Pairs are groups of two, so that there is nothing to draw. */
static int label_of(const struct training_golden *golden, enum objective_kind objective, int text)
{
    int positive = positive_of(text);
    if (objective == OBJECTIVE_CONTRASTIVE)
        return text < positive ? text : positive;
    return golden->texts[text].label;
}

/* The golden texts, as if they had been read. */
static void take_texts(struct train_data *data, const struct training_golden *golden,
                       enum objective_kind objective)
{
    struct err err;
    size_t n_tokens = 0;
    for (int i = 0; i < TRAINING_GOLDEN_TEXTS; i++)
        n_tokens += (size_t)golden->texts[i].n_tokens;
    data->texts = mem_alloc_zero(TRAINING_GOLDEN_TEXTS, sizeof *data->texts);
    data->tokens = mem_alloc(n_tokens, sizeof *data->tokens);
    for (int i = 0; i < TRAINING_GOLDEN_TEXTS; i++) {
        const struct training_golden_text *text = &golden->texts[i];
        data->texts[i] = (struct train_text){.first = data->n_tokens,
                                             .n_tokens = text->n_tokens,
                                             .label = label_of(golden, objective, i),
                                             .row = (size_t)i,
                                             .mean_begin = 1,
                                             .mean_end = text->n_tokens};
        memcpy(data->tokens + data->n_tokens, text->tokens,
               (size_t)text->n_tokens * sizeof *text->tokens);
        data->n_tokens += (size_t)text->n_tokens;
    }
    data->n_texts = TRAINING_GOLDEN_TEXTS;
    must(train_data_split_at(data, TRAINING_GOLDEN_TEXTS, 0, &err), &err);
}

/* The golden order in the place of the one that would be drawn. */
static void set_order(struct train_data *data, int step)
{
    int64_t draw = (int64_t)step * TEXTS_A_STEP;
    data->epoch = draw / data->n_training;
    for (int i = 0; i < TEXTS_A_STEP; i++)
        data->order[(draw + i) % data->n_training] =
            training_golden_draw(step, i / TRAINING_GOLDEN_BATCH, i % TRAINING_GOLDEN_BATCH);
}

static struct train_plan plan_for(struct parity *p, const struct parity_case *c)
{
    struct train_plan plan;
    struct err err;
    int longest = train_data_longest(&p->data);
    p->embedder.max_tokens = longest;
    must(train_plan_make(&plan,
                         &(struct train_plan_request){
                             .config = &p->embedder.config,
                             .adapter = &p->adapter,
                             .objective = c->objective,
                             .batch = TRAINING_GOLDEN_BATCH,
                             .accumulate = TRAINING_GOLDEN_ACCUMULATE,
                             .longest = longest,
                             .gpu = p->device.kind == DEVICE_CUDA,
                             .precision = PRECISION_NF4,
                         },
                         &err),
         &err);
    return plan;
}

static void open_trainer(struct parity *p, const struct parity_case *c, const char *model)
{
    struct err err;
    struct train_plan plan = plan_for(p, c);
    must(embedder_load(&p->embedder, &p->device, model, PRECISION_NF4, p->embedder.config.n_layers,
                       plan.pass_tokens, NULL, &err),
         &err);
    must(trainer_open(&p->trainer, &p->device, &p->embedder, &p->adapter, &p->data, &plan,
                      &(struct trainer_settings){
                          .objective = c->objective,
                          .temperature = 0.05f,
                          .near = NEAR,
                          .steps = TRAINING_GOLDEN_STEPS,
                          .batch = TRAINING_GOLDEN_BATCH,
                          .accumulate = TRAINING_GOLDEN_ACCUMULATE,
                          .learning_rate = 1e-3,
                          .clip = 1,
                          .schedule = SCHEDULE_CONSTANT,
                      },
                      &err),
         &err);
}

void parity_open(struct parity *p, const struct parity_case *c, const char *model, int device)
{
    static const char *const labels[] = {"a", "b", "c", "d"};
    struct err err;
    bool classify = c->objective == OBJECTIVE_CLASSIFY;
    *p = (struct parity){0};
    training_golden_open(&p->golden, c->run);
    if (device == PARITY_GPU)
        p->device = cuda_test;
    else
        ck_assert(test_device(device, &p->device));
    must(embedder_open_texts(&p->embedder, model, "{text}", 0, &err), &err);
    must(lora_adapter_create(&p->adapter, &p->embedder.config,
                             &(struct lora_settings){
                                 .rank = c->rank,
                                 .alpha = c->alpha,
                                 .task = classify ? ADAPTER_CLASSIFIES : ADAPTER_CONTINUES,
                                 .n_labels = classify ? 4 : 0,
                                 .labels = labels,
                             },
                             0, &err),
         &err);
    ck_assert_int_eq(p->adapter.n_parameters, p->golden.n_parameters);
    size_t bytes = (size_t)p->golden.n_parameters * sizeof(float);
    training_golden_initial(&p->golden, p->adapter.parameters);
    p->initial = malloc(bytes);
    memcpy(p->initial, p->adapter.parameters, bytes);
    take_texts(&p->data, &p->golden, c->objective);
    open_trainer(p, c, model);
}

void parity_close(struct parity *p)
{
    trainer_close(&p->trainer);
    embedder_close(&p->embedder);
    lora_adapter_free(&p->adapter);
    train_data_free(&p->data);
    if (p->device.kind == DEVICE_CPU) /* a GPU is the caller's */
        device_close(&p->device);
    training_golden_close(&p->golden);
    free(p->initial);
}

void parity_step(struct parity *p, int step, struct trainer_report *report)
{
    struct err err;
    set_order(&p->data, step);
    must(training_step(&p->trainer, report, &err), &err);
}

/* AdamW's first moment is a tenth of what it was given. */
float *parity_gradient(struct parity *p, double norm)
{
    struct err err;
    double scale = 0.1 * fmin(1, 1 / (norm + 1e-6));
    float *gradient = malloc((size_t)p->golden.n_parameters * sizeof *gradient);
    must(trainer_fetch(&p->trainer, true, &err), &err);
    for (int64_t i = 0; i < p->golden.n_parameters; i++)
        gradient[i] = (float)((double)p->trainer.m[i] / scale);
    return gradient;
}

float *parity_change(struct parity *p)
{
    struct err err;
    float *change = malloc((size_t)p->golden.n_parameters * sizeof *change);
    must(trainer_fetch(&p->trainer, false, &err), &err);
    for (int64_t i = 0; i < p->golden.n_parameters; i++)
        change[i] = p->adapter.parameters[i] - p->initial[i];
    return change;
}
