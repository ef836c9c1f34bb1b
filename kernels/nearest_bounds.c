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
 * and l is lessened by what the others have moved at most. But to do so in every iteration can cost
 * more than to compare with all once, and to leave the row alone until those bounds are used up. So
 * what is compared is each row's own choice, by what such bounds had between them. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>
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

/* What comparing a row takes beside its centres, in centres: to pack it; with a prefix, to measure
 * its own distance; and there what is done whatever its columns, so many of a centre's columns.
 * Half and twice as much make little difference (docs/speed.md). */
#define PACKING   7
#define MEASURING 6
#define DECIDING  2000

struct prefixes {
    int n[N_PREFIXES];       /* centres */
    float drift[N_PREFIXES]; /* no other one has moved farther */
    /* An iteration costs a row cost + refresh / between: what it is compared with, and its share of
     * the next comparison with all, which comes after between / drift iterations like this one.
     * NONE costs that share alone: nothing is done till then. With ALL it comes every time. */
    float cost[N_PREFIXES], refresh[N_PREFIXES];
    float least, most; /* where between is not among them, NONE or ALL costs least */
};

struct bounded_job {
    struct device *device;
    int32_t *label;
    const float *x;
    const struct nearest_centres *centres;
    const struct nearest_bounds *bounds;
    int n, rows_per_task;
    struct prefixes prefixes; /* of centres with an order */
    bool by_prefixes;         /* there are such, and they pay for some rows */
    atomic_llong rechecked, compared, tightened, kept;
};

/* Rows of a task that their bounds do not settle. */
struct open_rows {
    int n;
    int32_t row[MOST_ROWS];
    uint8_t prefix[MOST_ROWS]; /* what each is to be compared with */
};

static inline void add_row(struct open_rows *open, int i, int prefix)
{
    open->row[open->n] = i;
    open->prefix[open->n++] = (uint8_t)prefix;
}

/* ---- what bounds say ------------------------------------------------------------------------- */

static inline float lower_of(float a, float b)
{
    return a < b ? a : b;
}

static inline float lessened(float lower, float by)
{
    float rest = lower - by;
    return (rest > 0 ? rest : 0) * NEAREST_DOWN; /* 0 for NaN too: infinity less itself */
}

static inline void loosen_upper(const struct bounded_job *job, int i)
{
    float *upper = &job->bounds->upper[i];
    *upper = (*upper + job->bounds->drift[job->label[i]]) * NEAREST_UP;
}

/* True where the row's own centre is nearer than any other can be by now: it keeps its label, and
 * its lower bound is lessened. */
static inline bool keeps_label(const struct bounded_job *job, int i)
{
    const struct nearest_bounds *bounds = job->bounds;
    float others = job->label[i] == bounds->farthest ? bounds->drift_of_others
                                                     : bounds->drift[bounds->farthest];
    float rest = lessened(bounds->lower[i], others);
    bool keeps = bounds->upper[i] < rest;
    bounds->lower[i] = keeps ? rest : bounds->lower[i]; /* no branch: rows differ */
    return keeps;
}

/* ---- which prefix ---------------------------------------------------------------------------- */

static inline int cheapest_prefix(const struct prefixes *prefixes, float between)
{
    int cheapest = NONE;
    float least = prefixes->refresh[NONE];
    for (int p = NONE + 1; p <= ALL; p++) {
        float cost = prefixes->cost[p] * between + prefixes->refresh[p];
        cheapest = cost < least ? p : cheapest;
        least = cost < least ? cost : least;
    }
    return cheapest;
}

/* The shortest one behind which no centre can be nearer than the row's own, if so much lies between
 * its bounds. */
static inline int least_prefix(const struct prefixes *prefixes, float between)
{
    int p = NONE + 1;
    for (int q = NONE + 1; q < ALL; q++)
        p += !(prefixes->drift[q] < between); /* drifts fall */
    return p;
}

/* What the row, whose bounds do not settle it any more, is to be compared with. */
static inline int planned_prefix(const struct bounded_job *job, int i)
{
    if (!job->by_prefixes)
        return ALL;
    float between = job->bounds->between[i];
    if (!(between > job->prefixes.least && between < job->prefixes.most))
        return ALL;
    int p = cheapest_prefix(&job->prefixes, between);
    return p == NONE ? ALL : p; /* what NONE waits for has come */
}

/* Rows whose own distance is to be measured, and what they are to be compared with then. */
struct measured_rows {
    int n;
    int32_t row[PAIRS];
    uint8_t planned[PAIRS];
};

/* Measures them, which settles some. */
static void measure(struct bounded_job *job, struct open_rows *open, struct measured_rows *measured)
{
    const struct nearest_bounds *bounds = job->bounds;
    double distance[PAIRS];
    int n_tightened = 0, n_kept = 0;
    own_distance_rows_cpu(job->device->isa, distance, job->x, job->centres->centres, job->label,
                          measured->row, measured->n, job->centres->d);
    for (int r = 0; r < measured->n; r++) {
        int i = measured->row[r], p = measured->planned[r];
        bounds->upper[i] = (float)sqrt(distance[r]) * NEAREST_UP;
        bool kept = keeps_label(job, i);
        n_tightened += p == ALL, n_kept += p == ALL && kept;
        if (kept)
            continue;
        if (p < ALL)
            p = at_least(p, least_prefix(&job->prefixes, bounds->lower[i] - bounds->upper[i]));
        add_row(open, i, p);
    }
    measured->n = 0;
    atomic_fetch_add_explicit(&job->tightened, n_tightened, memory_order_relaxed);
    atomic_fetch_add_explicit(&job->kept, n_kept, memory_order_relaxed);
}

static void open_task(struct bounded_job *job, struct open_rows *open, int first, int end)
{
    const struct nearest_bounds *bounds = job->bounds;
    struct measured_rows measured = {0};
    bool tighten = bounds->drift && bounds->tighten;
    open->n = 0;
    for (int i = first; i < end; i++) {
        if (bounds->drift) {
            loosen_upper(job, i);
            if (keeps_label(job, i))
                continue;
        }
        int p = planned_prefix(job, i);
        if (p == ALL && !tighten) {
            add_row(open, i, ALL);
            continue;
        }
        measured.row[measured.n] = i;
        measured.planned[measured.n++] = (uint8_t)p;
        if (measured.n == PAIRS)
            measure(job, open, &measured);
    }
    if (measured.n > 0)
        measure(job, open, &measured);
}

/* ---- comparing ------------------------------------------------------------------------------- */

/* The row's scores with the first centres are known, of which no other has moved farther than
 * `drift`, and its distance to its own one: u. True where that decides: the row has its label and
 * bounds. */
static bool decide(const struct bounded_job *job, int i, float drift,
                   const struct nearest_best *best)
{
    const struct nearest_centres *centres = job->centres;
    const struct nearest_bounds *bounds = job->bounds;
    int label = nearest_at_place(centres, best->place);
    bool is_own = label == job->label[i];
    if (!nearest_is_bounded(best->square))
        return false;
    float rest = lessened(bounds->lower[i], drift), own = bounds->upper[i];
    float first = nearest_lower(centres, best->square, is_own ? best->second : best->best);
    if (own < rest && own < first) {
        bounds->lower[i] = lower_of(rest, first);
        return true;
    }
    double least = nearest_least(centres, best->place, best->best, best->reach, best->square);
    float upper = nearest_upper(centres, best->square, least);
    float others = lower_of(rest, nearest_lower(centres, best->square, best->second));
    /* The own centre may be none of the first; u was measured, and is no more than twice rounded
     * up. */
    others = lower_of(others, own * NEAREST_DOWN * NEAREST_DOWN);
    if (is_own || !(upper < others))
        return false;
    job->label[i] = label;
    bounds->upper[i] = upper, bounds->lower[i] = others;
    return true;
}

/* Compares n rows with a prefix. Those that it does not decide are added to `open`. */
static void compare_prefix(struct bounded_job *job, struct open_rows *open, int p,
                           const int32_t *row, int n, int worker)
{
    int n_places = job->prefixes.n[p];
    struct nearest_best best[NEAREST_BEST_ROWS];
    for (int first = 0; first < n; first += NEAREST_BEST_ROWS) {
        int n_rows = at_most(n - first, NEAREST_BEST_ROWS);
        nearest_score_rows(job->device, worker, best, job->x, job->centres, n_places, row + first,
                           n_rows);
        for (int r = 0; r < n_rows; r++) {
            open->row[open->n] = row[first + r];
            open->n += !decide(job, row[first + r], job->prefixes.drift[p], &best[r]);
        }
    }
    atomic_fetch_add_explicit(&job->compared, (int64_t)n * n_places, memory_order_relaxed);
}

/* Rows by what they are to be compared with: those of prefix p are row[begin[p]] on. */
struct sorted_rows {
    int begin[N_PREFIXES + 1];
    int32_t row[MOST_ROWS];
};

static void sort_rows(struct sorted_rows *sorted, const struct open_rows *open)
{
    int at[N_PREFIXES];
    for (int p = 0; p <= N_PREFIXES; p++)
        sorted->begin[p] = 0;
    for (int i = 0; i < open->n; i++)
        sorted->begin[open->prefix[i] + 1]++;
    for (int p = 0; p < N_PREFIXES; p++) {
        at[p] = sorted->begin[p];
        sorted->begin[p + 1] += sorted->begin[p];
    }
    for (int i = 0; i < open->n; i++)
        sorted->row[at[open->prefix[i]]++] = open->row[i];
}

/* Leaves the rows that are to be compared with all centres. */
static void compare_prefixes(struct bounded_job *job, struct open_rows *open, int worker)
{
    struct sorted_rows sorted;
    sort_rows(&sorted, open);
    open->n = 0;
    for (int p = NONE + 1; p <= ALL; p++) {
        const int32_t *row = sorted.row + sorted.begin[p];
        int n = sorted.begin[p + 1] - sorted.begin[p];
        if (p < ALL)
            compare_prefix(job, open, p, row, n, worker);
        else
            memcpy(open->row + open->n, row, (size_t)n * sizeof *row), open->n += n;
    }
}

static void bounded_task(void *context, int task, int worker)
{
    struct bounded_job *job = context;
    const struct nearest_centres *centres = job->centres;
    struct open_rows open;
    int first = task * job->rows_per_task;
    open_task(job, &open, first, first + at_most(job->n - first, job->rows_per_task));
    if (job->by_prefixes)
        compare_prefixes(job, &open, worker);
    int n_rechecked = nearest_label_rows(job->device, worker, job->label, job->x, centres,
                                         job->bounds, open.row, open.n);
    atomic_fetch_add_explicit(&job->rechecked, n_rechecked, memory_order_relaxed);
    atomic_fetch_add_explicit(&job->compared, (int64_t)open.n * centres->k, memory_order_relaxed);
}

static void set_prefixes(struct bounded_job *job)
{
    const struct nearest_centres *centres = job->centres;
    struct prefixes *prefixes = &job->prefixes;
    int k = centres->k;
    /* A centre is as many columns and what follows its score. */
    float deciding = (float)DECIDING / (float)(centres->d + 8);
    for (int p = 0; p < N_PREFIXES; p++) {
        int n = (int)divide_up((int64_t)k * prefix_32nds[p], 32);
        prefixes->n[p] = n;
        prefixes->drift[p] = n < k ? job->bounds->drift[centres->order[n]] : 0;
        prefixes->cost[p] = (float)(PACKING + n) + (p < ALL ? MEASURING + deciding : 0);
        prefixes->refresh[p] = (float)(PACKING + k) * prefixes->drift[p];
    }
    prefixes->least = INFINITY, prefixes->most = 0;
    for (int p = NONE + 1; p < ALL; p++) {
        float cost = prefixes->cost[p], saved = prefixes->cost[ALL] - cost;
        if (!(saved > 0))
            break;
        prefixes->least = lower_of(prefixes->least, prefixes->refresh[p] / saved);
        prefixes->most =
            fmaxf(prefixes->most, (prefixes->refresh[NONE] - prefixes->refresh[p]) / cost);
    }
}

void nearest_bounded_fwd_cpu(struct device *device, int32_t *label, const float *x,
                             const struct nearest_centres *centres,
                             const struct nearest_bounds *bounds, int n,
                             struct nearest_counts *counts)
{
    struct bounded_job job = {device, label, x, centres, bounds, .n = n};
    if (bounds->drift && centres->order && centres->bounded) {
        set_prefixes(&job);
        job.by_prefixes = job.prefixes.least < job.prefixes.most;
    }
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
