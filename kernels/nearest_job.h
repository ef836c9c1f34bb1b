/* What host and device code of the nearest centre on a GPU share: the arguments of launches. No
 * includes of the host's, since nvcc reads it too. Addresses are the device's. */
#ifndef MIDASHI_KERNELS_NEAREST_JOB_H
#define MIDASHI_KERNELS_NEAREST_JOB_H

#include <stdint.h>
#include "kernels/run_list.h"

/* Columns of rows and centres are filled up with zeros to a multiple of it. */
#define NEAREST_COLUMNS 64
/* Candidates of a row that are listed; one with more is compared with every centre. */
#define NEAREST_CANDIDATES 8
/* Rows and centres that are longer are not scored: every score's prefix is below its square. */
#define NEAREST_LONGEST 0x1p62f
/* Rows of a block of the kernel that gives a warp to a row, and of the one that gives it a quad. */
#define NEAREST_WARP_ROWS 4
#define NEAREST_QUAD_ROWS 32

/* Rows that scores do not decide, of all runs or of one; n is of all rows. Their order is that in
 * which blocks happened to finish, and nothing depends on it. */
struct nearest_list {
    int32_t *n;            /* (1) rows listed */
    int32_t *row;          /* (n) */
    float *least;          /* (n) a nearest centre's score is not below */
    int32_t *n_candidates; /* (n) may be more than are listed */
    int32_t *candidates;   /* (n, NEAREST_CANDIDATES) */
};

/* Of each centre, for scores of one kind (nearest.cu): */
struct nearest_terms {
    const float *half;   /* minus half its square, and what may underflow: rounded up */
    const float *lost;   /* what multiplies a row's length in the bound */
    const float *length; /* what multiplies what the row lost */
    const float *slack;  /* what `half` may be too much, and float64's own error */
};

struct nearest_job {
    const void *x, *centres;    /* bfloat16 (n, stride) and (runs, k_padded, stride) */
    int64_t x_low, centres_low; /* elements from there to the low halves */
    const float *norm, *lost;   /* (n) of the rows */
    struct nearest_terms terms; /* (runs, k_padded) each */
    int n, k, k_padded, stride;
    int n_tiles;    /* of a run's centres */
    float chain;    /* what sums err by, of the product of two lengths */
    float distance; /* what float64's distances err by, of a row's square */
    int32_t *label; /* (runs, label_stride) */
    int64_t label_stride;
    struct nearest_list list; /* (runs, ...) */
    struct run_list runs;
};

struct nearest_rows_job {
    void *hi, *lo; /* lo may be NULL */
    float *norm, *lost, *lost_split;
    const void *x;
    const float *shift; /* or NULL */
    int n, d, stride;
    float growth;   /* of a sum of d squares in float32, rounded up */
    float smallest; /* what may have been lost below it */
};

struct nearest_centres_job {
    void *hi, *lo; /* (runs, k_padded, stride); lo NULL: scores of one product */
    float *half, *lost, *length, *slack;
    const float *centres; /* (runs, k, d) */
    const float *shift;   /* or NULL */
    int k, k_padded, d, stride;
    double rounding;  /* relative, of a sum of squares in float64 */
    double underflow; /* absolute, of a score */
    double distance;  /* as above */
};

struct nearest_decide_job {
    const void *x;
    const float *centres; /* (runs, k, d) */
    int n, k, d;
    int32_t *label; /* (runs, label_stride) */
    int64_t label_stride;
    int64_t *n_rechecked;     /* (runs) added to; or NULL */
    struct nearest_list list; /* (runs, ...) */
    struct run_list runs;
};

#endif
