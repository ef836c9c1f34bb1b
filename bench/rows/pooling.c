/* Mean pooling and its gradient in the harness. */
#include "kernels/pooling.h"
#include <math.h>
#include "bench/operations.h"

enum { TEXTS, LENGTH, D };
enum { OUT, HIDDEN, BEGIN, END };

static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    (void)full;
    shapes[0][TEXTS] = 16, shapes[0][LENGTH] = 44, shapes[0][D] = model->hidden;
    return 1;
}

static const char *refuse(const int64_t *size)
{
    return size[TEXTS] * size[LENGTH] > INT32_MAX ? "texts times length is below 2^31" : NULL;
}

static void set_ranges(struct trial *trial, int begin, int end)
{
    int64_t length = trial->size[LENGTH];
    for (int64_t t = 0; t < trial->size[TEXTS]; t++) {
        ((int32_t *)trial->tensors[begin].host)[t] = (int32_t)(t * length);
        ((int32_t *)trial->tensors[end].host)[t] = (int32_t)((t + 1) * length);
    }
}

static enum status prepare(struct trial *trial, struct err *err)
{
    int64_t texts = trial->size[TEXTS], length = trial->size[LENGTH], d = trial->size[D];
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_WRITTEN, texts * d, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, texts * length * d, 2, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_READ, texts, 0, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_READ, texts, 0, err));
    set_ranges(trial, BEGIN, END);
    return STATUS_OK;
}

static enum status run(struct trial *trial, struct err *err)
{
    return pooling_fwd(trial->device, trial_at(trial, OUT), trial_at(trial, HIDDEN),
                       trial_at(trial, BEGIN), trial_at(trial, END), (int)trial->size[TEXTS],
                       (int)trial->size[D], POOL_MEAN, err);
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int texts = (int)trial->size[TEXTS], d = (int)trial->size[D];
    double *hidden = trial_doubles(trial, HIDDEN);
    double *want = trial_wanted(trial, (int64_t)texts * d);
    if (!hidden || !want)
        return err_no_memory(err, "a reference", 0);
    pooling_fwd_ref(want, hidden, trial->tensors[BEGIN].host, trial->tensors[END].host, texts, d,
                    POOL_MEAN);
    /* float64 sums of |x| <= 2, rounded once; on a GPU float32, chains of 32 rows and one of them
     */
    double length = (double)trial->size[LENGTH];
    double absolute = trial->device->kind == DEVICE_CUDA
                          ? (fmin(length, 32) + length / 32 + 2) * 2 * 0x1p-24
                          : length * 2 * 0x1p-53;
    verdict_floats(verdict, trial->tensors[OUT].host, want, (int64_t)texts * d, absolute,
                   1.001 * 0x1p-24);
    return STATUS_OK;
}

const struct bench_operation bench_pooling = {
    .name = "pooling_fwd",
    .dtype = "f32",
    .dimensions = {"texts", "length", "d"},
    .cuda = true,
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};

/* ---- the gradient --------------------------------------------------------------------------- */

enum { BWD_DHIDDEN, BWD_DOUT, BWD_BEGIN, BWD_END };

static enum status prepare_bwd(struct trial *trial, struct err *err)
{
    int64_t texts = trial->size[TEXTS], n = texts * trial->size[LENGTH], d = trial->size[D];
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_UPDATED, n * d, 1, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, texts * d, 1, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_READ, texts, 0, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_READ, texts, 0, err));
    set_ranges(trial, BWD_BEGIN, BWD_END);
    return STATUS_OK;
}

static enum status run_bwd(struct trial *trial, struct err *err)
{
    int64_t texts = trial->size[TEXTS], n = texts * trial->size[LENGTH];
    return pooling_bwd(trial->device, trial_at(trial, BWD_DHIDDEN), trial_at(trial, BWD_DOUT),
                       trial_at(trial, BWD_BEGIN), trial_at(trial, BWD_END), (int)texts, (int)n,
                       (int)trial->size[D], POOL_MEAN, err);
}

static enum status verify_bwd(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int texts = (int)trial->size[TEXTS], d = (int)trial->size[D];
    double *want = trial_doubles(trial, BWD_DHIDDEN), *dout = trial_doubles(trial, BWD_DOUT);
    if (!want || !dout)
        return err_no_memory(err, "a reference", 0);
    pooling_bwd_ref(want, dout, trial->tensors[BWD_BEGIN].host, trial->tensors[BWD_END].host, texts,
                    d, POOL_MEAN);
    /* A quotient of at most 1 is rounded, and a sum; on a GPU that to bfloat16 too. */
    verdict_floats(verdict, trial->tensors[BWD_DHIDDEN].host, want,
                   (int64_t)trial->tensors[BWD_DHIDDEN].n, 0x1p-24, 1.001 * trial_rounding(trial));
    return STATUS_OK;
}

const struct bench_operation bench_pooling_bwd = {
    .name = "pooling_bwd",
    .dtype = "f32",
    .dimensions = {"texts", "length", "d"},
    .cuda = true,
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare_bwd,
    .run = run_bwd,
    .verify = verify_bwd,
};
