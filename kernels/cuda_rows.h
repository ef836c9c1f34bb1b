/* How kernels that go through matrices row by row are launched: `width` elements a thread, blocks
 * of a row side by side in the grid's second dimension, rows in its first, the only one that may
 * be larger than 65,535. */
#ifndef MIDASHI_KERNELS_CUDA_ROWS_H
#define MIDASHI_KERNELS_CUDA_ROWS_H

#include "host/base/divide_up.h"

struct cuda_row_blocks {
    unsigned threads, n; /* whole warps, and how many blocks of them cover a row */
};

/* d: a multiple of width, >= 1. most: a multiple of 32. Depends on the row alone. */
static inline struct cuda_row_blocks cuda_row_blocks(int d, int width, unsigned most)
{
    unsigned n_pieces = (unsigned)(d / width);
    unsigned threads = n_pieces >= most ? most : (n_pieces + 31) / 32 * 32;
    return (struct cuda_row_blocks){threads, (unsigned)divide_up(n_pieces, threads)};
}

#endif
