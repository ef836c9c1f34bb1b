/* k-means' update in the harness: all rows into clusters that are drawn, as in the first iteration.
 */
#include "kernels/cluster_sums.h"
#include <string.h>
#include "bench/operations.h"

enum { N, K, D };
enum { SUMS, COUNTS, X, LABELS, SCRATCH };

static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    return cluster_shapes(shapes, 20000, model->hidden, full);
}

static enum status prepare(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], k = trial->size[K], d = trial->size[D];
    TRY(trial_tensor(trial, TENSOR_F64, TENSOR_UPDATED, k * d, 0, err));
    TRY(trial_tensor(trial, TENSOR_I64, TENSOR_UPDATED, k, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, n * d, 1, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_READ, n, 0, err));
    double *sums = trial->tensors[SUMS].host;
    for (int64_t i = 0; i < k * d; i++)
        sums[i] = 1 + 0.1 * (double)(i % 7);
    int32_t *labels = trial->tensors[LABELS].host;
    for (int64_t i = 0; i < n; i++)
        labels[i] = (int32_t)(((uint32_t)i * 2654435761u >> 7) % (uint64_t)k);
    return trial_tensor(trial, TENSOR_U8, TENSOR_PARTS, (int64_t)cluster_sums_bytes((int)n), 0,
                        err);
}

static enum status run(struct trial *trial, struct err *err)
{
    return cluster_sums_add(trial->device, trial_at(trial, SUMS), trial_at(trial, COUNTS), NULL,
                            trial_at(trial, X), NULL, trial_at(trial, LABELS), (int)trial->size[N],
                            (int)trial->size[K], (int)trial->size[D], trial_at(trial, SCRATCH),
                            err);
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int64_t n = trial->size[N], k = trial->size[K], d = trial->size[D];
    const double *sums = trial->tensors[SUMS].host;
    const int64_t *counts = trial->tensors[COUNTS].host;
    double *x = trial_doubles(trial, X), *want = trial_wanted(trial, k * d);
    int64_t *want_counts = trial_alloc(trial, k, sizeof *want_counts);
    if (!x || !want || !want_counts)
        return err_no_memory(err, "a reference", 0);
    memcpy(want, trial->tensors[SUMS].first, (size_t)(k * d) * sizeof *want);
    memcpy(want_counts, trial->tensors[COUNTS].first, (size_t)k * sizeof *want_counts);
    cluster_sums_add_ref(want, want_counts, x, NULL, trial->tensors[LABELS].host, (int)n, (int)d);
    for (int64_t i = 0; i < k * d; i++)
        verdict_value(verdict, sums[i], want[i], 0);
    for (int64_t c = 0; c < k; c++)
        verdict_value(verdict, (double)counts[c], (double)want_counts[c], 0);
    return STATUS_OK;
}

const struct bench_operation bench_cluster_sums = {
    .name = "cluster_sums_add",
    .dtype = "f32",
    .dimensions = {"n", "k", "d"},
    .shapes = shapes,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};
