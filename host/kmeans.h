/* k-means: Lloyd's algorithm from greedy k-means++ starts, as scikit-learn's
 * KMeans(algorithm="lloyd") with distances and sums in float64.
 *
 * Seeding: Arthur and Vassilvitskii 2007 with 2 + floor(log k) trials a centre, of which the best
 * is kept. Random numbers are Philox by (seed, restart, draw). The same bytes come out for any
 * number of threads: rows are assigned by kernels/nearest.h and summed in fixed blocks
 * (host/rows.h).
 *
 * Centres are float32 after every update, so the labels are the arg-min, in float64 and with ties
 * to the lowest index, to the very centres that are returned and saved. */
#ifndef MIDASHI_HOST_KMEANS_H
#define MIDASHI_HOST_KMEANS_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/device.h"

/* After each assignment, counted from 1, with the inertia of the rows to the centres before it; and
 * with iteration 0 after each centre of the seeding. May return a status to stop with
 * (STATUS_INTERRUPTED), which kmeans_fit passes on. */
typedef enum status kmeans_progress(void *context, int restart, int iteration, double inertia,
                                    struct err *err);

struct kmeans_settings {
    int k;
    uint64_t seed;
    int restarts;       /* >= 1; the lowest inertia wins, the first of equals */
    int max_iterations; /* >= 1 */
    /* Stop once the squared shifts of the centres add up to at most tolerance times the mean
     * variance of the columns; 0: only when no label changes. */
    double tolerance;
    /* Rows are l2-normalised (in a copy; a zero row stays zero) and centres too after each update:
     * clusters by cosine. Inertia and distances are those of the normalised rows. */
    bool spherical;
    kmeans_progress *progress; /* or NULL */
    void *progress_context;
};

#define KMEANS_DEFAULTS                                                                            \
    {                                                                                              \
        .k = 20, .restarts = 1, .max_iterations = 300, .tolerance = 1e-4                           \
    }

struct kmeans_result {
    float *centres;  /* (k, d), room that the caller owns */
    int32_t *labels; /* (n), room that the caller owns */
    double inertia;  /* sum of the squared distances of rows to their centres */
    int iterations;  /* assignments made by the best restart, as scikit-learn counts them */
    bool converged;  /* false: max_iterations came first */
};

/* x (n, d) float32. initial (k, d) or NULL: the centres to start from; then there is one start and
 * neither seed nor restarts matter. A cluster that loses all rows is moved to the row farthest from
 * its centre, unless every row lies on its centre: fewer than k distinct rows leave clusters empty.
 * STATUS_USAGE: k < 1, or more clusters than rows; the text names both numbers.
 * STATUS_BAD_DATA: a row of x or a centre of initial with NaN or an infinity, by its number from 1.
 * STATUS_RESOURCE: no memory. After a failure centres and labels hold anything. */
enum status kmeans_fit(struct device *device, struct kmeans_result *result, const float *x, int n,
                       int d, const float *initial, const struct kmeans_settings *settings,
                       struct err *err);

#endif
