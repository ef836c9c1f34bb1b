/* Lloyd's steps on the CPU: one run. See lloyd.h. */
#include <math.h>
#include <string.h>
#include "host/base/memory.h"
#include "host/cluster_totals.h"
#include "host/farthest_rows.h"
#include "host/lloyd.h"
#include "kernels/centre_update.h"
#include "kernels/nearest.h"
#include "kernels/own_distance.h"

struct lloyd_cpu {
    struct lloyd lloyd; /* first: they are one another's */
    struct arena arena;
    float *mean;     /* (d), which kernels subtract */
    float *centres;  /* (k, d) */
    float *followed; /* (k, d) the centres that follow */
    int32_t *labels; /* (n) */
    /* What is known of the rows' distances: nearest_bounded_fwd's. */
    float *upper, *lower, *between; /* (n) */
    float *drift;                   /* (k) of the centres since they were made */
    int farthest;                   /* the centre that has drifted most */
    float drift_of_others;          /* the largest drift but its */
    int32_t *order;                 /* (k) the centres by their drift, where they are many */
    int32_t *heap;                  /* (k) */
    bool tighten;
    double *moved, *gain;   /* (k) */
    int32_t *chunk_labels;  /* of a chunk */
    double *chunk_distance; /* of a chunk */
    struct nearest_centres packed;
    void *packed_memory;
    struct cluster_totals totals; /* of the rows in each cluster of `labels` */
};

static struct lloyd_cpu *cpu_of(struct lloyd *lloyd)
{
    return (struct lloyd_cpu *)(void *)lloyd;
}

/* ---- labels ---------------------------------------------------------------------------------- */

struct assignment {
    struct lloyd_cpu *cpu;
    bool is_first; /* no row has a label or bounds */
    bool tighten, changed;
    struct nearest_counts counts;
};

static enum status assign_chunk(void *context, const float *x, int first, int n, struct err *err)
{
    struct assignment *assignment = context;
    struct lloyd_cpu *cpu = assignment->cpu;
    struct device *device = cpu->lloyd.device;
    int32_t *labels = cpu->labels + first;
    size_t bytes = (size_t)n * sizeof *labels;
    struct nearest_bounds bounds = {
        .upper = cpu->upper + first, .lower = cpu->lower + first, .between = cpu->between + first};
    if (!assignment->is_first) {
        bounds.drift = cpu->drift;
        bounds.farthest = cpu->farthest;
        bounds.drift_of_others = cpu->drift_of_others;
        bounds.tighten = assignment->tighten;
        memcpy(cpu->chunk_labels, labels, bytes);
    }
    TRY(nearest_bounded_fwd(device, cpu->chunk_labels, x, &cpu->packed, &bounds, n,
                            &assignment->counts, err));
    for (int i = 0; i < n; i++)
        if (cpu->chunk_labels[i] < 0)
            return lloyd_not_finite(first + i, err);
    TRY(cluster_totals_add(&cpu->totals, x, assignment->is_first ? NULL : labels, cpu->chunk_labels,
                           n, err));
    assignment->changed |= assignment->is_first || memcmp(labels, cpu->chunk_labels, bytes) != 0;
    memcpy(labels, cpu->chunk_labels, bytes);
    return STATUS_OK;
}

/* To measure a row's own distance takes as long as its scores with so many centres. */
#define TIGHTENING_CENTRES 6
/* Where it has not paid, it is tried again every so many iterations. */
#define TIGHTEN_AGAIN 8

/* So many centres have an order: of fewer, a part costs not much less than all. */
#define ORDERED_CENTRES 32

/* Labels all rows by the centres, and keeps the totals. */
static enum status assign(struct lloyd_cpu *cpu, struct assignment *assignment, struct err *err)
{
    struct lloyd *lloyd = &cpu->lloyd;
    bool ordered = !assignment->is_first && lloyd->k >= ORDERED_CENTRES;
    assignment->cpu = cpu;
    nearest_centres_pack(lloyd->device, &cpu->packed, cpu->packed_memory, cpu->centres, cpu->mean,
                         ordered ? cpu->order : NULL, lloyd->k, lloyd->d);
    cluster_totals_begin(&cpu->totals, assignment->is_first);
    TRY(row_chunks_walk(lloyd->rows, assign_chunk, assignment, err));
    cluster_totals_end(&cpu->totals);
    /* Only counts decide what pays, so that every run does the same. */
    const struct nearest_counts *counts = &assignment->counts;
    if (assignment->tighten)
        cpu->tighten = counts->kept * lloyd->k >= counts->tightened * TIGHTENING_CENTRES;
    lloyd->n_assigned += lloyd->n;
    lloyd->n_compared += (double)counts->compared / lloyd->k;
    lloyd->n_rechecked += (double)counts->rechecked;
    return STATUS_OK;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static enum status follow(struct lloyd *lloyd, int run, struct err *err)
{
    struct lloyd_cpu *cpu = cpu_of(lloyd);
    (void)run;
    TRY(centre_update(lloyd->device, cpu->followed, cpu->moved, cpu->totals.sums,
                      cpu->totals.counts, cpu->centres, lloyd->k, lloyd->d, lloyd->spherical, NULL,
                      err));
    lloyd->run[0].moved = lloyd_sum(cpu->moved, lloyd->k);
    return STATUS_OK;
}

static enum status step(struct lloyd *lloyd, const struct run_list *runs, int iteration,
                        struct err *err)
{
    struct lloyd_cpu *cpu = cpu_of(lloyd);
    struct assignment assignment = {.is_first = iteration == 1};
    (void)runs;
    assignment.tighten = cpu->tighten || iteration % TIGHTEN_AGAIN == 0;
    TRY(assign(cpu, &assignment, err));
    lloyd->run[0].changed = assignment.changed;
    TRY(centre_gain(lloyd->device, cpu->gain, cpu->totals.sums, cpu->totals.counts, cpu->centres,
                    cpu->mean, lloyd->k, lloyd->d, NULL, err));
    lloyd->run[0].gain = lloyd_sum(cpu->gain, lloyd->k);
    return assignment.changed ? follow(lloyd, 0, err) : STATUS_OK;
}

/* The centres by how far they have moved: by their drift too, since it grows with that. */
static void order_centres(struct lloyd_cpu *cpu)
{
    struct farthest_rows farthest = {.order = cpu->heap};
    farthest_rows_begin(&farthest, cpu->moved, cpu->lloyd.k);
    for (int place = 0; place < cpu->lloyd.k; place++)
        cpu->order[place] = farthest_rows_next(&farthest);
}

static void advance(struct lloyd *lloyd, const struct run_list *runs)
{
    struct lloyd_cpu *cpu = cpu_of(lloyd);
    if (runs->n == 0)
        return;
    cpu->farthest = 0, cpu->drift_of_others = 0;
    for (int c = 0; c < lloyd->k; c++) {
        float *drift = cpu->drift;
        drift[c] = nextafterf((float)sqrt(cpu->moved[c]) * (1 + 0x1p-22f), INFINITY);
        if (c > 0 && drift[c] > drift[cpu->farthest]) {
            cpu->drift_of_others = drift[cpu->farthest];
            cpu->farthest = c;
        } else if (c > 0)
            cpu->drift_of_others = fmaxf(cpu->drift_of_others, drift[c]);
    }
    if (lloyd->k >= ORDERED_CENTRES)
        order_centres(cpu);
    float *centres = cpu->centres;
    cpu->centres = cpu->followed, cpu->followed = centres;
}

static enum status label(struct lloyd *lloyd, const struct run_list *runs, struct err *err)
{
    struct lloyd_cpu *cpu = cpu_of(lloyd);
    struct assignment assignment = {.tighten = cpu->tighten};
    (void)runs;
    return assign(cpu, &assignment, err);
}

/* ---- distances ------------------------------------------------------------------------------- */

struct measuring {
    struct lloyd_cpu *cpu;
    const float *centres;
    lloyd_visit *visit;
    void *context;
};

static enum status measure_chunk(void *context, const float *x, int first, int n, struct err *err)
{
    const struct measuring *measuring = context;
    struct lloyd_cpu *cpu = measuring->cpu;
    TRY(own_distance_fwd(cpu->lloyd.device, cpu->chunk_distance, x, measuring->centres,
                         cpu->labels + first, n, cpu->lloyd.d, err));
    measuring->visit(measuring->context, cpu->chunk_distance, first, n);
    return STATUS_OK;
}

static enum status distances(struct lloyd *lloyd, int run, lloyd_visit *visit, void *context,
                             struct err *err)
{
    struct lloyd_cpu *cpu = cpu_of(lloyd);
    struct measuring measuring = {cpu, cpu->centres, visit, context};
    (void)run;
    return row_chunks_walk(lloyd->rows, measure_chunk, &measuring, err);
}

/* The mean, and how far rows scatter around it, as if it were everybody's centre. */
static enum status measure_rows(struct lloyd_cpu *cpu, struct err *err)
{
    struct lloyd *lloyd = &cpu->lloyd;
    struct compensated total = {0};
    struct measuring measuring = {cpu, cpu->mean, compensated_visit, &total};
    double *mean = mem_alloc((size_t)lloyd->d, sizeof *mean);
    if (!mean)
        return err_no_memory(err, "the mean", (size_t)lloyd->d * sizeof *mean);
    enum status status = row_chunks_mean(lloyd->rows, mean, err);
    for (int j = 0; j < lloyd->d && status == STATUS_OK; j++)
        cpu->mean[j] = (float)mean[j];
    mem_free(mean);
    TRY(status);
    memset(cpu->labels, 0, (size_t)lloyd->n * sizeof *cpu->labels);
    TRY(row_chunks_walk(lloyd->rows, measure_chunk, &measuring, err));
    lloyd->scatter = total.sum + total.lost;
    return STATUS_OK;
}

/* ---- empty clusters -------------------------------------------------------------------------- */

static enum status give(struct lloyd *lloyd, int run, int row, int c, struct err *err)
{
    struct lloyd_cpu *cpu = cpu_of(lloyd);
    size_t d = (size_t)lloyd->d;
    double *to = cpu->totals.sums + (size_t)c * d;
    double *from = cpu->totals.sums + (size_t)cpu->labels[row] * d;
    const float *x;
    (void)run;
    TRY(row_chunks_read(lloyd->rows, row, 1, &x, err));
    for (size_t j = 0; j < d; j++) {
        from[j] -= (double)x[j];
        to[j] = (double)x[j];
    }
    cpu->totals.counts[cpu->labels[row]] -= 1;
    cpu->totals.counts[c] = 1;
    cpu->labels[row] = c;
    /* It is compared with all centres: lower was of the others than its old one. */
    cpu->upper[row] = INFINITY, cpu->lower[row] = 0, cpu->between[row] = 0;
    return STATUS_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static const float *rows_of(const struct lloyd *lloyd)
{
    const struct row_chunks *rows = lloyd->rows;
    return rows->spherical ? NULL : rows->x;
}

static float *begin(struct lloyd *lloyd, int n_runs)
{
    (void)n_runs;
    cpu_of(lloyd)->tighten = true;
    return cpu_of(lloyd)->centres;
}

static enum status start(struct lloyd *lloyd, const float *centres, struct err *err)
{
    (void)err;
    memcpy(begin(lloyd, 1), centres, (size_t)lloyd->k * (size_t)lloyd->d * sizeof *centres);
    return STATUS_OK;
}

static enum status fetch(struct lloyd *lloyd, int run, float *centres, int32_t *labels,
                         struct err *err)
{
    const struct lloyd_cpu *cpu = cpu_of(lloyd);
    (void)run, (void)err;
    if (centres)
        memcpy(centres, cpu->centres, (size_t)lloyd->k * (size_t)lloyd->d * sizeof *centres);
    if (labels)
        memcpy(labels, cpu->labels, (size_t)lloyd->n * sizeof *labels);
    return STATUS_OK;
}

static void close_cpu(struct lloyd *lloyd)
{
    struct lloyd_cpu *cpu = cpu_of(lloyd);
    cluster_totals_close(&cpu->totals);
    arena_free(&cpu->arena);
    mem_free(cpu);
}

static const struct lloyd_operations operations = {
    .close = close_cpu,
    .rows = rows_of,
    .begin = begin,
    .start = start,
    .step = step,
    .advance = advance,
    .label = label,
    .distances = distances,
    .give = give,
    .follow = follow,
    .fetch = fetch,
};

/* What allocate takes, but for the totals. */
static size_t own_bytes(int n, int d, int k, size_t chunk)
{
    size_t centres = (2 * (size_t)k + 1) * (size_t)d + (size_t)k;
    return centres * sizeof(float) + 2 * (size_t)k * (sizeof(double) + sizeof(int32_t)) +
           nearest_centres_bytes(k, d) + 4 * (size_t)n * sizeof(float) +
           chunk * (sizeof(int32_t) + sizeof(double));
}

size_t lloyd_bytes(int n, int d, int k)
{
    return sizeof(struct lloyd_cpu) + own_bytes(n, d, k, (size_t)row_chunks_size(n, d)) +
           cluster_totals_bytes(k, d);
}

static enum status allocate(struct lloyd_cpu *cpu, struct err *err)
{
    const struct lloyd *lloyd = &cpu->lloyd;
    struct arena *arena = &cpu->arena;
    size_t n = (size_t)lloyd->n, d = (size_t)lloyd->d, k = (size_t)lloyd->k;
    size_t chunk = (size_t)lloyd->rows->rows_per_chunk;
    cpu->mean = arena_alloc(arena, d, sizeof *cpu->mean);
    cpu->centres = arena_alloc(arena, k * d, sizeof *cpu->centres);
    cpu->followed = arena_alloc(arena, k * d, sizeof *cpu->followed);
    cpu->labels = arena_alloc(arena, n, sizeof *cpu->labels);
    cpu->upper = arena_alloc(arena, n, sizeof *cpu->upper);
    cpu->lower = arena_alloc(arena, n, sizeof *cpu->lower);
    cpu->between = arena_alloc(arena, n, sizeof *cpu->between);
    cpu->drift = arena_alloc(arena, k, sizeof *cpu->drift);
    cpu->order = arena_alloc(arena, k, sizeof *cpu->order);
    cpu->heap = arena_alloc(arena, k, sizeof *cpu->heap);
    cpu->moved = arena_alloc(arena, k, sizeof *cpu->moved);
    cpu->gain = arena_alloc(arena, k, sizeof *cpu->gain);
    cpu->chunk_labels = arena_alloc(arena, chunk, sizeof *cpu->chunk_labels);
    cpu->chunk_distance = arena_alloc(arena, chunk, sizeof *cpu->chunk_distance);
    cpu->packed_memory = arena_alloc(arena, nearest_centres_bytes(lloyd->k, lloyd->d), 1);
    if (!cpu->mean || !cpu->centres || !cpu->followed || !cpu->labels || !cpu->upper ||
        !cpu->lower || !cpu->between || !cpu->drift || !cpu->order || !cpu->heap || !cpu->moved ||
        !cpu->gain || !cpu->chunk_labels || !cpu->chunk_distance || !cpu->packed_memory)
        return err_no_memory(err, "k-means", own_bytes(lloyd->n, lloyd->d, lloyd->k, chunk));
    return cluster_totals_open(&cpu->totals, lloyd->device, lloyd->k, lloyd->d, err);
}

enum status lloyd_cpu_open(struct lloyd **out, struct row_chunks *rows,
                           const struct kmeans_settings *settings, struct err *err)
{
    struct lloyd_cpu *cpu = mem_alloc_zero(1, sizeof *cpu);
    if (!cpu)
        return err_no_memory(err, "k-means", sizeof *cpu);
    cpu->lloyd = (struct lloyd){.operations = &operations,
                                .device = rows->device,
                                .rows = rows,
                                .spherical = settings->spherical,
                                .n = rows->n,
                                .d = rows->d,
                                .k = settings->k,
                                .n_runs = 1,
                                .streamed = !rows->x};
    *out = &cpu->lloyd;
    TRY(allocate(cpu, err));
    cpu->lloyd.run[0].counts = cpu->totals.counts;
    return measure_rows(cpu, err);
}
