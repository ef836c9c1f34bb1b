/* k-means' assignment in the harness: squared distances, the nearest centre, and the two nearest.
 */
#include "kernels/nearest.h"
#include <math.h>
#include "bench/operations.h"
#include "kernels/nearest_two.h"
#include "kernels/squared_distance.h"

enum { N, K, D };
enum { X, CENTRES, DISTANCE, LABEL, SECOND };

/* Few rows, for distances that are computed and stored one by one. */
static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    return cluster_shapes(shapes, 2000, model->hidden, full);
}

/* And k-means' own sizes: embeddings of SmolLM2, many narrow ones, titles by a 7B model. */
static int nearest_shapes(int64_t out[][SHAPE_DIMENSIONS], const struct model_sizes *model,
                          bool full)
{
    static const int own[][3] = {{100000, 100, 576}, {1000000, 1000, 64}, {5894, 20, 4096}};
    int n = shapes(out, model, full);
    for (int i = 0; full && i < 3; i++, n++)
        out[n][N] = own[i][0], out[n][K] = own[i][1], out[n][D] = own[i][2];
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

static enum status prepare_two(struct trial *trial, struct err *err)
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

static enum status run_two(struct trial *trial, struct err *err)
{
    return nearest_two_fwd(trial->device, trial_at(trial, LABEL), trial_at(trial, DISTANCE),
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
static enum status verify_two(struct trial *trial, struct verdict *verdict, struct err *err)
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

const struct bench_operation bench_nearest_two = {
    .name = "nearest_two_fwd",
    .dtype = "f32",
    .dimensions = {"n", "k", "d"},
    .shapes = shapes,
    .prepare = prepare_two,
    .run = run_two,
    .verify = verify_two,
};

/* ---- labels alone --------------------------------------------------------------------------- */

enum { LABELS_X, LABELS_CENTRES, LABELS_SHIFT, LABELS_LABEL };

/* A run packs the centres too, as an iteration of k-means does. */
static enum status prepare_labels(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], k = trial->size[K], d = trial->size[D];
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, n * d, 1, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, k * d, 1, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, d, 0.01, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_WRITTEN, n, 0, err));
    trial->operations = 2.0 * (double)n * (double)k * (double)d;
    size_t bytes = nearest_centres_bytes((int)k, (int)d);
    trial->own = trial_alloc(trial, 1, bytes);
    return trial->own ? STATUS_OK : err_no_memory(err, "a bench row's operands", bytes);
}

/* Each row lies about a centre, not much nearer to it than to others. */
static enum status prepare_clusters(struct trial *trial, struct err *err)
{
    TRY(prepare_labels(trial, err));
    int64_t n = trial->size[N], k = trial->size[K], d = trial->size[D];
    float *x = trial->tensors[LABELS_X].host;
    const float *centres = trial->tensors[LABELS_CENTRES].host;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < d; j++)
            x[i * d + j] = 2 * x[i * d + j] + centres[i * 7 % k * d + j];
    return STATUS_OK;
}

static enum status run_labels(struct trial *trial, struct err *err)
{
    struct nearest_centres packed;
    nearest_centres_pack(trial->device, &packed, trial->own, trial_at(trial, LABELS_CENTRES),
                         trial_at(trial, LABELS_SHIFT), NULL, (int)trial->size[K],
                         (int)trial->size[D]);
    return nearest_fwd(trial->device, trial_at(trial, LABELS_LABEL), NULL,
                       trial_at(trial, LABELS_X), &packed, (int)trial->size[N], NULL, err);
}

/* The first iteration: all rows are scored, and their bounds are made. */
enum { BOUNDED_UPPER = LABELS_LABEL + 1, BOUNDED_LOWER };

static enum status prepare_bounded(struct trial *trial, struct err *err)
{
    TRY(prepare_clusters(trial, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_WRITTEN, trial->size[N], 0, err));
    return trial_tensor(trial, TENSOR_F32, TENSOR_WRITTEN, trial->size[N], 0, err);
}

static enum status run_bounded(struct trial *trial, struct err *err)
{
    struct nearest_centres packed;
    struct nearest_counts counts = {0};
    const struct nearest_bounds bounds = {.upper = trial_at(trial, BOUNDED_UPPER),
                                          .lower = trial_at(trial, BOUNDED_LOWER)};
    nearest_centres_pack(trial->device, &packed, trial->own, trial_at(trial, LABELS_CENTRES),
                         trial_at(trial, LABELS_SHIFT), NULL, (int)trial->size[K],
                         (int)trial->size[D]);
    return nearest_bounded_fwd(trial->device, trial_at(trial, LABELS_LABEL),
                               trial_at(trial, LABELS_X), &packed, &bounds, (int)trial->size[N],
                               &counts, err);
}

/* Rows that are compared, the first and the last among them. */
#define SAMPLE 128

/* bounded: the bounds too, which are to lie close; of a near tie there are none. */
static enum status verify_rows(struct trial *trial, struct verdict *verdict, bool bounded,
                               struct err *err)
{
    int k = (int)trial->size[K], d = (int)trial->size[D];
    int64_t n = trial->size[N], sample = n < SAMPLE ? n : SAMPLE;
    double tolerance = squared_distance_fwd_tolerance(d);
    double *centres = trial_doubles(trial, LABELS_CENTRES), *row = trial_wanted(trial, d);
    const float *x = trial->tensors[LABELS_X].host;
    const int32_t *got = trial->tensors[LABELS_LABEL].host;
    if (!centres || !row)
        return err_no_memory(err, "a reference", 0);
    for (int64_t s = 0; s < sample; s++) {
        int64_t i = sample > 1 ? s * (n - 1) / (sample - 1) : 0;
        int32_t label;
        double distance, second;
        for (int j = 0; j < d; j++)
            row[j] = x[i * d + j];
        nearest_fwd_ref(&label, &distance, &second, row, centres, 1, k, d);
        if (k == 1 || second - distance > 2 * tolerance * second)
            verdict_value(verdict, got[i], label, 0);
        if (!bounded || isinf(((const float *)trial->tensors[BOUNDED_UPPER].host)[i]))
            continue;
        double own = sqrt(distance), next = sqrt(second);
        verdict_value(verdict, ((const float *)trial->tensors[BOUNDED_UPPER].host)[i], own,
                      0.005 * (own + 0.1));
        if (k > 1)
            verdict_value(verdict, ((const float *)trial->tensors[BOUNDED_LOWER].host)[i], next,
                          0.005 * (next + 0.1));
    }
    return STATUS_OK;
}

static enum status verify_labels(struct trial *trial, struct verdict *verdict, struct err *err)
{
    return verify_rows(trial, verdict, false, err);
}

static enum status verify_bounded(struct trial *trial, struct verdict *verdict, struct err *err)
{
    return verify_rows(trial, verdict, true, err);
}

const struct bench_operation bench_nearest = {
    .name = "nearest_fwd",
    .dtype = "f32",
    .dimensions = {"n", "k", "d"},
    .shapes = nearest_shapes,
    .prepare = prepare_labels,
    .run = run_labels,
    .verify = verify_labels,
};

const struct bench_operation bench_nearest_clusters = {
    .name = "nearest_fwd",
    .dtype = "f32 clusters",
    .dimensions = {"n", "k", "d"},
    .shapes = nearest_shapes,
    .prepare = prepare_clusters,
    .run = run_labels,
    .verify = verify_labels,
};

const struct bench_operation bench_nearest_bounded = {
    .name = "nearest_bounded_fwd",
    .dtype = "f32 clusters",
    .dimensions = {"n", "k", "d"},
    .shapes = nearest_shapes,
    .prepare = prepare_bounded,
    .run = run_bounded,
    .verify = verify_bounded,
};
