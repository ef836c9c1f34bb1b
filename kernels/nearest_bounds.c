/* The nearest centre of rows with bounds: which rows need scores at all, and with which centres.
 * See nearest.h.
 *
 * With u the distance to the own centre and l the least distance to another one, a centre that
 * moves by m changes a distance by m at most (the triangle inequality): u + m is still no less, and
 * l less the farthest move of another centre still no more. Where u < l stays true, so does the
 * label.
 *
 * Of many centres a few move far for many iterations. One l less their moves would be of no use to
 * any row; so where centres have an order, by their moves, a row is compared with the first ones,
 * and l is lessened by what the others have moved at most. How many that are is each row's own
 * choice, by what is between its bounds. */
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

/* The first centres of an order that a row is compared with, in 32nds of all: none, some, or all.
 * They are few numbers, so that rows of one fill strips. */
static const unsigned char prefix_32nds[] = {0, 1, 2, 3, 4, 6, 8, 12, 16, 32};
#define N_PREFIXES ((int)(sizeof prefix_32nds))
#define NONE       0
#define ALL        (N_PREFIXES - 1)
/* So many that the moves of the others are at most this share of what is between the row's bounds,
 * the rest of which serves the iterations that follow; or if that asks for all, only what must be.
 * docs/speed.md has what other shares come to. */
#define SHARE 0.3f

struct prefix {
    int n;       /* centres */
    float drift; /* no other one has moved farther */
};

struct bounded_job {
    struct device *device;
    int32_t *label;
    const float *x;
    const struct nearest_centres *centres;
    const struct nearest_bounds *bounds;
    int n, rows_per_task;
    struct prefix prefixes[N_PREFIXES]; /* of centres with an order */
    atomic_llong rechecked, compared, tightened, kept;
};

/* Rows of a task that their bounds do not settle. */
struct open_rows {
    int n;
    int32_t row[MOST_ROWS];
    uint8_t prefix[MOST_ROWS]; /* what each is to be compared with */
};

/* ---- what bounds say ------------------------------------------------------------------------- */

static float lessened(float lower, float by)
{
    return fmaxf(lower - by, 0) * NEAREST_DOWN;
}

/* Loosens the row's bounds by what the centres have moved; with an order, its upper one. */
static void loosen(const struct bounded_job *job, int i)
{
    const struct nearest_bounds *bounds = job->bounds;
    int label = job->label[i];
    bounds->upper[i] = (bounds->upper[i] + bounds->drift[label]) * NEAREST_UP;
    if (job->centres->order)
        return;
    float others =
        label == bounds->farthest ? bounds->drift_of_others : bounds->drift[bounds->farthest];
    bounds->lower[i] = lessened(bounds->lower[i], others);
}

/* The shortest prefix behind which no centre would be nearer by now than the row's own, if each had
 * moved so many times as far. */
static int prefix_for(const struct bounded_job *job, int i, float times)
{
    float lower = job->bounds->lower[i], upper = job->bounds->upper[i];
    int p = NONE;
    while (p < ALL && !(upper < lessened(lower, times * job->prefixes[p].drift)))
        p++;
    return p;
}

/* What the row must be compared with. NONE: it keeps its label. */
static int wanted_prefix(const struct bounded_job *job, int i)
{
    if (!(job->bounds->upper[i] < job->bounds->lower[i]))
        return ALL;
    if (!job->centres->order)
        return NONE;
    int p = prefix_for(job, i, 1 / SHARE);
    return p == ALL ? prefix_for(job, i, 1) : p;
}

/* Adds the row to `open`, or settles it. */
static void open_or_keep(const struct bounded_job *job, struct open_rows *open, int i)
{
    int p = wanted_prefix(job, i);
    if (p != NONE) {
        open->row[open->n] = i;
        open->prefix[open->n++] = (uint8_t)(job->centres->bounded ? p : ALL);
    } else if (job->centres->order)
        job->bounds->lower[i] = lessened(job->bounds->lower[i], job->prefixes[NONE].drift);
}

/* Measures open rows' distances to their own centres, which settles some. */
static void tighten(struct bounded_job *job, struct open_rows *open)
{
    const struct nearest_centres *centres = job->centres;
    double distance[PAIRS];
    int n = open->n;
    open->n = 0;
    for (int first = 0; first < n; first += PAIRS) {
        int n_pairs = at_most(n - first, PAIRS);
        const int32_t *row = open->row + first; /* what is open still is written before it */
        own_distance_rows_cpu(job->device->isa, distance, job->x, centres->centres, job->label, row,
                              n_pairs, centres->d);
        for (int p = 0; p < n_pairs; p++) {
            job->bounds->upper[row[p]] = (float)sqrt(distance[p]) * NEAREST_UP;
            open_or_keep(job, open, row[p]);
        }
    }
    atomic_fetch_add_explicit(&job->tightened, n, memory_order_relaxed);
    atomic_fetch_add_explicit(&job->kept, n - open->n, memory_order_relaxed);
}

static void open_task(struct bounded_job *job, struct open_rows *open, int first, int end)
{
    const struct nearest_bounds *bounds = job->bounds;
    open->n = 0;
    for (int i = first; i < end; i++) {
        if (bounds->drift) {
            loosen(job, i);
            open_or_keep(job, open, i);
            continue;
        }
        open->row[open->n] = i;
        open->prefix[open->n++] = ALL;
    }
    if (bounds->drift && (bounds->tighten || job->centres->order))
        tighten(job, open);
}

/* ---- comparing ------------------------------------------------------------------------------- */

/* The row's scores with the first centres are known, and its distance to its own one: u. True where
 * that decides: the row has its label and bounds. */
static bool decide(const struct bounded_job *job, int i, const struct prefix *prefix,
                   const struct nearest_best *best)
{
    const struct nearest_centres *centres = job->centres;
    const struct nearest_bounds *bounds = job->bounds;
    int label = nearest_at_place(centres, best->place);
    bool is_own = label == job->label[i];
    if (!nearest_is_bounded(best->square))
        return false;
    float rest = lessened(bounds->lower[i], prefix->drift), own = bounds->upper[i];
    float first = nearest_lower(centres, best->square, is_own ? best->second : best->best);
    if (own < fminf(rest, first)) {
        bounds->lower[i] = fminf(rest, first);
        return true;
    }
    double least = nearest_least(centres, best->place, best->best, best->reach, best->square);
    float upper = nearest_upper(centres, best->square, least);
    float others = fminf(rest, nearest_lower(centres, best->square, best->second));
    /* The own centre may be none of the first; u was measured, and is no more than twice rounded
     * up. */
    others = fminf(others, own * NEAREST_DOWN * NEAREST_DOWN);
    if (is_own || !(upper < others))
        return false;
    job->label[i] = label;
    bounds->upper[i] = upper, bounds->lower[i] = others;
    return true;
}

/* Compares the open rows of one prefix. Those that it does not decide are to be compared with all.
 */
static void compare_prefix(struct bounded_job *job, struct open_rows *open, int p, int worker)
{
    const struct prefix *prefix = &job->prefixes[p];
    struct nearest_best best[NEAREST_BEST_ROWS];
    int32_t row[NEAREST_BEST_ROWS], place[NEAREST_BEST_ROWS];
    for (int next = 0, n = 0; next < open->n; n = 0) {
        for (; next < open->n && n < NEAREST_BEST_ROWS; next++)
            if (open->prefix[next] == p) {
                row[n] = open->row[next];
                place[n++] = next;
            }
        if (n == 0)
            return;
        nearest_score_rows(job->device, worker, best, job->x, job->centres, prefix->n, row, n);
        for (int r = 0; r < n; r++)
            open->prefix[place[r]] = decide(job, row[r], prefix, &best[r]) ? NONE : ALL;
        atomic_fetch_add_explicit(&job->compared, (int64_t)n * prefix->n, memory_order_relaxed);
    }
}

static void compare_all(struct bounded_job *job, struct open_rows *open, int worker)
{
    int n = 0;
    for (int i = 0; i < open->n; i++)
        if (open->prefix[i] == ALL)
            open->row[n++] = open->row[i];
    int n_rechecked = nearest_label_rows(job->device, worker, job->label, job->x, job->centres,
                                         job->bounds, open->row, n);
    atomic_fetch_add_explicit(&job->rechecked, n_rechecked, memory_order_relaxed);
    atomic_fetch_add_explicit(&job->compared, (int64_t)n * job->centres->k, memory_order_relaxed);
}

static void bounded_task(void *context, int task, int worker)
{
    struct bounded_job *job = context;
    struct open_rows open;
    int first = task * job->rows_per_task;
    open_task(job, &open, first, first + at_most(job->n - first, job->rows_per_task));
    for (int p = NONE + 1; p < ALL && job->centres->order; p++)
        compare_prefix(job, &open, p, worker);
    compare_all(job, &open, worker);
}

static void set_prefixes(struct bounded_job *job)
{
    int k = job->centres->k;
    const int32_t *order = job->centres->order;
    for (int p = 0; p < N_PREFIXES; p++) {
        struct prefix *prefix = &job->prefixes[p];
        prefix->n = (int)((int64_t)k * prefix_32nds[p] / 32);
        prefix->drift = prefix->n < k ? job->bounds->drift[order[prefix->n]] : 0;
    }
}

void nearest_bounded_fwd_cpu(struct device *device, int32_t *label, const float *x,
                             const struct nearest_centres *centres,
                             const struct nearest_bounds *bounds, int n,
                             struct nearest_counts *counts)
{
    struct bounded_job job = {device, label, x, centres, bounds, .n = n};
    if (bounds->drift && centres->order)
        set_prefixes(&job);
    int rows = n / (8 * threads_size(device->threads));
    job.rows_per_task = rows < LEAST_ROWS ? LEAST_ROWS : at_most(rows, MOST_ROWS);
    threads_run(device->threads, (int)divide_up(n, job.rows_per_task), bounded_task, &job);
    counts->rechecked += atomic_load(&job.rechecked);
    counts->compared += atomic_load(&job.compared);
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
