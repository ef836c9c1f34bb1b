/* k-means' assignment in the harness: squared distances, and the nearest centre. */
#include "kernels/nearest.h"
#include "bench/operations.h"
#include "kernels/squared_distance.h"

enum { N, K, D };
enum { X, CENTRES, DISTANCE, LABEL, SECOND };

static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    static const int centres[] = {20, 100, 1000};
    int n = full ? 3 : 1;
    for (int i = 0; i < n; i++)
        shapes[i][N] = 2000, shapes[i][K] = centres[i], shapes[i][D] = model->hidden;
    return n;
}

static enum status prepare(struct trial *trial, int64_t distances, struct err *err)
{
    int64_t n = trial->size[N], k = trial->size[K], d = trial->size[D];
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, n * d, 1, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, k * d, 1, err));
    /* A multiplication and an addition; the subtraction is this form's own. */
    trial->operations = 2.0 * (double)n * (double)k * (double)d;
    return trial_tensor(trial, TENSOR_F64, TENSOR_WRITTEN, distances, 0, err);
}

static enum status prepare_distance(struct trial *trial, struct err *err)
{
    return prepare(trial, trial->size[N] * trial->size[K], err);
}

static enum status prepare_nearest(struct trial *trial, struct err *err)
{
    TRY(prepare(trial, trial->size[N], err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_WRITTEN, trial->size[N], 0, err));
    return trial_tensor(trial, TENSOR_F64, TENSOR_WRITTEN, trial->size[N], 0, err);
}

static enum status run_distance(struct trial *trial, struct err *err)
{
    return squared_distance_fwd(trial->device, trial_at(trial, DISTANCE), trial_at(trial, X),
                                trial_at(trial, CENTRES), (int)trial->size[N], (int)trial->size[K],
                                (int)trial->size[D], err);
}

static enum status run_nearest(struct trial *trial, struct err *err)
{
    return nearest_fwd(trial->device, trial_at(trial, LABEL), trial_at(trial, DISTANCE),
                       trial_at(trial, SECOND), trial_at(trial, X), trial_at(trial, CENTRES),
                       (int)trial->size[N], (int)trial->size[K], (int)trial->size[D], err);
}

static enum status verify_distance(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int n = (int)trial->size[N], k = (int)trial->size[K], d = (int)trial->size[D];
    double *x = trial_doubles(trial, X), *centres = trial_doubles(trial, CENTRES);
    double *want = trial_wanted(trial, (int64_t)n * k);
    const double *got = trial->tensors[DISTANCE].host;
    if (!x || !centres || !want)
        return err_no_memory(err, "a reference", 0);
    squared_distance_fwd_ref(want, x, centres, n, k, d);
    for (int64_t i = 0; i < (int64_t)n * k; i++)
        verdict_value(verdict, got[i], want[i], squared_distance_fwd_tolerance(d) * want[i]);
    return STATUS_OK;
}

/* Where two centres are as near as rounding, either is right. */
static enum status verify_nearest(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int n = (int)trial->size[N], k = (int)trial->size[K], d = (int)trial->size[D];
    double tolerance = squared_distance_fwd_tolerance(d);
    double *x = trial_doubles(trial, X), *centres = trial_doubles(trial, CENTRES);
    double *distance = trial_wanted(trial, n), *second = trial_wanted(trial, n);
    int32_t *label = trial_alloc(trial, n, sizeof *label);
    const int32_t *got_label = trial->tensors[LABEL].host;
    const double *got_distance = trial->tensors[DISTANCE].host;
    const double *got_second = trial->tensors[SECOND].host;
    if (!x || !centres || !distance || !second || !label)
        return err_no_memory(err, "a reference", 0);
    nearest_fwd_ref(label, distance, second, x, centres, n, k, d);
    for (int i = 0; i < n; i++) {
        if (second[i] - distance[i] > 2 * tolerance * second[i])
            verdict_value(verdict, got_label[i], label[i], 0);
        verdict_value(verdict, got_distance[i], distance[i], tolerance * distance[i]);
        if (k > 1)
            verdict_value(verdict, got_second[i], second[i], tolerance * second[i]);
    }
    return STATUS_OK;
}

const struct bench_operation bench_squared_distance = {
    .name = "squared_distance_fwd",
    .dtype = "f32",
    .dimensions = {"n", "k", "d"},
    .shapes = shapes,
    .prepare = prepare_distance,
    .run = run_distance,
    .verify = verify_distance,
};

const struct bench_operation bench_nearest = {
    .name = "nearest_fwd",
    .dtype = "f32",
    .dimensions = {"n", "k", "d"},
    .shapes = shapes,
    .prepare = prepare_nearest,
    .run = run_nearest,
    .verify = verify_nearest,
};
