/* SwiGLU and its gradient in the harness. */
#include <math.h>
#include "bench/operations.h"
#include "kernels/swiglu.h"

enum { N, D };
enum { Y, GATE, UP };

static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    return token_shapes(shapes, model->intermediate, full);
}

static enum status prepare(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], d = trial->size[D];
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_WRITTEN, n * d, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, n * d, 6, err));
    return trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, n * d, 2, err);
}

static enum status run(struct trial *trial, struct err *err)
{
    return swiglu_fwd(trial->device, trial_at(trial, Y), trial_at(trial, GATE), trial_at(trial, UP),
                      (int)trial->size[N], (int)trial->size[D], err);
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int n = (int)trial->size[N], d = (int)trial->size[D];
    double *gate = trial_doubles(trial, GATE), *up = trial_doubles(trial, UP);
    double *want = trial_wanted(trial, (int64_t)n * d);
    if (!gate || !up || !want)
        return err_no_memory(err, "a reference", 0);
    swiglu_fwd_ref(want, gate, up, n, d);
    /* exp 1.01 ulp, the sum, the division and the product half each (tests/test_swiglu.c); on a
     * GPU an exponent of up to 9 errs twice, 8 u, and 10 u more (docs/numerics.md) */
    double roundings = trial->device->kind == DEVICE_CUDA ? 18 : 6;
    verdict_floats(verdict, trial->tensors[Y].host, want, (int64_t)n * d, 0,
                   roundings * 0x1p-24 + trial_rounding(trial));
    return STATUS_OK;
}

const struct bench_operation bench_swiglu = {
    .name = "swiglu_fwd",
    .dtype = "f32",
    .dimensions = {"n", "d"},
    .cuda = true,
    .shapes = shapes,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};

/* ---- the gradient --------------------------------------------------------------------------- */

enum { BWD_DGATE, BWD_DUP, BWD_DY, BWD_GATE, BWD_UP };

static enum status prepare_bwd(struct trial *trial, struct err *err)
{
    int64_t size = trial->size[N] * trial->size[D];
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_WRITTEN, size, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_WRITTEN, size, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, size, 1, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, size, 6, err));
    return trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, size, 2, err);
}

static enum status run_bwd(struct trial *trial, struct err *err)
{
    return swiglu_bwd(trial->device, trial_at(trial, BWD_DGATE), trial_at(trial, BWD_DUP),
                      trial_at(trial, BWD_DY), trial_at(trial, BWD_GATE), trial_at(trial, BWD_UP),
                      (int)trial->size[N], (int)trial->size[D], err);
}

static enum status verify_bwd(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int n = (int)trial->size[N], d = (int)trial->size[D];
    int64_t size = (int64_t)n * d;
    double *dy = trial_doubles(trial, BWD_DY), *gate = trial_doubles(trial, BWD_GATE);
    double *up = trial_doubles(trial, BWD_UP), *dgate = trial_wanted(trial, size);
    double *dup = trial_wanted(trial, size), *magnitude = trial_wanted(trial, size);
    if (!dy || !gate || !up || !dgate || !dup || !magnitude)
        return err_no_memory(err, "a reference", 0);
    swiglu_bwd_ref(dgate, dup, magnitude, dy, gate, up, n, d);
    const float *by_gate = trial->tensors[BWD_DGATE].host, *by_up = trial->tensors[BWD_DUP].host;
    bool cuda = trial->device->kind == DEVICE_CUDA;
    double rounding = cuda ? trial_rounding(trial) : 0; /* on the CPU it is in the share */
    for (int64_t i = 0; i < size; i++) {
        double share = cuda ? SWIGLU_BWD_CUDA_TOLERANCE(gate[i]) : SWIGLU_BWD_TOLERANCE;
        verdict_value(verdict, (double)by_gate[i], dgate[i],
                      share * magnitude[i] + rounding * fabs(dgate[i]));
        verdict_value(verdict, (double)by_up[i], dup[i], (share + rounding) * fabs(dup[i]));
    }
    return STATUS_OK;
}

const struct bench_operation bench_swiglu_bwd = {
    .name = "swiglu_bwd",
    .dtype = "f32",
    .dimensions = {"n", "d"},
    .cuda = true,
    .shapes = shapes,
    .prepare = prepare_bwd,
    .run = run_bwd,
    .verify = verify_bwd,
};
