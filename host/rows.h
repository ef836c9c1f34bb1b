/* What the mathematics of clustering needs of the rows of a matrix: sums over them, inner products,
 * l2 normalisation, and the check that they are finite.
 *
 * A sum over rows runs over blocks of ROWS_PER_BLOCK rows, each summed on its own in float64, and
 * the blocks are added in order: the same bits for any number of threads, and later for several
 * machines that share the blocks. */
#ifndef MIDASHI_HOST_ROWS_H
#define MIDASHI_HOST_ROWS_H

#include <stddef.h>
#include "host/base/device.h"
#include "host/base/divide_up.h"

#define ROWS_PER_BLOCK 512

/* Blocks of n rows. */
static inline int row_blocks(int n)
{
    return (int)divide_up(n, ROWS_PER_BLOCK);
}

/* Adds what the rows [first, last) give to partial (width), which starts at zero. Runs on any
 * thread. */
typedef void row_block_add(void *context, int first, int last, double *partial);

/* Room for such sums. */
struct row_sum {
    struct device *device;
    size_t width;
    int n_partials;
    double *partials; /* (n_partials, width), owned */
};

/* n_rows: the largest n of the row_sum_add that follow. STATUS_RESOURCE: no memory. */
enum status row_sum_open(struct row_sum *sum, struct device *device, size_t width, int n_rows,
                         struct err *err);
/* total (width) += the sum over the blocks of n rows. Rows may come in several calls, of a multiple
 * of ROWS_PER_BLOCK rows each but the last. */
void row_sum_add(struct row_sum *sum, double *total, int n, row_block_add *add, void *context);
void row_sum_close(struct row_sum *sum); /* a zeroed struct is allowed */

/* STATUS_BAD_DATA "row N: not a finite number ..." (from 1, the first such row) where x (n, d)
 * holds NaN or an infinity. */
enum status rows_check_finite(struct device *device, const float *x, int n, int d, struct err *err);

/* sum_j a[j] b[j] in float64, d >= 0: four partial sums in one fixed order. */
double row_dot(const float *a, const float *b, int d);

/* row = row / |row|, rounded once; a zero row stays zero. */
void row_normalise(float *row, int d);

#endif
