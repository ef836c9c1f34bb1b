/* Rows' distances to their own centres, in the harness. */
#include "bench/operations.h"
#include "kernels/own_distance.h"
#include "kernels/squared_distance.h"

enum { N, K, D };

static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    return cluster_shapes(shapes, 20000, model->hidden, full);
}

/* Clusters in no order. */
static enum status take_labels(struct trial *trial, int tensor, struct err *err)
{
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_READ, trial->size[N], 0, err));
    int32_t *label = trial->tensors[tensor].host;
    for (int64_t i = 0; i < trial->size[N]; i++)
        label[i] = (int32_t)((uint64_t)i * 2654435761u % (uint64_t)trial->size[K]);
    return STATUS_OK;
}

enum { X, CENTRES, LABEL, DISTANCE };

static enum status prepare_distance(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], k = trial->size[K], d = trial->size[D];
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, n * d, 1, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, k * d, 1, err));
    TRY(take_labels(trial, LABEL, err));
    trial->operations = 2.0 * (double)n * (double)d;
    return trial_tensor(trial, TENSOR_F64, TENSOR_WRITTEN, n, 0, err);
}

static enum status run_distance(struct trial *trial, struct err *err)
{
    return own_distance_fwd(trial->device, trial_at(trial, DISTANCE), trial_at(trial, X),
                            trial_at(trial, CENTRES), trial_at(trial, LABEL), (int)trial->size[N],
                            (int)trial->size[D], err);
}

static enum status verify_distance(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int n = (int)trial->size[N], d = (int)trial->size[D];
    double *x = trial_doubles(trial, X), *centres = trial_doubles(trial, CENTRES);
    double *want = trial_wanted(trial, n);
    const double *got = trial->tensors[DISTANCE].host;
    if (!x || !centres || !want)
        return err_no_memory(err, "a reference", 0);
    own_distance_fwd_ref(want, x, centres, trial->tensors[LABEL].host, n, d);
    for (int i = 0; i < n; i++)
        verdict_value(verdict, got[i], want[i], squared_distance_fwd_tolerance(d) * want[i]);
    return STATUS_OK;
}

const struct bench_operation bench_own_distance = {
    .name = "own_distance_fwd",
    .dtype = "f32",
    .dimensions = {"n", "k", "d"},
    .cuda = true,
    .no_activations = true,
    .shapes = shapes,
    .prepare = prepare_distance,
    .run = run_distance,
    .verify = verify_distance,
};
