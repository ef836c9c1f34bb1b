/* k-means: seeding, Lloyd's iterations, empty clusters, restarts. See kmeans.h. Assignment is a
 * kernel; everything else is a small part of the time and runs over rows in plain C. */
#include "host/kmeans.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include "host/base/memory.h"
#include "host/base/philox.h"
#include "host/rows.h"
#include "kernels/nearest.h"
#include "kernels/squared_distance.h"

#define KMEANS_STREAM 0x6B6D6E73u /* "kmns": draws that no tensor shares */

struct kmeans {
    struct device *device;
    const struct kmeans_settings *settings;
    struct err *err;
    const float *x; /* (n, d), l2-normalised if spherical */
    int n, d, k, trials;
    double largest_shift; /* settings->tolerance in the units of x, squared */
    struct row_sum row_sum;

    float *centres;               /* (k, d) */
    float *updated;               /* (k, d) the centres after the iteration at hand */
    void *packed;                 /* the centres as kernels/nearest.h wants them */
    double *sums;                 /* (k, d), then (k) the rows of each cluster */
    int32_t *labels, *labels_old; /* (n) */
    double *distance;             /* (n) squared, to the centre of the label; in seeding to the
                                     nearest centre chosen so far */
    double *cumulative;           /* (n) */
    float *candidates;            /* (trials, d) */
    double *candidate_distance;   /* (n, trials) */
};

static double sum_of(const double *values, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += values[i];
    return sum;
}

static void copy_rows(float *to, const float *from, size_t n, int d)
{
    memcpy(to, from, n * (size_t)d * sizeof *to);
}

static const float *row_of(const struct kmeans *km, int i)
{
    return km->x + (size_t)i * (size_t)km->d;
}

static enum status report(struct kmeans *km, int restart, int iteration, double inertia)
{
    const struct kmeans_settings *settings = km->settings;
    if (!settings->progress)
        return STATUS_OK;
    return settings->progress(settings->progress_context, restart, iteration, inertia, km->err);
}

/* ---- normalised rows, for spherical clusters ------------------------------------------------- */

static void normalise_rows(float *rows, int n, int d)
{
    for (int i = 0; i < n; i++)
        row_normalise(rows + (size_t)i * (size_t)d, d);
}

/* ---- greedy k-means++ ------------------------------------------------------------------------ */

/* The row that a draw in [0, 1) falls on, when rows have shares of the total in proportion to their
 * distance. A row on a centre has no share, so it is not drawn while another is left. */
static int drawn_row(const struct kmeans *km, double draw)
{
    double place = draw * km->cumulative[km->n - 1];
    int low = 0, high = km->n - 1;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (km->cumulative[middle] > place)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Draws `trials` rows and makes the one that leaves the lowest sum of distances centre c. */
static enum status choose_centre(struct kmeans *km, int restart, int c, double *potential)
{
    int trials = km->trials, best = 0;
    size_t d = (size_t)km->d;
    double sum = 0;
    for (int i = 0; i < km->n; i++)
        km->cumulative[i] = sum += km->distance[i];
    for (int t = 0; t < trials; t++) {
        uint64_t index = (uint64_t)c * (uint64_t)trials + (uint64_t)t;
        double draw = philox_uniform(km->settings->seed, (uint32_t)restart, KMEANS_STREAM, index);
        copy_rows(km->candidates + (size_t)t * d, row_of(km, drawn_row(km, draw)), 1, km->d);
    }
    TRY(squared_distance_fwd(km->device, km->candidate_distance, km->x, km->candidates, km->n,
                             trials, km->d, km->err));
    for (int t = 0; t < trials; t++) {
        const double *column = km->candidate_distance + t;
        double left = 0;
        for (int i = 0; i < km->n; i++)
            left += fmin(km->distance[i], column[(size_t)i * (size_t)trials]);
        if (t == 0 || left < *potential)
            best = t, *potential = left;
    }
    for (int i = 0; i < km->n; i++)
        km->distance[i] = fmin(km->distance[i],
                               km->candidate_distance[(size_t)i * (size_t)trials + (size_t)best]);
    copy_rows(km->centres + (size_t)c * d, km->candidates + (size_t)best * d, 1, km->d);
    return STATUS_OK;
}

static enum status seed_centres(struct kmeans *km, int restart)
{
    double draw = philox_uniform(km->settings->seed, (uint32_t)restart, KMEANS_STREAM, 0);
    copy_rows(km->centres, row_of(km, (int)(draw * km->n)), 1, km->d);
    TRY(squared_distance_fwd(km->device, km->distance, km->x, km->centres, km->n, 1, km->d,
                             km->err));
    for (int c = 1; c < km->k; c++) {
        double potential = 0;
        TRY(choose_centre(km, restart, c, &potential));
        TRY(report(km, restart, 0, potential));
    }
    return STATUS_OK;
}

/* ---- Lloyd's iterations ---------------------------------------------------------------------- */

static void add_to_clusters(void *context, int first, int last, double *partial)
{
    const struct kmeans *km = context;
    size_t d = (size_t)km->d;
    double *counts = partial + (size_t)km->k * d;
    for (int i = first; i < last; i++) {
        const float *row = row_of(km, i);
        double *sum = partial + (size_t)km->labels[i] * d;
        for (size_t j = 0; j < d; j++)
            sum[j] += (double)row[j];
        counts[km->labels[i]] += 1;
    }
}

/* Gives each empty cluster the row that lies farthest from its centre, the lowest of equals. A row
 * alone in its cluster stays, or that one would be empty in turn. */
static void fill_empty_clusters(struct kmeans *km)
{
    size_t d = (size_t)km->d;
    double *counts = km->sums + (size_t)km->k * d;
    for (int c = 0; c < km->k; c++) {
        if (counts[c] > 0)
            continue;
        int farthest = -1;
        double distance = 0;
        for (int i = 0; i < km->n; i++)
            if (km->distance[i] > distance && counts[km->labels[i]] > 1)
                farthest = i, distance = km->distance[i];
        if (farthest < 0)
            return;
        km->distance[farthest] = 0; /* taken */
        int donor = km->labels[farthest];
        for (size_t j = 0; j < d; j++) {
            double value = (double)row_of(km, farthest)[j];
            km->sums[(size_t)donor * d + j] -= value;
            km->sums[(size_t)c * d + j] = value;
        }
        counts[donor] -= 1;
        counts[c] = 1;
    }
}

/* updated = the means of the clusters. A cluster that is still empty, or whose mean has no
 * direction, keeps its centre. */
static void update_centres(struct kmeans *km)
{
    size_t d = (size_t)km->d;
    const double *counts = km->sums + (size_t)km->k * d;
    row_sum_run(&km->row_sum, km->sums, km->n, add_to_clusters, km);
    fill_empty_clusters(km);
    for (int c = 0; c < km->k; c++) {
        const double *sum = km->sums + (size_t)c * d;
        float *centre = km->updated + (size_t)c * d;
        double divisor = counts[c];
        if (km->settings->spherical) {
            double square = 0;
            for (size_t j = 0; j < d; j++)
                square += sum[j] * sum[j];
            divisor = sqrt(square);
        }
        if (divisor > 0)
            for (size_t j = 0; j < d; j++)
                centre[j] = (float)(sum[j] / divisor);
        else
            copy_rows(centre, km->centres + (size_t)c * d, 1, km->d);
    }
}

static double shift_of(const struct kmeans *km)
{
    double shift = 0;
    for (size_t j = 0; j < (size_t)km->k * (size_t)km->d; j++) {
        double difference = (double)km->updated[j] - (double)km->centres[j];
        shift += difference * difference;
    }
    return shift;
}

static enum status assign(struct kmeans *km, double *inertia)
{
    struct nearest_centres packed;
    nearest_centres_pack(km->device, &packed, km->packed, km->centres, NULL, km->k, km->d);
    TRY(nearest_fwd(km->device, km->labels, km->distance, km->x, &packed, km->n, NULL, km->err));
    *inertia = sum_of(km->distance, km->n);
    return STATUS_OK;
}

/* From km->centres to the end. km->labels are the arg-min to km->centres when it returns: where no
 * label changed, the centres are left as they are, since they are the means of these labels. */
static enum status iterate(struct kmeans *km, int restart, struct kmeans_result *result)
{
    size_t n_bytes = (size_t)km->n * sizeof *km->labels;
    result->converged = false;
    for (int iteration = 1; iteration <= km->settings->max_iterations; iteration++) {
        result->iterations = iteration;
        TRY(assign(km, &result->inertia));
        TRY(report(km, restart, iteration, result->inertia));
        if (iteration > 1 && memcmp(km->labels, km->labels_old, n_bytes) == 0) {
            result->converged = true;
            return STATUS_OK;
        }
        update_centres(km);
        double shift = shift_of(km);
        float *centres = km->centres;
        km->centres = km->updated, km->updated = centres;
        if (shift <= km->largest_shift) {
            result->converged = true;
            break;
        }
        int32_t *labels = km->labels;
        km->labels = km->labels_old, km->labels_old = labels;
    }
    return assign(km, &result->inertia);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void add_row(void *context, int first, int last, double *partial)
{
    const struct kmeans *km = context;
    for (int i = first; i < last; i++)
        for (int j = 0; j < km->d; j++)
            partial[j] += (double)row_of(km, i)[j];
}

/* The mean variance of the columns is the mean squared distance from the mean row, divided by d. */
static enum status scale_tolerance(struct kmeans *km)
{
    struct row_sum row_sum;
    enum status status = row_sum_open(&row_sum, km->device, (size_t)km->d, km->n, km->err);
    if (status != STATUS_OK)
        return status;
    row_sum_run(&row_sum, km->sums, km->n, add_row, km);
    row_sum_close(&row_sum);
    for (int j = 0; j < km->d; j++)
        km->updated[j] = (float)(km->sums[j] / km->n);
    TRY(squared_distance_fwd(km->device, km->distance, km->x, km->updated, km->n, 1, km->d,
                             km->err));
    double variance = sum_of(km->distance, km->n) / km->n / km->d;
    km->largest_shift = km->settings->tolerance * variance;
    return STATUS_OK;
}

static enum status allocate(struct kmeans *km, struct arena *arena)
{
    size_t n = (size_t)km->n, d = (size_t)km->d, k = (size_t)km->k, trials = (size_t)km->trials;
    km->centres = arena_alloc(arena, k * d, sizeof *km->centres);
    km->updated = arena_alloc(arena, k * d, sizeof *km->updated);
    km->packed = arena_alloc(arena, 1, nearest_centres_bytes(km->k, km->d));
    km->sums = arena_alloc(arena, k * d + k, sizeof *km->sums);
    km->labels = arena_alloc(arena, n, sizeof *km->labels);
    km->labels_old = arena_alloc(arena, n, sizeof *km->labels_old);
    km->distance = arena_alloc(arena, n, sizeof *km->distance);
    km->cumulative = arena_alloc(arena, n, sizeof *km->cumulative);
    km->candidates = arena_alloc(arena, trials * d, sizeof *km->candidates);
    km->candidate_distance = arena_alloc(arena, n * trials, sizeof *km->candidate_distance);
    if (!km->centres || !km->updated || !km->packed || !km->sums || !km->labels ||
        !km->labels_old || !km->distance || !km->cumulative || !km->candidates ||
        !km->candidate_distance)
        return err_no_memory(km->err, "k-means",
                             (2 * k + trials) * d * sizeof(float) + (k * d + k) * sizeof(double) +
                                 n * (8 + (2 + trials) * sizeof(double)));
    return STATUS_OK;
}

static enum status check(struct device *device, const float *x, int n, int d, const float *initial,
                         const struct kmeans_settings *settings, struct err *err)
{
    assert(d >= 1 && settings->restarts >= 1 && settings->max_iterations >= 1);
    if (settings->k < 1)
        return err_set(err, STATUS_USAGE, "cannot make %d clusters of %d rows; ask for 1 or more",
                       settings->k, n);
    if (settings->k > n)
        return err_set(err, STATUS_USAGE, "cannot make %d clusters of %d rows; ask for %d or fewer",
                       settings->k, n, n);
    TRY(rows_check_finite(device, x, NULL, n, d, err));
    if (initial) {
        enum status status = rows_check_finite(device, initial, NULL, settings->k, d, err);
        if (status != STATUS_OK && err)
            err_prefix(err, "initial centres");
        return status;
    }
    return STATUS_OK;
}

static enum status fit(struct kmeans *km, struct kmeans_result *result, const float *initial)
{
    int restarts = initial ? 1 : km->settings->restarts;
    TRY(scale_tolerance(km));
    for (int restart = 0; restart < restarts; restart++) {
        struct kmeans_result found;
        if (initial) {
            copy_rows(km->centres, initial, (size_t)km->k, km->d);
            if (km->settings->spherical)
                normalise_rows(km->centres, km->k, km->d);
        } else
            TRY(seed_centres(km, restart));
        TRY(iterate(km, restart, &found));
        if (restart > 0 && !(found.inertia < result->inertia))
            continue;
        copy_rows(result->centres, km->centres, (size_t)km->k, km->d);
        memcpy(result->labels, km->labels, (size_t)km->n * sizeof *km->labels);
        result->inertia = found.inertia;
        result->iterations = found.iterations;
        result->converged = found.converged;
    }
    return STATUS_OK;
}

enum status kmeans_fit(struct device *device, struct kmeans_result *result, const float *x, int n,
                       int d, const float *initial, const struct kmeans_settings *settings,
                       struct err *err)
{
    TRY(check(device, x, n, d, initial, settings, err));
    struct kmeans km = {.device = device, .settings = settings, .err = err, .x = x};
    km.n = n, km.d = d, km.k = settings->k;
    km.trials = 2 + (int)log(settings->k);
    struct arena arena = {0};
    enum status status;
    if (settings->spherical) {
        float *copy = arena_alloc(&arena, (size_t)n * (size_t)d, sizeof *copy);
        if (!copy)
            return err_no_memory(err, "normalised rows", (size_t)n * (size_t)d * sizeof *copy);
        copy_rows(copy, x, (size_t)n, d);
        normalise_rows(copy, n, d);
        km.x = copy;
    }
    TRY_TO(status, allocate(&km, &arena), done);
    TRY_TO(status,
           row_sum_open(&km.row_sum, device, (size_t)km.k * (size_t)d + (size_t)km.k, n, err),
           done);
    status = fit(&km, result, initial);
done:
    row_sum_close(&km.row_sum);
    arena_free(&arena);
    return status;
}
