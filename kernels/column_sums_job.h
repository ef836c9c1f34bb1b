/* What host and device code of column_sums share. No includes of the host's, since nvcc reads it
 * too. Addresses are the device's. */
#ifndef MIDASHI_KERNELS_COLUMN_SUMS_JOB_H
#define MIDASHI_KERNELS_COLUMN_SUMS_JOB_H

/* Rows of one chain: host/rows.h's ROWS_PER_BLOCK. */
#define COLUMN_SUMS_ROWS    512
#define COLUMN_SUMS_COLUMNS 64 /* of a CUDA block */

struct column_sums_job {
    double *total;    /* (d) added to */
    double *partials; /* (n_blocks, d) */
    const float *x;   /* (n, d) */
    int n, d;
    int n_blocks; /* of rows */
    int n_groups; /* of columns */
};

#endif
