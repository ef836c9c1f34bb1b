/* k-means: when runs end, empty clusters, restarts. See kmeans.h. What goes over all rows is
 * Lloyd's steps (lloyd.h) and the seeding. */
#include "host/kmeans.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include "host/base/at_most.h"
#include "host/base/interrupt.h"
#include "host/base/memory.h"
#include "host/farthest_rows.h"
#include "host/kmeans_seed.h"
#include "host/lloyd.h"

struct kmeans {
    const struct kmeans_settings *settings;
    struct err *err;
    struct lloyd *lloyd;
    double largest_shift; /* settings->tolerance in the units of x, squared */
};

/* Runs side by side, as far as they are. */
struct runs {
    int first_restart, n, iteration;
    struct run_list active; /* before the iteration, until it is done */
    struct outcome {
        int iterations;
        bool converged;
    } outcome[RUNS_LARGEST];
};

/* ---- empty clusters -------------------------------------------------------------------------- */

static bool some_empty(const int64_t *counts, int k)
{
    for (int c = 0; c < k; c++)
        if (counts[c] == 0)
            return true;
    return false;
}

static void keep_distances(void *context, const double *distance, int first, int n)
{
    memcpy((double *)context + first, distance, (size_t)n * sizeof *distance);
}

/* Gives each empty cluster the row that lies farthest from its centre, the lowest of equals. A row
 * alone in its cluster stays, or that one would be empty in turn; so does one on its centre. */
static enum status give_rows(struct kmeans *km, int run, double *distance, int32_t *labels,
                             struct farthest_rows *farthest)
{
    struct lloyd *lloyd = km->lloyd;
    const int64_t *counts = lloyd->run[run].counts;
    TRY(lloyd_distances(lloyd, run, keep_distances, distance, km->err));
    TRY(lloyd_fetch(lloyd, run, NULL, labels, km->err));
    farthest_rows_begin(farthest, distance, lloyd->n);
    for (int c = 0; c < lloyd->k; c++) {
        if (counts[c] > 0)
            continue;
        int row;
        do { /* one that is passed over stays alone: no row comes to its cluster any more */
            row = farthest_rows_next(farthest);
            if (row < 0 || !(distance[row] > 0))
                return STATUS_OK;
        } while (counts[labels[row]] <= 1);
        TRY(interrupt_check(km->err));
        TRY(lloyd_give(lloyd, run, row, c, km->err));
    }
    return STATUS_OK;
}

/* *given: rows have changed their cluster. */
static enum status fill_empty_clusters(struct kmeans *km, int run, bool *given)
{
    size_t n = (size_t)km->lloyd->n;
    *given = some_empty(km->lloyd->run[run].counts, km->lloyd->k);
    if (!*given)
        return STATUS_OK;
    struct farthest_rows farthest = {.order = mem_alloc(n, sizeof(int32_t))};
    double *distance = mem_alloc(n, sizeof *distance);
    int32_t *labels = mem_alloc(n, sizeof *labels);
    enum status status = STATUS_OK;
    if (!distance || !labels || !farthest.order)
        status = err_no_memory(km->err, "distances of rows", n * 2 * sizeof *distance);
    if (status == STATUS_OK)
        status = give_rows(km, run, distance, labels, &farthest);
    if (status == STATUS_OK)
        status = lloyd_follow(km->lloyd, run, km->err);
    mem_free(distance);
    mem_free(labels);
    mem_free(farthest.order);
    return status;
}

/* ---- iterations ------------------------------------------------------------------------------ */

static enum status report(struct kmeans *km, const struct runs *runs, int run, double shift)
{
    const struct kmeans_settings *settings = km->settings;
    double inertia = km->lloyd->scatter + km->lloyd->run[run].gain;
    struct kmeans_state state = {.restart = runs->first_restart + run,
                                 .over = runs->first_restart + runs->n - runs->active.n,
                                 .iteration = runs->iteration,
                                 .k = km->lloyd->k,
                                 .inertia = inertia > 0 ? inertia : 0,
                                 .shift = shift,
                                 .last_shift = sqrt(km->largest_shift)};
    if (!settings->progress)
        return STATUS_OK;
    return settings->progress(settings->progress_context, &state, km->err);
}

static void list_run(struct run_list *list, int run)
{
    list->of[list->n++] = run;
}

/* One iteration of the runs that go on: assignments, and the centres that follow from them. Where
 * no label changed the centres stay as they are, since they are the means of these labels. */
static enum status iterate(struct kmeans *km, struct runs *runs)
{
    struct lloyd *lloyd = km->lloyd;
    struct run_list moved = {0}, ended = {0}, active = {0};
    runs->iteration++;
    TRY(lloyd_step(lloyd, &runs->active, runs->iteration, km->err));
    for (int i = 0; i < runs->active.n; i++) {
        int run = runs->active.of[i];
        const struct lloyd_run *of = &lloyd->run[run];
        struct outcome *outcome = &runs->outcome[run];
        bool given = false;
        outcome->iterations = runs->iteration;
        outcome->converged = !of->changed;
        if (of->changed) {
            TRY(fill_empty_clusters(km, run, &given));
            outcome->converged = of->moved <= km->largest_shift;
            bool ends = outcome->converged || runs->iteration == km->settings->max_iterations;
            list_run(&moved, run);
            if (!ends)
                list_run(&active, run);
            else if (of->moved > 0 || given)
                list_run(&ended, run);
        }
        TRY(report(km, runs, run, of->changed ? sqrt(of->moved) : 0));
    }
    lloyd_advance(lloyd, &moved);
    runs->active = active;
    return ended.n > 0 ? lloyd_label(lloyd, &ended, km->err) : STATUS_OK;
}

/* From the runs' centres to the end. Labels are the arg-min to the centres when it returns. */
static enum status run_to_end(struct kmeans *km, struct runs *runs)
{
    while (runs->active.n > 0)
        TRY(iterate(km, runs));
    return STATUS_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

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

/* Keeps the run's result where it is the best so far. */
static enum status take_result(struct kmeans *km, const struct runs *runs, int run,
                               struct kmeans_result *result)
{
    struct compensated total = {0};
    TRY(lloyd_distances(km->lloyd, run, compensated_visit, &total, km->err));
    double inertia = total.sum + total.lost;
    if (runs->first_restart + run > 0 && !(inertia < result->inertia))
        return STATUS_OK;
    result->inertia = inertia;
    result->restart = runs->first_restart + run;
    result->iterations = runs->outcome[run].iterations;
    result->converged = runs->outcome[run].converged;
    return lloyd_fetch(km->lloyd, run, result->centres, result->labels, km->err);
}

static enum status start(struct kmeans *km, const float *initial)
{
    size_t k = (size_t)km->lloyd->k, d = (size_t)km->lloyd->d;
    if (!km->settings->spherical)
        return lloyd_start(km->lloyd, initial, km->err);
    float *centres = mem_alloc(k * d, sizeof *centres);
    if (!centres)
        return err_no_memory(km->err, "initial centres", k * d * sizeof *centres);
    memcpy(centres, initial, k * d * sizeof *centres);
    for (size_t c = 0; c < k; c++)
        row_normalise(centres + c * d, km->lloyd->d);
    enum status status = lloyd_start(km->lloyd, centres, km->err);
    mem_free(centres);
    return status;
}

static enum status run_all(struct kmeans *km, struct kmeans_seeder *seeder,
                           struct kmeans_result *result, const float *initial)
{
    struct lloyd *lloyd = km->lloyd;
    int restarts = initial ? 1 : km->settings->restarts;
    for (int first = 0, n_runs; first < restarts; first += n_runs) {
        n_runs = at_most(restarts - first, lloyd->n_runs);
        struct runs runs = {.first_restart = first, .n = n_runs};
        for (int run = 0; run < n_runs; run++)
            list_run(&runs.active, run);
        if (initial)
            TRY(start(km, initial));
        else
            TRY(kmeans_seed(seeder, lloyd_begin(lloyd, n_runs), first, n_runs, km->err));
        TRY(run_to_end(km, &runs));
        for (int run = 0; run < n_runs; run++)
            TRY(take_result(km, &runs, run, result));
    }
    result->n_assigned = lloyd->n_assigned;
    result->n_compared = lloyd->n_compared;
    result->n_rechecked = lloyd->n_rechecked;
    result->streamed = lloyd->streamed;
    return STATUS_OK;
}

enum status kmeans_fit(struct kmeans_result *result, struct row_chunks *rows, const float *initial,
                       const struct kmeans_settings *settings, struct err *err)
{
    TRY(check(rows, initial, settings, err));
    if (settings->spherical)
        TRY(row_chunks_normalise(rows, err));
    struct kmeans km = {.settings = settings, .err = err};
    struct kmeans_seeder seeder = {0};
    enum status status;
    struct lloyd_reserve reserve = {0};
    if (!initial) {
        reserve.resident = kmeans_seeder_bytes(rows->n, rows->d, settings->k, true);
        reserve.streamed = kmeans_seeder_bytes(rows->n, rows->d, settings->k, false);
    }
    int restarts = initial ? 1 : settings->restarts;
    TRY_TO(status, lloyd_open(&km.lloyd, rows, settings, restarts, &reserve, err), done);
    /* The mean variance of the columns is the mean squared distance from the mean row, over d. */
    double variance = km.lloyd->scatter / rows->n;
    km.largest_shift = settings->tolerance * (variance / rows->d);
    if (!initial)
        TRY_TO(status, kmeans_seeder_open(&seeder, km.lloyd, variance, settings, err), done);
    status = run_all(&km, &seeder, result, initial);
done:
    kmeans_seeder_close(&seeder);
    lloyd_close(km.lloyd);
    return status;
}

size_t kmeans_bytes(int n, int d, int k)
{
    return lloyd_bytes(n, d, k) + kmeans_seeder_bytes(n, d, k, false) +
           (size_t)n * (sizeof(double) + 2 * sizeof(int32_t)); /* fill_empty_clusters */
}
