/* A head over a vocabulary with its loss, in chunks, in the harness: bfloat16 weights. */
#include "kernels/linear_cross_entropy.h"
#include <math.h>
#include "bench/operations.h"

enum { N, D, VOCABULARY };
enum { LOSSES, DX, X, W, LABELS, LOGITS };
#define WEIGHT 0.5f

static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    int n = token_shapes(shapes, model->hidden, full);
    for (int i = 0; i < n; i++)
        shapes[i][VOCABULARY] = model->vocabulary;
    return n;
}

/* On a GPU in one piece up to 1,024: there dx's product has its blocks from the chunk's rows. */
static int chunk_rows(const struct trial *trial)
{
    if (trial->device->kind == DEVICE_CUDA)
        return trial->size[N] < 1024 ? (int)trial->size[N] : 1024;
    return 64;
}

static const char *refuse(const int64_t *size)
{
    return size[D] * size[VOCABULARY] > INT32_MAX ? "d times vocabulary is below 2^31" : NULL;
}

static enum status prepare(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], d = trial->size[D], vocabulary = trial->size[VOCABULARY];
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_WRITTEN, n, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_WRITTEN, n * d, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, n * d, 1, err));
    TRY(trial_tensor(trial, TENSOR_BF16, TENSOR_READ, vocabulary * d, 0.05, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_READ, n, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_PARTS, chunk_rows(trial) * vocabulary, 0,
                     err));
    int32_t *labels = trial->tensors[LABELS].host;
    for (int64_t i = 0; i < n; i++)
        labels[i] = (int32_t)(i * 7919 % vocabulary);
    /* Two products; the exponentials are less than a hundredth of them. */
    trial->operations = 4.0 * (double)n * (double)d * (double)vocabulary;
    return STATUS_OK;
}

static enum status run(struct trial *trial, struct err *err)
{
    struct dense_matrix w = {PRECISION_BF16, trial_at(trial, W), (int)trial->size[VOCABULARY],
                             (int)trial->size[D]};
    return linear_cross_entropy(trial->device, trial_at(trial, LOSSES), trial_at(trial, DX),
                                trial_at(trial, X), &w, trial_at(trial, LABELS),
                                (int)trial->size[N], WEIGHT, trial_at(trial, LOGITS),
                                chunk_rows(trial), err);
}

/* Multiply-adds that verification may cost: some 200 ms. A row is compared whole. */
#define SAMPLE_COST 0x1p27

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int64_t n = trial->size[N], d = trial->size[D], vocabulary = trial->size[VOCABULARY];
    const float *losses = trial->tensors[LOSSES].host, *dx = trial->tensors[DX].host;
    const int32_t *labels = trial->tensors[LABELS].host;
    enum precision type = trial->device->kind == DEVICE_CUDA ? PRECISION_BF16 : PRECISION_F32;
    double *x = trial_doubles(trial, X), *w = trial_doubles(trial, W);
    double *want = trial_wanted(trial, d), *scratch = trial_wanted(trial, 2 * vocabulary);
    if (!x || !w || !want || !scratch)
        return err_no_memory(err, "a reference", 0);
    int64_t step = (int64_t)fmin(trial->operations / 2 / SAMPLE_COST, (double)(n - 1)) + 1;
    for (int64_t i = 0; i < n; i++) {
        double loss, allowed[2];
        verdict_value(verdict, losses[i], 0, INFINITY); /* finite */
        for (int64_t k = 0; k < d; k++)
            verdict_value(verdict, dx[i * d + k], 0, INFINITY);
        if (i % step && i != n - 1)
            continue;
        linear_cross_entropy_ref(&loss, want, allowed, x + i * d, w, labels + i, 1, (int)vocabulary,
                                 (int)d, (double)WEIGHT, scratch, type);
        verdict_floats(verdict, losses + i, &loss, 1, allowed[0], 0);
        verdict_floats(verdict, dx + i * d, want, d, allowed[1], 0);
    }
    return STATUS_OK;
}

const struct bench_operation bench_linear_cross_entropy = {
    .name = "linear_cross_entropy",
    .dtype = "bf16",
    .dimensions = {"n", "d", "vocabulary"},
    .cuda = true,
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};
