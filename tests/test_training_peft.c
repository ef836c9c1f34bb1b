/* Twenty steps beside PEFT's: the same NF4 weights, initial adapter and batches, without dropout.
 * Golden numbers: tests/golden/make_peft_training.py, which says how far float32's own noise
 * carries: losses 1.4e-6, gradients 8e-6, changes 6e-5 at the most. */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/training.h"
#include "tests/training_golden.h"

#define BATCH      4
#define ACCUMULATE 4

#define LOSS_TOLERANCE     1e-4
#define GRADIENT_TOLERANCE 1e-4
#define CHANGE_TOLERANCE   1e-2

static const struct parity_case {
    const char *run, *model; /* model: under ../shared/data or models */
    bool shared;
    enum objective_kind objective;
    int rank;
    double alpha;
} cases[] = {
    {"tinystories_classify", "models/tinystories-656k", true, OBJECTIVE_CLASSIFY, 8, 16},
    {"tinystories_next_token", "models/tinystories-656k", true, OBJECTIVE_NEXT_TOKEN, 8, 16},
    {"smollm2_classify", "smollm2-135m", false, OBJECTIVE_CLASSIFY, 2, 4},
};
#define N_CASES ((int)(sizeof cases / sizeof *cases))

struct parity {
    struct training_golden golden;
    struct device device;
    struct embedder embedder;
    struct lora_adapter adapter;
    struct train_data data;
    struct trainer trainer;
    float *initial, *gradient;
};

static void must(enum status status, const struct err *err)
{
    ck_assert_msg(status == STATUS_OK, "%s", err->text);
}

/* The golden texts, as if they had been read. */
static void take_texts(struct train_data *data, const struct training_golden *golden)
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
                                             .label = text->label,
                                             .row = (size_t)i};
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
    int64_t draw = (int64_t)step * BATCH * ACCUMULATE;
    data->epoch = draw / data->n_training;
    for (int i = 0; i < BATCH * ACCUMULATE; i++)
        data->order[(draw + i) % data->n_training] =
            training_golden_draw(step, i / BATCH, i % BATCH);
}

static void open_trainer(struct parity *p, const struct parity_case *c, struct err *err)
{
    struct train_plan plan;
    int longest = train_data_longest(&p->data);
    p->embedder.max_tokens = longest;
    must(train_plan_make(&plan,
                         &(struct train_plan_request){
                             .config = &p->embedder.config,
                             .adapter = &p->adapter,
                             .objective = c->objective,
                             .batch = BATCH,
                             .accumulate = ACCUMULATE,
                             .longest = longest,
                         },
                         err),
         err);
    must(trainer_open(&p->trainer, &p->device, &p->embedder, &p->adapter, &p->data, &plan,
                      &(struct trainer_settings){
                          .objective = c->objective,
                          .steps = TRAINING_GOLDEN_STEPS,
                          .batch = BATCH,
                          .accumulate = ACCUMULATE,
                          .learning_rate = 1e-3,
                          .clip = 1,
                          .schedule = SCHEDULE_CONSTANT,
                      },
                      err),
         err);
}

static void parity_open(struct parity *p, const struct parity_case *c, const char *model,
                        int device)
{
    static const char *const labels[] = {"a", "b", "c", "d"};
    struct err err;
    bool classify = c->objective == OBJECTIVE_CLASSIFY;
    *p = (struct parity){0};
    training_golden_open(&p->golden, c->run);
    ck_assert(test_device(device, &p->device));
    must(embedder_open_texts(&p->embedder, model, "{text}", 0, &err), &err);
    must(embedder_load(&p->embedder, &p->device, model, PRECISION_NF4, p->embedder.config.n_layers,
                       0, NULL, &err),
         &err);
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
    p->gradient = malloc(bytes);
    memcpy(p->initial, p->adapter.parameters, bytes);
    take_texts(&p->data, &p->golden);
    open_trainer(p, c, &err);
}

static void parity_close(struct parity *p)
{
    trainer_close(&p->trainer);
    embedder_close(&p->embedder);
    lora_adapter_free(&p->adapter);
    train_data_free(&p->data);
    device_close(&p->device);
    training_golden_close(&p->golden);
    free(p->initial);
    free(p->gradient);
}

/* Of the first step, before clipping: AdamW's first moment is a tenth of what it was given. */
static void recover_gradient(struct parity *p, double norm)
{
    double scale = 0.1 * fmin(1, 1 / (norm + 1e-6));
    for (int64_t i = 0; i < p->golden.n_parameters; i++)
        p->gradient[i] = (float)((double)p->trainer.m[i] / scale);
}

static double relative(double got, double want)
{
    return fabs(got - want) / fabs(want);
}

/* How far the parameters have come, against PEFT's. */
static double change_distance(struct parity *p, int *worst)
{
    float *change = malloc((size_t)p->golden.n_parameters * sizeof *change);
    for (int64_t i = 0; i < p->golden.n_parameters; i++)
        change[i] = p->adapter.parameters[i] - p->initial[i];
    double distance =
        training_golden_largest_distance(&p->golden, TRAINING_GOLDEN_CHANGE, change, worst);
    free(change);
    return distance;
}

static void check_case(const struct parity_case *c, const char *model, int device)
{
    struct parity p;
    struct err err;
    int worst;
    parity_open(&p, c, model, device);
    for (int step = 0; step < TRAINING_GOLDEN_STEPS; step++) {
        struct trainer_report report;
        set_order(&p.data, step);
        must(training_step(&p.trainer, &report, &err), &err);
        ck_assert_msg(relative(report.loss, p.golden.losses[step]) <= LOSS_TOLERANCE,
                      "%s, step %d: loss %.9g, not %.9g", c->run, step + 1, report.loss,
                      p.golden.losses[step]);
        ck_assert_msg(relative(report.norm, p.golden.norms[step]) <= LOSS_TOLERANCE * 10,
                      "%s, step %d: norm %.9g, not %.9g", c->run, step + 1, report.norm,
                      p.golden.norms[step]);
        if (step > 0)
            continue;
        recover_gradient(&p, report.norm);
        double distance = training_golden_largest_distance(&p.golden, TRAINING_GOLDEN_GRADIENT,
                                                           p.gradient, &worst);
        ck_assert_msg(distance <= GRADIENT_TOLERANCE, "%s: gradient of %s: %g", c->run,
                      training_golden_name(&p.golden, worst), distance);
    }
    double distance = change_distance(&p, &worst);
    ck_assert_msg(distance <= CHANGE_TOLERANCE, "%s: change of %s: %g", c->run,
                  training_golden_name(&p.golden, worst), distance);
    parity_close(&p);
}

/* NULL: not there. A static buffer: those of support.h are used again soon. */
static const char *model_of(const struct parity_case *c)
{
    static char path[512];
    const char *found = c->shared ? shared_data(c->model) : local_model(c->model);
    if (found)
        snprintf(path, sizeof path, "%s", found);
    return found ? path : NULL;
}

START_TEST(steps_are_those_of_peft)
{
    const struct parity_case *c = &cases[_i];
    const char *model = model_of(c);
    if (!model)
        SKIP("%s: needs %s", c->run, c->model);
    check_case(c, model, c->shared ? 0 : 2);
    if (c->shared)
        check_case(c, model, 1);
}
END_TEST

/* The measure sees a run whose optimiser does nothing, and one whose rate is a tenth off. */
START_TEST(the_measure_sees_other_runs)
{
    const struct parity_case *c = &cases[0];
    const char *model = model_of(c);
    struct parity p;
    struct err err;
    int worst;
    if (!model)
        SKIP("needs %s", c->model);
    parity_open(&p, c, model, 0);
    ck_assert_double_eq_tol(change_distance(&p, &worst), 1, 1e-9);
    p.trainer.settings.learning_rate *= 1.1;
    for (int step = 0; step < TRAINING_GOLDEN_STEPS; step++) {
        struct trainer_report report;
        set_order(&p.data, step);
        must(training_step(&p.trainer, &report, &err), &err);
    }
    ck_assert_double_gt(change_distance(&p, &worst), 2 * CHANGE_TOLERANCE);
    parity_close(&p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("training_peft");
    TCase *tcase = tcase_create("training_peft");
    tcase_add_loop_test(tcase, steps_are_those_of_peft, 0, N_CASES);
    tcase_add_test(tcase, the_measure_sees_other_runs);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
