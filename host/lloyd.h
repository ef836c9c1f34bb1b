/* Lloyd's steps over all rows: what k-means (kmeans.h) asks of the device that computes. On the CPU
 * that is one run, a chunk of rows at a time; on a GPU several restarts go through the rows
 * together, since reading them is what costs.
 *
 * Both give the same bytes: labels are the arg-min of float64 distances to float32 centres, sums of
 * float64 have one order by the rows' numbers.
 *
 * A run has centres, of which a step makes labels, and of these the centres that follow, which
 * lie beside the old ones until lloyd_advance. */
#ifndef MIDASHI_HOST_LLOYD_H
#define MIDASHI_HOST_LLOYD_H

#include <stdbool.h>
#include <stdint.h>
#include "host/kmeans.h"
#include "kernels/run_list.h"

struct lloyd_operations;

struct lloyd_run {
    int64_t *counts; /* (k) rows in each cluster; the host's */
    bool changed;    /* the last step changed a label; a first one always has */
    /* What the sum of the squared distances of the rows to the centres of the last step is more
     * than `scatter`. It comes from sums over clusters: where it is far below, digits cancel. */
    double gain;
    double moved; /* sum of the squared distances of those centres to the ones that follow */
};

struct lloyd {
    const struct lloyd_operations *operations;
    struct device *device;   /* rows->device */
    struct row_chunks *rows; /* borrowed */
    bool spherical;
    int n, d, k;
    int n_runs;         /* how many go side by side */
    bool streamed;      /* rows are read anew for every pass */
    size_t memory_left; /* of a GPU, which others may take for this */
    double scatter;     /* sum of the squared distances of the rows to their mean */
    struct lloyd_run run[RUNS_LARGEST];
    /* How often a row was assigned, compared with the centres (with a part of them: as a part),
     * decided in float64. */
    double n_assigned, n_compared, n_rechecked;
};

/* Bytes of a GPU that are to be left of what the settings allow, where rows stay there or not. */
struct lloyd_reserve {
    size_t resident, streamed;
};

/* Room for at most `restarts` runs, and the rows' mean and scatter.
 * STATUS_RESOURCE: no memory, or more clusters than a GPU counts (kmeans.h). STATUS_INTERRUPTED;
 * what reading rows says. */
enum status lloyd_open(struct lloyd **out, struct row_chunks *rows,
                       const struct kmeans_settings *settings, int restarts,
                       const struct lloyd_reserve *reserve, struct err *err);
void lloyd_close(struct lloyd *lloyd); /* NULL is allowed */
/* What it takes of n rows of d numbers on the CPU, beside the rows. */
size_t lloyd_bytes(int n, int d, int k);

/* The rows (n, d) where the device has all of them as they are read; else NULL. */
const float *lloyd_rows(const struct lloyd *lloyd);
/* The runs 0 .. n_runs-1 begin anew: their centres (n_runs, k, d) are to be written here, on the
 * device. */
float *lloyd_begin(struct lloyd *lloyd, int n_runs);
/* The same for one run, from centres (k, d) of the host's. */
enum status lloyd_start(struct lloyd *lloyd, const float *centres, struct err *err);

/* Labels the rows by each run's centres; what is in the clusters, and the centres that follow.
 * iteration: from 1, counted from lloyd_begin. STATUS_BAD_DATA: a row that is not finite. */
enum status lloyd_step(struct lloyd *lloyd, const struct run_list *runs, int iteration,
                       struct err *err);
/* The centres that follow become those of the listed runs, all of which have just been stepped. */
void lloyd_advance(struct lloyd *lloyd, const struct run_list *runs);
/* Labels alone, by the centres as they are. STATUS_BAD_DATA as above. */
enum status lloyd_label(struct lloyd *lloyd, const struct run_list *runs, struct err *err);

/* Hands the squared distances of a run's rows to the centres of their labels to visit: those of the
 * rows first .. first + n - 1, in order. */
typedef void lloyd_visit(void *context, const double *distance, int first, int n);
enum status lloyd_distances(struct lloyd *lloyd, int run, lloyd_visit *visit, void *context,
                            struct err *err);

/* After a step, for an empty cluster: `row` becomes the only one of cluster c, and leaves its own.
 * lloyd_follow makes the centres that follow once more, when all are given. */
enum status lloyd_give(struct lloyd *lloyd, int run, int row, int c, struct err *err);
enum status lloyd_follow(struct lloyd *lloyd, int run, struct err *err);

/* To the host; each may be NULL. centres (k, d): of the last step, or after lloyd_advance those.
 * labels (n). */
enum status lloyd_fetch(struct lloyd *lloyd, int run, float *centres, int32_t *labels,
                        struct err *err);

/* ---- for the devices' parts ----------------------------------------------------------------- */

struct lloyd_operations {
    void (*close)(struct lloyd *lloyd);
    const float *(*rows)(const struct lloyd *lloyd);
    float *(*begin)(struct lloyd *lloyd, int n_runs);
    enum status (*start)(struct lloyd *lloyd, const float *centres, struct err *err);
    enum status (*step)(struct lloyd *lloyd, const struct run_list *runs, int iteration,
                        struct err *err);
    void (*advance)(struct lloyd *lloyd, const struct run_list *runs);
    enum status (*label)(struct lloyd *lloyd, const struct run_list *runs, struct err *err);
    enum status (*distances)(struct lloyd *lloyd, int run, lloyd_visit *visit, void *context,
                             struct err *err);
    enum status (*give)(struct lloyd *lloyd, int run, int row, int c, struct err *err);
    enum status (*follow)(struct lloyd *lloyd, int run, struct err *err);
    enum status (*fetch)(struct lloyd *lloyd, int run, float *centres, int32_t *labels,
                         struct err *err);
};

enum status lloyd_cpu_open(struct lloyd **out, struct row_chunks *rows,
                           const struct kmeans_settings *settings, struct err *err);
enum status lloyd_cuda_open(struct lloyd **out, struct row_chunks *rows,
                            const struct kmeans_settings *settings, int restarts,
                            const struct lloyd_reserve *reserve, struct err *err);

/* A sum with the rounding errors of its additions (Neumaier 1974). */
struct compensated {
    double sum, lost;
};
void compensated_visit(void *compensated, const double *distance, int first, int n);

/* In order. */
double lloyd_sum(const double *values, int n);

/* STATUS_BAD_DATA. Rows were looked at before they were first used, but not since. */
enum status lloyd_not_finite(int row, struct err *err);

#endif
