/* The nearest centre of rows with bounds: which rows need scores at all. See nearest.h.
 *
 * With u the distance to the own centre and l the least distance to another one, a centre that
 * moves by m changes a distance by m at most (the triangle inequality): u + m is still no less, and
 * l less the farthest move of another centre still no more. Where u < l stays true, so does the
 * label. */
#include <math.h>
#include <stdatomic.h>
#include "host/base/at_most.h"
#include "host/base/divide_up.h"
#include "kernels/nearest_pack.h"
#include "kernels/own_distance.h"

/* ---- CPU ------------------------------------------------------------------------------------ */

/* Rows that a task looks through. */
#define MOST_ROWS  2048
#define LEAST_ROWS GEMM_PANEL
/* Distances that are measured at once. */
#define PAIRS 64

struct bounded_job {
    struct device *device;
    int32_t *label;
    const float *x;
    const struct nearest_centres *centres;
    const struct nearest_bounds *bounds;
    int n, rows_per_task;
    atomic_llong rechecked, scored, tightened, kept;
};

/* Loosens the row's bounds by what the centres have moved. True where it keeps its label. */
static bool keeps_label(const struct nearest_bounds *bounds, int i, int32_t label)
{
    const float *drift = bounds->drift;
    float others = label == bounds->farthest ? bounds->drift_of_others : drift[bounds->farthest];
    bounds->upper[i] = (bounds->upper[i] + drift[label]) * NEAREST_UP;
    bounds->lower[i] = fmaxf(bounds->lower[i] - others, 0) * NEAREST_DOWN;
    return bounds->upper[i] < bounds->lower[i];
}

/* Measures rows' distances to their own centres. Those that need scores still move to the front of
 * index; returns how many they are. */
static int tighten(const struct bounded_job *job, int32_t *index, int n)
{
    const struct nearest_bounds *bounds = job->bounds;
    const struct nearest_centres *centres = job->centres;
    double distance[PAIRS];
    int left = 0;
    for (int first = 0; first < n; first += PAIRS) {
        int n_pairs = at_most(n - first, PAIRS);
        own_distance_rows_cpu(job->device->isa, distance, job->x, centres->centres, job->label,
                              index + first, n_pairs, centres->d);
        for (int p = 0; p < n_pairs; p++) {
            int i = index[first + p];
            bounds->upper[i] = (float)sqrt(distance[p]) * NEAREST_UP;
            if (!(bounds->upper[i] < bounds->lower[i]))
                index[left++] = i;
        }
    }
    return left;
}

static void bounded_task(void *context, int task, int worker)
{
    struct bounded_job *job = context;
    const struct nearest_bounds *bounds = job->bounds;
    int first = task * job->rows_per_task,
        end = first + at_most(job->n - first, job->rows_per_task);
    int32_t index[MOST_ROWS];
    int n = 0;
    for (int i = first; i < end; i++)
        if (!bounds->drift || !keeps_label(bounds, i, job->label[i]))
            index[n++] = i;
    if (n == 0)
        return;
    if (bounds->drift && bounds->tighten) {
        int n_tightened = n;
        n = tighten(job, index, n);
        atomic_fetch_add_explicit(&job->tightened, n_tightened, memory_order_relaxed);
        atomic_fetch_add_explicit(&job->kept, n_tightened - n, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&job->scored, n, memory_order_relaxed);
    int n_rechecked =
        nearest_label_rows(job->device, worker, job->label, job->x, job->centres, bounds, index, n);
    atomic_fetch_add_explicit(&job->rechecked, n_rechecked, memory_order_relaxed);
}

void nearest_bounded_fwd_cpu(struct device *device, int32_t *label, const float *x,
                             const struct nearest_centres *centres,
                             const struct nearest_bounds *bounds, int n,
                             struct nearest_counts *counts)
{
    struct bounded_job job = {device, label, x, centres, bounds, .n = n};
    int rows = n / (8 * threads_size(device->threads));
    job.rows_per_task = rows < LEAST_ROWS ? LEAST_ROWS : at_most(rows, MOST_ROWS);
    threads_run(device->threads, (int)divide_up(n, job.rows_per_task), bounded_task, &job);
    counts->rechecked += atomic_load(&job.rechecked);
    counts->scored += atomic_load(&job.scored);
    counts->tightened += atomic_load(&job.tightened);
    counts->kept += atomic_load(&job.kept);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status nearest_bounded_fwd(struct device *device, int32_t *label, const float *x,
                                const struct nearest_centres *centres,
                                const struct nearest_bounds *bounds, int n,
                                struct nearest_counts *counts, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        nearest_bounded_fwd_cpu(device, label, x, centres, bounds, n, counts);
        return STATUS_OK;
    case DEVICE_CUDA:
        break;
    }
    return device_lacks("nearest", err);
}
