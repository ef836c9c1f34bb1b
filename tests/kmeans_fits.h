/* k-means over rows in memory, and what must be true of whatever comes out. */
#ifndef MIDASHI_TESTS_KMEANS_FITS_H
#define MIDASHI_TESTS_KMEANS_FITS_H

#include <math.h>
#include <stdio.h>
#include "host/base/memory.h"
#include "host/kmeans.h"
#include "kernels/nearest.h"
#include "loaders/npy.h"
#include "tests/cluster_inputs.h"

static inline struct kmeans_settings defaults(int k)
{
    struct kmeans_settings settings = KMEANS_DEFAULTS;
    settings.k = k;
    return settings;
}

static inline void open_result(struct kmeans_result *result, int n, int k, int d)
{
    *result = (struct kmeans_result){0};
    result->labels = malloc((size_t)n * sizeof *result->labels);
    result->centres = guarded_floats((size_t)k * (size_t)d);
    ck_assert_ptr_nonnull(result->labels);
}

static inline void close_result(struct kmeans_result *result, int k, int d)
{
    free(result->labels);
    check_guarded(result->centres, (size_t)k * (size_t)d);
}

static inline enum status fit_rows(struct device *device, struct kmeans_result *result,
                                   const float *x, int n, int d, const float *initial,
                                   const struct kmeans_settings *settings, struct err *err)
{
    struct row_chunks rows = row_chunks_of(device, x, n, d);
    enum status status = kmeans_fit(result, &rows, initial, settings, err);
    row_chunks_close(&rows);
    return status;
}

static inline void must_fit(struct device *device, struct kmeans_result *result, const float *x,
                            const struct cluster_case *c, const float *initial,
                            const struct kmeans_settings *settings)
{
    struct err err;
    if (fit_rows(device, result, x, c->n, c->d, initial, settings, &err) != STATUS_OK)
        ck_abort_msg("%s", err.text);
}

/* Labels are the arg-min to the centres that came out, and inertia is the sum of the distances. */
static inline void check_consistent(const struct kmeans_result *result, const float *x,
                                    const struct cluster_case *c)
{
    double *x64 = to_doubles(x, (size_t)c->n * (size_t)c->d);
    double *centres = to_doubles(result->centres, (size_t)c->k * (size_t)c->d);
    int32_t *labels = malloc((size_t)c->n * sizeof *labels);
    double *distance = malloc((size_t)c->n * sizeof *distance);
    double *second = malloc((size_t)c->n * sizeof *second), inertia = 0;
    nearest_fwd_ref(labels, distance, second, x64, centres, c->n, c->k, c->d);
    for (int i = 0; i < c->n; i++) {
        ck_assert_int_eq(result->labels[i], labels[i]);
        inertia += distance[i];
    }
    /* float64: n + d additions in another order, 2^-53 * 2,000 = 2e-13. */
    ck_assert(fabs(result->inertia - inertia) <= 1e-12 * inertia);
    free(x64), free(centres), free(labels), free(distance), free(second);
}

/* Less their mean, numbers near the largest are none of float32: such rows are refused. memory: of
 * row_chunks_open. */
static inline void check_infinite_transform(struct device *device, size_t memory)
{
    const float x[5 * 2] = {3e38f, 1, 0, 0, -3e38f, 2, -3e38f, 3, -3e38f, 4};
    char name[256];
    const char *path = name;
    float centres[2 * 2];
    int32_t labels[5];
    struct kmeans_result result = {.centres = centres, .labels = labels};
    struct kmeans_settings settings = defaults(2);
    struct embedding_parts parts;
    struct transform transform;
    struct row_chunks rows;
    struct arena arena = {0};
    struct err err;
    snprintf(name, sizeof name, "%s/large.npy", temporary_folder());
    ck_assert_int_eq(npy_write(path, NPY_F32, 2, 5, 2, x, &err), STATUS_OK);
    ck_assert_int_eq(embedding_parts_measure(&parts, &path, 1, &err), STATUS_OK);
    ck_assert_int_eq(row_chunks_open(&rows, device, &parts, memory, &err), STATUS_OK);
    ck_assert_int_eq(transform_fit(&transform, NORMALISE_CENTRE, 0, &rows, &arena, &err),
                     STATUS_OK);
    row_chunks_transform(&rows, &transform);
    check_error(kmeans_fit(&result, &rows, NULL, &settings, &err), &err, STATUS_BAD_DATA,
                "row 1 of those that are not blank is not finite", "beyond float32");
    row_chunks_close(&rows);
    arena_free(&arena);
}

#endif
