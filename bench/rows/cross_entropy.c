/* Softmax and cross-entropy in the harness: over classes, and over a vocabulary. */
#include "kernels/cross_entropy.h"
#include "bench/operations.h"

enum { N, D };
#define LIMIT  8.0 /* of logits' size */
#define WEIGHT 0.5f

static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    /* The chunk of a head over a vocabulary; a batch's classes are a few microseconds. */
    shapes[0][N] = 64, shapes[0][D] = model->vocabulary;
    shapes[1][N] = 1024, shapes[1][D] = 150;
    return full ? 2 : 1;
}

static const char *refuse(const int64_t *size)
{
    return size[N] * size[D] > INT32_MAX ? "n times d is below 2^31" : NULL;
}

static bool on_cuda(const struct trial *trial)
{
    return trial->device->kind == DEVICE_CUDA;
}

/* ---- softmax_fwd ---------------------------------------------------------------------------- */

enum { Y, X };

static enum status prepare_softmax(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], d = trial->size[D];
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_WRITTEN, n * d, 0, err));
    return trial_tensor(trial, TENSOR_F32, TENSOR_READ, n * d, LIMIT, err);
}

static enum status run_softmax(struct trial *trial, struct err *err)
{
    return softmax_fwd(trial->device, trial_at(trial, Y), trial_at(trial, X), (int)trial->size[N],
                       (int)trial->size[D], err);
}

static enum status verify_softmax(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int n = (int)trial->size[N], d = (int)trial->size[D];
    double *x = trial_doubles(trial, X), *want = trial_wanted(trial, (int64_t)n * d);
    if (!x || !want)
        return err_no_memory(err, "a reference", 0);
    softmax_fwd_ref(want, x, n, d);
    verdict_floats(verdict, trial->tensors[Y].host, want, (int64_t)n * d, 0x1p-126,
                   on_cuda(trial) ? softmax_fwd_cuda_tolerance(PRECISION_F32, d, 2 * LIMIT)
                                  : softmax_fwd_tolerance(d, 2 * LIMIT));
    return STATUS_OK;
}

const struct bench_operation bench_softmax = {
    .name = "softmax_fwd",
    .dtype = "f32",
    .dimensions = {"n", "d"},
    .cuda = true,
    .no_activations = true,
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare_softmax,
    .run = run_softmax,
    .verify = verify_softmax,
};

/* ---- cross_entropy -------------------------------------------------------------------------- */

enum { LOSSES, DLOGITS, LOGITS, LABELS };

static enum status prepare_cross_entropy(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], d = trial->size[D];
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_WRITTEN, n, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_WRITTEN, n * d, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, n * d, LIMIT, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_READ, n, 0, err));
    int32_t *labels = trial->tensors[LABELS].host;
    for (int64_t i = 0; i < n; i++)
        labels[i] = (int32_t)(i * 7919 % d);
    return STATUS_OK;
}

static enum status run_cross_entropy(struct trial *trial, struct err *err)
{
    return cross_entropy(trial->device, trial_at(trial, LOSSES), trial_at(trial, DLOGITS),
                         trial_at(trial, LOGITS), trial_at(trial, LABELS), (int)trial->size[N],
                         (int)trial->size[D], WEIGHT, err);
}

static enum status verify_cross_entropy(struct trial *trial, struct verdict *verdict,
                                        struct err *err)
{
    int n = (int)trial->size[N], d = (int)trial->size[D];
    double *logits = trial_doubles(trial, LOGITS), *losses = trial_wanted(trial, n);
    double *want = trial_wanted(trial, (int64_t)n * d);
    if (!logits || !losses || !want)
        return err_no_memory(err, "a reference", 0);
    cross_entropy_ref(losses, want, logits, trial->tensors[LABELS].host, n, d, (double)WEIGHT);
    bool cuda = on_cuda(trial);
    verdict_floats(verdict, trial->tensors[LOSSES].host, losses, n,
                   cuda ? cross_entropy_cuda_tolerance(PRECISION_BF16, d)
                        : cross_entropy_tolerance(d),
                   0x1p-24);
    verdict_floats(verdict, trial->tensors[DLOGITS].host, want, (int64_t)n * d, 0x1p-126,
                   cuda ? softmax_fwd_cuda_tolerance(PRECISION_BF16, d, 2 * LIMIT) + 0x1p-8
                        : softmax_fwd_tolerance(d, 2 * LIMIT));
    return STATUS_OK;
}

const struct bench_operation bench_cross_entropy = {
    .name = "cross_entropy",
    .dtype = "f32",
    .dimensions = {"n", "d"},
    .cuda = true,
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare_cross_entropy,
    .run = run_cross_entropy,
    .verify = verify_cross_entropy,
};
