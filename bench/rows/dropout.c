/* Dropout in the harness. */
#include "kernels/dropout.h"
#include "bench/operations.h"

enum { N, D };
enum { Y, X };

static const struct dropout dropout = {.seed = 1, .step = 2, .stream = 3, .threshold = 6554};

static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    return token_shapes(shapes, model->hidden, full);
}

static enum status prepare(struct trial *trial, struct err *err)
{
    int64_t size = trial->size[N] * trial->size[D];
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_WRITTEN, size, 0, err));
    return trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, size, 2, err);
}

static enum status run(struct trial *trial, struct err *err)
{
    return dropout_fwd(trial->device, trial_at(trial, Y), trial_at(trial, X), &dropout,
                       (int)trial->size[N], (int)trial->size[D], false, err);
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int64_t size = trial->size[N] * trial->size[D];
    double *want = trial_wanted(trial, size), *x = trial_doubles(trial, X);
    if (!want || !x)
        return err_no_memory(err, "a reference", 0);
    dropout_factors_ref(want, &dropout, (int)trial->size[N], (int)trial->size[D]);
    for (int64_t i = 0; i < size; i++)
        want[i] *= x[i];
    /* The scale and the product are rounded, in float32; then the result to its type. */
    double rounding = trial->device->kind == DEVICE_CUDA ? trial_rounding(trial) : 0;
    verdict_floats(verdict, trial->tensors[Y].host, want, size, 0, 2.001 * 0x1p-24 + rounding);
    return STATUS_OK;
}

const struct bench_operation bench_dropout = {
    .name = "dropout_fwd",
    .dtype = "f32",
    .dimensions = {"n", "d"},
    .cuda = true,
    .shapes = shapes,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};
