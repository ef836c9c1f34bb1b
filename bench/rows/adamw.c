/* AdamW and the gradient's norm, as the CPU and as a GPU has it, in the harness, over an adapter's
 * parameters. */
#include "kernels/adamw.h"
#include <math.h>
#include <string.h>
#include "bench/operations.h"

enum { PARAMETERS_N };

/* LoRA of rank 32 on q, k, v, o, gate, up and down of four layers: beyond any cache. */
static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    int64_t q = (int64_t)model->heads * model->head_dim;
    int64_t kv = (int64_t)model->kv_heads * model->head_dim;
    int64_t hidden = model->hidden, intermediate = model->intermediate;
    (void)full;
    shapes[0][PARAMETERS_N] =
        4 * 32 * (2 * (hidden + q) + 2 * (hidden + kv) + 3 * (hidden + intermediate));
    return 1;
}

/* ---- sum_of_squares ------------------------------------------------------------------------- */

enum { SUM, X };

static enum status prepare_squares(struct trial *trial, struct err *err)
{
    TRY(trial_tensor(trial, TENSOR_F64, TENSOR_WRITTEN, 1, 0, err));
    return trial_tensor(trial, TENSOR_F32, TENSOR_READ, trial->size[PARAMETERS_N], 1, err);
}

static enum status run_squares(struct trial *trial, struct err *err)
{
    (void)err;
    *(double *)trial->tensors[SUM].host =
        sum_of_squares(trial->device, trial_at(trial, X), trial->size[PARAMETERS_N]);
    return STATUS_OK;
}

static enum status verify_squares(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int64_t n = trial->size[PARAMETERS_N];
    double *x = trial_doubles(trial, X);
    if (!x)
        return err_no_memory(err, "a reference", 0);
    double want = sum_of_squares_ref(x, n);
    verdict_value(verdict, *(const double *)trial->tensors[SUM].host, want,
                  sum_of_squares_tolerance(n) * want);
    return STATUS_OK;
}

const struct bench_operation bench_sum_of_squares = {
    .name = "sum_of_squares",
    .dtype = "f32",
    .dimensions = {"n"},
    .shapes = shapes,
    .prepare = prepare_squares,
    .run = run_squares,
    .verify = verify_squares,
};

/* ---- gradient_norm -------------------------------------------------------------------------- */

/* The record and whether to stop, as bytes and as the number that it is. */
enum { RECORD, STOPPED, NORM_X, SCRATCH };
#define CLIP 1.0

static enum status prepare_norm(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[PARAMETERS_N];
    TRY(trial_tensor(trial, TENSOR_U8, TENSOR_UPDATED, sizeof(struct step_record), 0, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_UPDATED, 1, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, n, 1, err));
    return trial_tensor(trial, TENSOR_F64, TENSOR_PARTS, gradient_norm_scratch(n), 0, err);
}

static enum status run_norm(struct trial *trial, struct err *err)
{
    return gradient_norm_cuda(trial->device, trial_at(trial, RECORD), trial_at(trial, STOPPED), 1,
                              trial_at(trial, NORM_X), trial->size[PARAMETERS_N], CLIP,
                              trial_at(trial, SCRATCH), err);
}

static enum status verify_norm(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int64_t n = trial->size[PARAMETERS_N];
    double *x = trial_doubles(trial, NORM_X);
    struct step_record record;
    if (!x)
        return err_no_memory(err, "a reference", 0);
    memcpy(&record, trial->tensors[RECORD].host, sizeof record);
    double want = sqrt(sum_of_squares_ref(x, n)), scale = clip_scale(want, CLIP);
    verdict_value(verdict, record.norm, want, sum_of_squares_tolerance(n) * want);
    verdict_value(verdict, (double)record.gradient_scale, scale, 0x1p-23 * scale);
    verdict_value(verdict, record.stopped + *(const int32_t *)trial->tensors[STOPPED].host, 0, 0);
    return STATUS_OK;
}

/* A GPU's. */
const struct bench_operation bench_gradient_norm = {
    .name = "gradient_norm",
    .dtype = "f32",
    .dimensions = {"n"},
    .cuda = true,
    .not_cpu = true,
    .shapes = shapes,
    .prepare = prepare_norm,
    .run = run_norm,
    .verify = verify_norm,
};

/* ---- adamw_step ----------------------------------------------------------------------------- */

enum { PARAMETERS, GRADIENTS, M, V };

/* Gradients are 0 after the first run, and a beta1 of 0.9 would have m subnormal, hence slow, in a
 * thousand more. */
static const struct adamw settings = {
    .learning_rate = 1e-3,
    .beta1 = 0.999,
    .beta2 = 0.999,
    .eps = 1e-8,
    .weight_decay = 0.01,
    .step = 10,
    .gradient_scale = 0.5,
};

static enum status prepare_step(struct trial *trial, struct err *err)
{
    for (int i = PARAMETERS; i <= V; i++)
        TRY(trial_tensor(trial, TENSOR_F32, TENSOR_UPDATED, trial->size[PARAMETERS_N], 1, err));
    float *v = trial->tensors[V].host;
    for (size_t i = 0; i < trial->tensors[V].n; i++)
        v[i] *= v[i]; /* not negative */
    return STATUS_OK;
}

static enum status run_step(struct trial *trial, struct err *err)
{
    return adamw_step(trial->device, trial_at(trial, PARAMETERS), trial_at(trial, GRADIENTS),
                      trial_at(trial, M), trial_at(trial, V), trial->size[PARAMETERS_N], &settings,
                      err);
}

static enum status verify_step(struct trial *trial, struct verdict *verdict, struct err *err)
{
    static const int outputs[] = {PARAMETERS, M, V};
    int64_t n = trial->size[PARAMETERS_N];
    double *at[V + 1], *allowed = trial_wanted(trial, 3 * n);
    for (int i = PARAMETERS; i <= V; i++)
        if (!(at[i] = trial_doubles(trial, i)) || !allowed)
            return err_no_memory(err, "a reference", 0);
    adamw_step_ref(at[PARAMETERS], at[GRADIENTS], at[M], at[V], allowed, n, &settings);
    for (int64_t i = 0; i < n; i++) {
        for (int o = 0; o < 3; o++)
            verdict_value(verdict, ((const float *)trial->tensors[outputs[o]].host)[i],
                          at[outputs[o]][i], allowed[o * n + i]);
        verdict_value(verdict, ((const float *)trial->tensors[GRADIENTS].host)[i], 0, 0);
    }
    return STATUS_OK;
}

const struct bench_operation bench_adamw = {
    .name = "adamw_step",
    .dtype = "f32",
    .dimensions = {"n"},
    .cuda = true,
    .shapes = shapes,
    .prepare = prepare_step,
    .run = run_step,
    .verify = verify_step,
};
