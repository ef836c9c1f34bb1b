/* The contrastive loss of a batch of pairs in the harness. */
#include "kernels/contrastive.h"
#include <math.h>
#include "bench/operations.h"

enum { N, D };
enum { LOSSES, DANCHOR, DPOSITIVE, ANCHOR, POSITIVE, EXCLUDED, SCRATCH };
#define TEMPERATURE 0.0625f
#define WEIGHT      0.5f

static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    static const int batches[] = {64, 16, 256};
    int n = full ? 3 : 1;
    for (int i = 0; i < n; i++)
        shapes[i][N] = batches[i], shapes[i][D] = model->hidden;
    return n;
}

static const char *refuse(const int64_t *size)
{
    if (size[D] > CONTRASTIVE_WIDTH_LARGEST)
        return "d is at most 131072";
    return size[N] * size[N] > INT32_MAX ? "n squared is below 2^31" : NULL;
}

static enum status prepare(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], d = trial->size[D];
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_WRITTEN, n, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_WRITTEN, n * d, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_WRITTEN, n * d, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, n * d, 1, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, n * d, 1, err));
    TRY(trial_tensor(trial, TENSOR_U8, TENSOR_READ, n * n, 0, err));
    size_t scratch = trial->device->kind == DEVICE_CUDA ? contrastive_cuda_scratch((int)n)
                                                        : contrastive_scratch((int)n);
    TRY(trial_tensor(trial, TENSOR_F64, TENSOR_PARTS, (int64_t)scratch, 0, err));
    /* Cosines and two gradients, of whose multiply-adds none is in vain. */
    trial->operations = 6.0 * (double)n * (double)n * (double)d;
    return STATUS_OK;
}

static enum status run(struct trial *trial, struct err *err)
{
    return contrastive(trial->device, trial_at(trial, LOSSES), trial_at(trial, DANCHOR),
                       trial_at(trial, DPOSITIVE), trial_at(trial, ANCHOR),
                       trial_at(trial, POSITIVE), trial_at(trial, EXCLUDED), (int)trial->size[N],
                       (int)trial->size[D], TEMPERATURE, WEIGHT, trial_at(trial, SCRATCH), err);
}

/* Row by row: the tolerance goes with a vector's length. */
static void verify_gradients(struct verdict *verdict, const float *got, const double *want,
                             const double *vectors, int n, int d)
{
    double tolerance = contrastive_tolerance(n, d, (double)TEMPERATURE);
    for (int64_t at = 0; at < (int64_t)n * d; at += d) {
        double square = 0;
        for (int k = 0; k < d; k++)
            square += vectors[at + k] * vectors[at + k];
        verdict_floats(verdict, got + at, want + at, d,
                       tolerance * (double)(WEIGHT / TEMPERATURE) / sqrt(square), 0x1p-24);
    }
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int n = (int)trial->size[N], d = (int)trial->size[D];
    double *anchor = trial_doubles(trial, ANCHOR), *positive = trial_doubles(trial, POSITIVE);
    double *losses = trial_wanted(trial, n), *danchor = trial_wanted(trial, (int64_t)n * d);
    double *dpositive = trial_wanted(trial, (int64_t)n * d);
    if (!anchor || !positive || !losses || !danchor || !dpositive)
        return err_no_memory(err, "a reference", 0);
    contrastive_ref(losses, danchor, dpositive, anchor, positive, trial->tensors[EXCLUDED].host, n,
                    d, (double)TEMPERATURE, (double)WEIGHT);
    verdict_floats(verdict, trial->tensors[LOSSES].host, losses, n,
                   contrastive_tolerance(n, d, (double)TEMPERATURE), 0x1p-24);
    verify_gradients(verdict, trial->tensors[DANCHOR].host, danchor, anchor, n, d);
    verify_gradients(verdict, trial->tensors[DPOSITIVE].host, dpositive, positive, n, d);
    return STATUS_OK;
}

const struct bench_operation bench_contrastive = {
    .name = "contrastive",
    .dtype = "f32",
    .dimensions = {"n", "d"},
    .cuda = true,
    .no_activations = true,
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};
