/* RMSNorm and its gradient in the harness. */
#include <math.h>
#include "bench/operations.h"
#include "kernels/rmsnorm.h"

enum { N, D };
enum { Y, X, WEIGHT };
#define EPS 1e-5f

static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    return token_shapes(shapes, model->hidden, full);
}

static enum status prepare(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], d = trial->size[D];
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_WRITTEN, n * d, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, n * d, 2, err));
    return trial_tensor(trial, TENSOR_F32, TENSOR_READ, d, 2, err);
}

static enum status run(struct trial *trial, struct err *err)
{
    return rmsnorm_fwd(trial->device, trial_at(trial, Y), trial_at(trial, X),
                       trial_at(trial, WEIGHT), (int)trial->size[N], (int)trial->size[D], EPS, err);
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int n = (int)trial->size[N], d = (int)trial->size[D];
    double *x = trial_doubles(trial, X), *weight = trial_doubles(trial, WEIGHT);
    double *want = trial_wanted(trial, (int64_t)n * d);
    if (!x || !weight || !want)
        return err_no_memory(err, "a reference", 0);
    rmsnorm_fwd_ref(want, x, weight, n, d, (double)EPS);
    verdict_floats(verdict, trial->tensors[Y].host, want, (int64_t)n * d, 0,
                   rmsnorm_fwd_tolerance(d) + trial_rounding(trial));
    return STATUS_OK;
}

const struct bench_operation bench_rmsnorm = {
    .name = "rmsnorm_fwd",
    .dtype = "f32",
    .dimensions = {"n", "d"},
    .cuda = true,
    .shapes = shapes,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};

/* ---- the gradient --------------------------------------------------------------------------- */

enum { BWD_DX, BWD_DY, BWD_X, BWD_WEIGHT };

static enum status prepare_bwd(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], d = trial->size[D];
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_WRITTEN, n * d, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, n * d, 1, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, n * d, 2, err));
    return trial_tensor(trial, TENSOR_F32, TENSOR_READ, d, 2, err);
}

static enum status run_bwd(struct trial *trial, struct err *err)
{
    return rmsnorm_bwd(trial->device, trial_at(trial, BWD_DX), trial_at(trial, BWD_DY),
                       trial_at(trial, BWD_X), trial_at(trial, BWD_WEIGHT), (int)trial->size[N],
                       (int)trial->size[D], EPS, false, err);
}

static enum status verify_bwd(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int n = (int)trial->size[N], d = (int)trial->size[D];
    double *dy = trial_doubles(trial, BWD_DY), *x = trial_doubles(trial, BWD_X);
    double *weight = trial_doubles(trial, BWD_WEIGHT);
    double *want = trial_wanted(trial, (int64_t)n * d);
    double *magnitude = trial_wanted(trial, (int64_t)n * d);
    if (!dy || !x || !weight || !want || !magnitude)
        return err_no_memory(err, "a reference", 0);
    rmsnorm_bwd_ref(want, magnitude, dy, x, weight, n, d, (double)EPS, false);
    const float *got = trial->tensors[BWD_DX].host;
    bool cuda = trial->device->kind == DEVICE_CUDA;
    double share = cuda ? rmsnorm_bwd_cuda_tolerance(d) : rmsnorm_bwd_tolerance(d);
    double rounding = cuda ? trial_rounding(trial) : 0; /* on the CPU it is in the share */
    for (size_t i = 0; i < trial->tensors[BWD_DX].n; i++)
        verdict_value(verdict, (double)got[i], want[i],
                      share * magnitude[i] + rounding * fabs(want[i]));
    return STATUS_OK;
}

const struct bench_operation bench_rmsnorm_bwd = {
    .name = "rmsnorm_bwd",
    .dtype = "f32",
    .dimensions = {"n", "d"},
    .cuda = true,
    .shapes = shapes,
    .prepare = prepare_bwd,
    .run = run_bwd,
    .verify = verify_bwd,
};
