/* What host and device code of a potential share: a draw, and the arguments of launches. No
 * includes of the host's, since nvcc reads it too. Addresses are the device's. */
#ifndef MIDASHI_KERNELS_POTENTIAL_JOB_H
#define MIDASHI_KERNELS_POTENTIAL_JOB_H

#include "kernels/run_list.h"

/* Rows of a block, which has one sum. */
#define POTENTIAL_ROWS 512

/* Where a draw falls: how much all blocks before its own have, and the place among all rows'. */
struct potential_draw {
    double before, place;
    int block;
};

/* ---- launches -------------------------------------------------------------------------------- */

#define POTENTIAL_THREADS 256
/* Columns of a launch's block at most. */
#define POTENTIAL_COLUMNS 32
/* Draws of a launch: its arguments must stay below 4 KB. */
#define POTENTIAL_DRAWS 128

struct potential_fwd_job {
    double *sums;
    const float *distance, *trial;
    int n, runs, trials;
    int n_groups, width; /* of columns; the blocks of some rows side by side */
};

struct potential_keep_job {
    float *distance;
    const float *trial; /* of potential_begin none */
    int n, runs, trials;
    int best[RUNS_LARGEST];
};

struct potential_draw_job {
    float *candidates;
    const float *x, *distance;
    int n, trials, d;
    int first; /* the draw that is the launch's first */
    int block[POTENTIAL_DRAWS];
    double before[POTENTIAL_DRAWS], place[POTENTIAL_DRAWS];
};

#endif
