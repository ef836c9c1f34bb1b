/* What host and device code of the matrix products on a GPU share: the arguments of a launch. No
 * includes of the host's, since nvcc reads it too. */
#ifndef MIDASHI_KERNELS_PRODUCT_H
#define MIDASHI_KERNELS_PRODUCT_H

#include "kernels/lora_parts.h"

/* What adapters add: of each part, to its columns of y, s_p · b_copy'. n_parts 0: nothing. */
struct product_low_rank {
    const void *s; /* (m, parts.padded) */
    struct lora_parts parts;
};

/* y (m, rows) = x (m, columns) times the transpose of a weight (rows, columns). x, y: bfloat16. */
struct product {
    void *y;
    const void *x;
    const float *bias; /* (rows), or NULL */
    int m, rows, columns;
    int add; /* y holds something that is added */
    struct product_low_rank low_rank;
    /* y's rows begin at multiples of 16 bytes and its columns are those of the tiles, so that the
     * epilogue moves whole vectors of 8 columns. */
    int vectors;
    /* CTAs go down so many tiles of x before they go on to the next tile of the weight: those that
     * run at a time share both. */
    int tall;
};

#endif
