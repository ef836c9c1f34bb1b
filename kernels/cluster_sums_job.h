/* What host and device code of the sums of clusters on a GPU share: the argument of launches. No
 * includes of the host's, since nvcc reads it too. Addresses are the device's. */
#ifndef MIDASHI_KERNELS_CLUSTER_SUMS_JOB_H
#define MIDASHI_KERNELS_CLUSTER_SUMS_JOB_H

#include <stdint.h>
#include "kernels/run_list.h"

/* Rows of a block: one chain of additions for each cluster and column. */
#define CLUSTER_SUMS_BLOCK 65536
/* Of the block that sorts a unit's moves: clusters are sorted by so many bits at a time. */
#define CLUSTER_SUMS_THREADS 1024
#define CLUSTER_SUMS_BITS    8
/* Threads of a block that adds blocks' sums together. */
#define CLUSTER_SUMS_FOLD 256

/* A row that comes to a cluster or leaves it; a row that changes is two. */
struct cluster_move {
    int32_t cluster;
    uint32_t row; /* twice its place in the block, and 1 more where it leaves */
};

/* A cluster's moves among the sorted ones of a unit; none where both are 0. */
struct cluster_range {
    int32_t first, last;
};

/* A unit is a block of rows of a run; of a launch, unit b * runs.n + r is block first_block + b of
 * run runs.of[r]. */
struct cluster_sums_job {
    double *sums;             /* (runs, k, d) */
    int64_t *counts;          /* (runs, k) */
    int64_t *n_moved;         /* (runs) */
    const float *x;           /* (n, d) */
    int32_t *label;           /* (runs, stride) */
    const int32_t *next;      /* (runs, stride) */
    int64_t stride;           /* between runs */
    int n, k, d, none_before; /* none_before: labels are garbage, no row was in a cluster */
    struct run_list runs;
    int first_block, n_blocks;
    int n_passes;                  /* of the sort: the last one's output is moves[1] if even */
    int most_moves;                /* of a unit */
    struct cluster_move *moves[2]; /* (units, most_moves) */
    struct cluster_range *range;   /* (units, k) */
    int32_t *touched;              /* (units, k) clusters with moves, in any order */
    int32_t *n_touched;            /* (units) */
    double *partial; /* (units, k, d), of clusters with moves; NULL where n_blocks is 1 */
};

#endif
