/* The core of the CPU's matrix products: Y = X · Wᵀ for a weight of any storage format.
 *
 * Not an operation of its own: kernels/matmul.c and kernels/nf4_matmul.c bring the decoder of their
 * format and call it. */
#ifndef MIDASHI_KERNELS_GEMM_H
#define MIDASHI_KERNELS_GEMM_H

#include <stdbool.h>
#include "host/base/device.h"
#include "kernels/gemm_tile.h"

/* Columns of W in a panel. A sum over k is cut at multiples of it: each piece is summed from its
 * first to its last product, and the pieces are added in order. A multiple of 64, so that pieces
 * begin at NF4 blocks. */
#define GEMM_DEPTH 256

/* panel (n_k, GEMM_PANEL), 64-byte aligned: panel[i * GEMM_PANEL + r] = W[row + r][k + i] for
 * r in 0 .. n_rows-1; what it leaves in the other lanes is not used.
 * 1 <= n_rows <= GEMM_PANEL, 1 <= n_k <= GEMM_DEPTH, k is a multiple of GEMM_DEPTH. */
typedef void gemm_decode(float *panel, const void *matrix, int row, int n_rows, int k, int n_k);

struct gemm_weight {
    int rows, columns; /* each >= 1 */
    const void *matrix;
    gemm_decode *decode;
};

/* y (m, w->rows) = x (m, w->columns) · Wᵀ, or += with add. y must not overlap x. m >= 0.
 * An element of y is summed in an order that depends on w->columns alone: it is the same bits
 * whatever m, its row's place in the batch, and the number of threads. */
void gemm_cpu(struct device *device, float *y, const float *x, const struct gemm_weight *w, int m,
              bool add);

#endif
