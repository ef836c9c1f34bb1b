/* k-means: Lloyd's iterations, empty clusters, restarts. See kmeans.h. What is heavy are kernels
 * over a chunk of rows; the rest runs over centres. */
#include "host/kmeans.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include "host/base/interrupt.h"
#include "host/base/memory.h"
#include "host/cluster_totals.h"
#include "host/kmeans_seed.h"
#include "kernels/nearest.h"
#include "kernels/own_distance.h"

struct kmeans {
    const struct kmeans_settings *settings;
    struct err *err;
    struct device *device;
    struct row_chunks *rows;
    int n, d, k;
    double scatter;       /* sum of the squared distances of rows to `shift` */
    double largest_shift; /* settings->tolerance in the units of x, squared */
    double n_assigned;
    struct nearest_counts counts;

    float *shift;   /* (d) the mean of the rows, which kernels subtract */
    float *centres; /* (k, d) */
    float *updated; /* (k, d) the centres after the iteration at hand */
    int32_t *labels;
    float *upper, *lower;  /* (n) nearest_bounded_fwd's */
    float *drift;          /* (k) since they were made */
    int farthest;          /* the centre that has drifted most */
    float drift_of_others; /* the largest drift but its */
    bool tighten;
    bool moved;             /* rows, to empty clusters since the assignment */
    int32_t *chunk_labels;  /* of a chunk */
    double *chunk_distance; /* of a chunk */
    struct nearest_centres packed;
    void *packed_memory;
    struct cluster_totals totals; /* of the rows in each cluster of `labels` */
};

static enum status report(struct kmeans *km, const struct kmeans_state *state)
{
    const struct kmeans_settings *settings = km->settings;
    if (!settings->progress)
        return STATUS_OK;
    return settings->progress(settings->progress_context, state, km->err);
}

static float *centre_of(float *centres, const struct kmeans *km, int c)
{
    return centres + (size_t)c * (size_t)km->d;
}

/* ---- assignment ------------------------------------------------------------------------------ */

/* *changed becomes true where a label has. Before the first iteration no row has one. */
struct assignment {
    struct kmeans *km;
    int iteration; /* from 1 */
    bool is_first, tighten, changed;
    struct nearest_counts counts;
};

/* Rows were looked at before they were first used, but not since. */
static enum status refuse_unlabelled(const struct kmeans *km, int first, int n)
{
    for (int i = 0; i < n; i++)
        if (km->chunk_labels[i] < 0)
            return err_set(km->err, STATUS_BAD_DATA,
                           "row %d of those that are not blank is not finite any more: its "
                           "transform is beyond float32, or another program writes the file",
                           first + i + 1);
    return STATUS_OK;
}

static enum status assign_chunk(void *context, const float *x, int first, int n, struct err *err)
{
    struct assignment *assignment = context;
    struct kmeans *km = assignment->km;
    int32_t *labels = km->labels + first;
    size_t bytes = (size_t)n * sizeof *labels;
    struct nearest_bounds bounds = {.upper = km->upper + first, .lower = km->lower + first};
    if (!assignment->is_first) {
        bounds.drift = km->drift;
        bounds.farthest = km->farthest;
        bounds.drift_of_others = km->drift_of_others;
        bounds.tighten = assignment->tighten;
        memcpy(km->chunk_labels, labels, bytes);
    }
    TRY(nearest_bounded_fwd(km->device, km->chunk_labels, x, &km->packed, &bounds, n,
                            &assignment->counts, err));
    TRY(refuse_unlabelled(km, first, n));
    TRY(cluster_totals_add(&km->totals, x, assignment->is_first ? NULL : labels, km->chunk_labels,
                           n, err));
    assignment->changed |= assignment->is_first || memcmp(labels, km->chunk_labels, bytes) != 0;
    memcpy(labels, km->chunk_labels, bytes);
    return STATUS_OK;
}

/* To measure a row's own distance takes as long as its scores with so many centres. */
#define TIGHTENING_CENTRES 6
/* Where it has not paid, it is tried again every so many iterations. */
#define TIGHTEN_AGAIN 8

/* Labels all rows by km->centres, and keeps the totals. */
static enum status assign(struct assignment *assignment)
{
    struct kmeans *km = assignment->km;
    nearest_centres_pack(km->device, &km->packed, km->packed_memory, km->centres, km->shift, km->k,
                         km->d);
    assignment->tighten = km->tighten || assignment->iteration % TIGHTEN_AGAIN == 0;
    km->n_assigned += km->n;
    km->moved = false;
    cluster_totals_begin(&km->totals, assignment->is_first);
    TRY(row_chunks_walk(km->rows, assign_chunk, assignment, km->err));
    cluster_totals_end(&km->totals);
    /* Only counts decide what pays, so that every run does the same. */
    const struct nearest_counts *counts = &assignment->counts;
    if (assignment->tighten)
        km->tighten = counts->kept * km->k >= counts->tightened * TIGHTENING_CENTRES;
    km->counts.rechecked += counts->rechecked;
    km->counts.scored += counts->scored;
    return STATUS_OK;
}

/* The inertia of the rows in their clusters around km->centres, from the totals: with m the shift,
 *   sum |x - c|^2 = sum |x - m|^2 - 2 sum_c (c - m).(S_c - n_c m) + sum_c n_c |c - m|^2
 * It is for people to follow a run by: where it is far below the scatter, digits cancel. */
static double inertia_of_totals(const struct kmeans *km)
{
    double inertia = km->scatter;
    for (int c = 0; c < km->k; c++) {
        const double *sum = km->totals.sums + (size_t)c * (size_t)km->d;
        const float *centre = centre_of(km->centres, km, c);
        double count = (double)km->totals.counts[c], change = 0;
        for (int j = 0; j < km->d; j++) {
            double mean = (double)km->shift[j], offset = (double)centre[j] - mean;
            change += offset * (count * offset - 2 * (sum[j] - count * mean));
        }
        inertia += change;
    }
    return inertia > 0 ? inertia : 0;
}

/* A sum with the rounding errors of its additions (Neumaier 1974). */
struct compensated {
    double sum, lost;
};

static void compensated_add(struct compensated *total, double value)
{
    double sum = total->sum + value;
    total->lost +=
        fabs(total->sum) >= fabs(value) ? total->sum - sum + value : value - sum + total->sum;
    total->sum = sum;
}

struct measuring {
    const struct kmeans *km;
    struct compensated total;
};

static enum status measure_chunk(void *context, const float *x, int first, int n, struct err *err)
{
    struct measuring *measuring = context;
    const struct kmeans *km = measuring->km;
    TRY(own_distance_fwd(km->device, km->chunk_distance, x, km->centres, km->labels + first, n,
                         km->d, err));
    for (int i = 0; i < n; i++)
        compensated_add(&measuring->total, km->chunk_distance[i]);
    return STATUS_OK;
}

static enum status measure_inertia(struct kmeans *km, double *inertia)
{
    struct measuring measuring = {.km = km};
    TRY(row_chunks_walk(km->rows, measure_chunk, &measuring, km->err));
    *inertia = measuring.total.sum + measuring.total.lost;
    return STATUS_OK;
}

/* ---- empty clusters -------------------------------------------------------------------------- */

static bool some_empty(const struct kmeans *km)
{
    for (int c = 0; c < km->k; c++)
        if (km->totals.counts[c] == 0)
            return true;
    return false;
}

struct distances {
    const struct kmeans *km;
    double *of_row; /* (n) */
};

static enum status distances_chunk(void *context, const float *x, int first, int n, struct err *err)
{
    const struct distances *distances = context;
    const struct kmeans *km = distances->km;
    return own_distance_fwd(km->device, distances->of_row + first, x, km->centres,
                            km->labels + first, n, km->d, err);
}

/* Makes row the only one of cluster c. */
static enum status move_row(struct kmeans *km, int row, int c)
{
    size_t d = (size_t)km->d;
    double *to = km->totals.sums + (size_t)c * d;
    double *from = km->totals.sums + (size_t)km->labels[row] * d;
    const float *x;
    TRY(row_chunks_read(km->rows, row, 1, &x, km->err));
    for (size_t j = 0; j < d; j++) {
        from[j] -= (double)x[j];
        to[j] = (double)x[j];
    }
    km->totals.counts[km->labels[row]] -= 1;
    km->totals.counts[c] = 1;
    km->labels[row] = c;
    /* It is compared with all centres: lower was of the others than its old one. */
    km->upper[row] = INFINITY, km->lower[row] = 0;
    km->moved = true;
    return STATUS_OK;
}

/* Gives each empty cluster the row that lies farthest from its centre, the lowest of equals. A row
 * alone in its cluster stays, or that one would be empty in turn. */
static enum status give_rows(struct kmeans *km, double *distance)
{
    for (int c = 0; c < km->k; c++) {
        if (km->totals.counts[c] > 0)
            continue;
        TRY(interrupt_check(km->err));
        int farthest = -1;
        double largest = 0;
        for (int i = 0; i < km->n; i++)
            if (distance[i] > largest && km->totals.counts[km->labels[i]] > 1)
                farthest = i, largest = distance[i];
        if (farthest < 0)
            return STATUS_OK;
        distance[farthest] = 0; /* taken */
        TRY(move_row(km, farthest, c));
    }
    return STATUS_OK;
}

static enum status fill_empty_clusters(struct kmeans *km)
{
    if (!some_empty(km))
        return STATUS_OK;
    struct distances distances = {km, mem_alloc((size_t)km->n, sizeof(double))};
    if (!distances.of_row)
        return err_no_memory(km->err, "distances of rows", (size_t)km->n * sizeof(double));
    enum status status = row_chunks_walk(km->rows, distances_chunk, &distances, km->err);
    if (status == STATUS_OK)
        status = give_rows(km, distances.of_row);
    mem_free(distances.of_row);
    return status;
}

/* ---- iterations ------------------------------------------------------------------------------ */

/* updated = the means of the clusters. A cluster that is still empty, or whose mean has no
 * direction, keeps its centre. */
static void update_centres(struct kmeans *km)
{
    size_t d = (size_t)km->d;
    for (int c = 0; c < km->k; c++) {
        const double *sum = km->totals.sums + (size_t)c * d;
        float *centre = centre_of(km->updated, km, c);
        double divisor = (double)km->totals.counts[c];
        if (km->settings->spherical && divisor > 0) {
            double square = 0;
            for (size_t j = 0; j < d; j++)
                square += sum[j] * sum[j];
            divisor = sqrt(square);
        }
        if (divisor > 0)
            for (size_t j = 0; j < d; j++)
                centre[j] = (float)(sum[j] / divisor);
        else
            memcpy(centre, centre_of(km->centres, km, c), d * sizeof *centre);
    }
}

/* Puts the updated centres in the place of the others. Returns the sum of the squares of how far
 * they have moved, and keeps how far each has, rounded up. */
static double move_centres(struct kmeans *km)
{
    double shift = 0;
    km->farthest = 0, km->drift_of_others = 0;
    for (int c = 0; c < km->k; c++) {
        const float *from = centre_of(km->centres, km, c), *to = centre_of(km->updated, km, c);
        double square = 0;
        for (int j = 0; j < km->d; j++) {
            double difference = (double)to[j] - (double)from[j];
            square += difference * difference;
        }
        shift += square;
        km->drift[c] = nextafterf((float)sqrt(square) * (1 + 0x1p-22f), INFINITY);
        if (c > 0 && km->drift[c] > km->drift[km->farthest]) {
            km->drift_of_others = km->drift[km->farthest];
            km->farthest = c;
        } else if (c > 0)
            km->drift_of_others = fmaxf(km->drift_of_others, km->drift[c]);
    }
    float *centres = km->centres;
    km->centres = km->updated, km->updated = centres;
    return shift;
}

/* One iteration: an assignment, and the centres that follow from it. *state says how it went. Where
 * no label changed, the centres are left as they are, since they are the means of these labels. */
static enum status iterate(struct kmeans *km, struct kmeans_state *state, bool *converged)
{
    struct assignment assignment = {.km = km, .iteration = ++state->iteration};
    assignment.is_first = assignment.iteration == 1;
    TRY(assign(&assignment));
    state->inertia = inertia_of_totals(km);
    state->shift = 0;
    *converged = !assignment.changed;
    if (*converged)
        return report(km, state);
    TRY(fill_empty_clusters(km));
    update_centres(km);
    double shift = move_centres(km);
    state->shift = sqrt(shift);
    *converged = shift <= km->largest_shift;
    return report(km, state);
}

/* From km->centres to the end. km->labels are the arg-min to km->centres when it returns. */
static enum status run(struct kmeans *km, int restart, struct kmeans_result *result)
{
    struct kmeans_state state = {.restart = restart};
    km->tighten = true;
    result->converged = false;
    while (!result->converged && state.iteration < km->settings->max_iterations)
        TRY(iterate(km, &state, &result->converged));
    result->iterations = state.iteration;
    if (state.shift > 0 || km->moved) {
        struct assignment last = {.km = km, .iteration = state.iteration + 1};
        TRY(assign(&last));
    }
    return measure_inertia(km, &result->inertia);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void add_scatter(void *context, const float *x, int first, int last, double *partial)
{
    const struct kmeans *km = context;
    for (int i = first; i < last; i++)
        for (int j = 0; j < km->d; j++) {
            double offset = (double)x[(size_t)i * (size_t)km->d + (size_t)j] - (double)km->shift[j];
            *partial += offset * offset;
        }
}

/* The mean, and how far rows scatter around it. The mean variance of the columns is the mean
 * squared distance from the mean row, divided by d. */
static enum status measure_rows(struct kmeans *km)
{
    double *mean = mem_alloc((size_t)km->d, sizeof *mean);
    if (!mean)
        return err_no_memory(km->err, "the mean", (size_t)km->d * sizeof *mean);
    enum status status = row_chunks_mean(km->rows, mean, km->err);
    for (int j = 0; j < km->d && status == STATUS_OK; j++)
        km->shift[j] = (float)mean[j];
    mem_free(mean);
    TRY(status);
    TRY(row_chunks_sum(km->rows, &km->scatter, 1, add_scatter, km, km->err));
    km->largest_shift = km->settings->tolerance * (km->scatter / km->n / km->d);
    return STATUS_OK;
}

/* What allocate takes, but for the totals. */
static size_t own_bytes(int n, int d, int k, size_t chunk)
{
    size_t centres = (2 * (size_t)k + 1) * (size_t)d + (size_t)k;
    return centres * sizeof(float) + nearest_centres_bytes(k, d) + 3 * (size_t)n * sizeof(float) +
           chunk * (sizeof(int32_t) + sizeof(double));
}

static enum status allocate(struct kmeans *km, struct arena *arena)
{
    size_t d = (size_t)km->d, k = (size_t)km->k, chunk = (size_t)km->rows->rows_per_chunk;
    size_t packed = nearest_centres_bytes(km->k, km->d);
    km->shift = arena_alloc(arena, d, sizeof *km->shift);
    km->centres = arena_alloc(arena, k * d, sizeof *km->centres);
    km->updated = arena_alloc(arena, k * d, sizeof *km->updated);
    km->labels = arena_alloc(arena, (size_t)km->n, sizeof *km->labels);
    km->upper = arena_alloc(arena, (size_t)km->n, sizeof *km->upper);
    km->lower = arena_alloc(arena, (size_t)km->n, sizeof *km->lower);
    km->drift = arena_alloc(arena, k, sizeof *km->drift);
    km->chunk_labels = arena_alloc(arena, chunk, sizeof *km->chunk_labels);
    km->chunk_distance = arena_alloc(arena, chunk, sizeof *km->chunk_distance);
    km->packed_memory = arena_alloc(arena, packed, 1);
    if (!km->shift || !km->centres || !km->updated || !km->labels || !km->upper || !km->lower ||
        !km->drift || !km->chunk_labels || !km->chunk_distance || !km->packed_memory)
        return err_no_memory(km->err, "k-means", own_bytes(km->n, km->d, km->k, chunk));
    return cluster_totals_open(&km->totals, km->device, km->k, km->d, km->err);
}

size_t kmeans_bytes(int n, int d, int k)
{
    return own_bytes(n, d, k, (size_t)row_chunks_size(n, d)) + cluster_totals_bytes(k, d) +
           (size_t)n * sizeof(double) + /* fill_empty_clusters */
           kmeans_seeder_bytes(n, d, k);
}

static enum status check(struct row_chunks *rows, const float *initial,
                         const struct kmeans_settings *settings, struct err *err)
{
    int n = rows->n;
    assert(rows->d >= 1 && settings->restarts >= 1 && settings->max_iterations >= 1);
    if (settings->k < 1)
        return err_set(err, STATUS_USAGE, "cannot make %d clusters of %d rows; ask for 1 or more",
                       settings->k, n);
    if (settings->k > n)
        return err_set(err, STATUS_USAGE, "cannot make %d clusters of %d rows; ask for %d or fewer",
                       settings->k, n, n);
    TRY(row_chunks_check(rows, err));
    if (initial) {
        enum status status = rows_check_finite(rows->device, initial, settings->k, rows->d, err);
        if (status != STATUS_OK && err)
            err_prefix(err, "initial centres");
        return status;
    }
    return STATUS_OK;
}

static enum status start(struct kmeans *km, struct kmeans_seeder *seeder, const float *initial,
                         int restart)
{
    if (!initial)
        return kmeans_seed(seeder, km->centres, restart, km->err);
    memcpy(km->centres, initial, (size_t)km->k * (size_t)km->d * sizeof *km->centres);
    for (int c = 0; km->settings->spherical && c < km->k; c++)
        row_normalise(centre_of(km->centres, km, c), km->d);
    return STATUS_OK;
}

static enum status run_all(struct kmeans *km, struct kmeans_seeder *seeder,
                           struct kmeans_result *result, const float *initial)
{
    int restarts = initial ? 1 : km->settings->restarts;
    for (int restart = 0; restart < restarts; restart++) {
        struct kmeans_result found;
        TRY(start(km, seeder, initial, restart));
        TRY(run(km, restart, &found));
        if (restart > 0 && !(found.inertia < result->inertia))
            continue;
        memcpy(result->centres, km->centres, (size_t)km->k * (size_t)km->d * sizeof(float));
        memcpy(result->labels, km->labels, (size_t)km->n * sizeof *km->labels);
        result->inertia = found.inertia;
        result->iterations = found.iterations;
        result->converged = found.converged;
    }
    result->n_assigned = km->n_assigned;
    result->n_scored = (double)km->counts.scored;
    result->n_rechecked = (double)km->counts.rechecked;
    return STATUS_OK;
}

enum status kmeans_fit(struct kmeans_result *result, struct row_chunks *rows, const float *initial,
                       const struct kmeans_settings *settings, struct err *err)
{
    TRY(check(rows, initial, settings, err));
    if (settings->spherical)
        TRY(row_chunks_normalise(rows, err));
    struct kmeans km = {.settings = settings, .err = err, .device = rows->device, .rows = rows};
    km.n = rows->n, km.d = rows->d, km.k = settings->k;
    struct kmeans_seeder seeder = {0};
    struct arena arena = {0};
    enum status status;
    TRY_TO(status, allocate(&km, &arena), done);
    TRY_TO(status, measure_rows(&km), done);
    if (!initial)
        TRY_TO(status, kmeans_seeder_open(&seeder, rows, km.scatter / km.n, settings, err), done);
    status = run_all(&km, &seeder, result, initial);
done:
    kmeans_seeder_close(&seeder);
    cluster_totals_close(&km.totals);
    arena_free(&arena);
    return status;
}
