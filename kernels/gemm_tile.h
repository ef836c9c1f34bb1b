/* The innermost loop of the CPU's matrix products: a few rows of X times one panel of W, summed in
 * registers. gemm.c builds products from it, nearest.c scores of rows and centres. */
#ifndef MIDASHI_KERNELS_GEMM_TILE_H
#define MIDASHI_KERNELS_GEMM_TILE_H

#include <stdbool.h>
#include <stddef.h>
#include "host/base/cpu.h"

/* Rows of W in a panel: two AVX2 vectors. */
#define GEMM_PANEL 16
/* The most rows of X in a tile. */
#define GEMM_TILE_ROWS 6

/* y[i][r] = sum_k x[i][k] * panel[k][r], or += with add. y (rows, GEMM_PANEL) with rows ldy apart,
 * x (rows, depth) with rows ldx apart, panel (depth, GEMM_PANEL), 64-byte aligned; depth >= 0. An
 * element is one chain from k = 0, begun at 0 and the same whatever the number of rows: AVX2's of
 * fused multiply-adds, the portable one's of products and sums that are rounded apart. With add it
 * is added to y at its end. Column r sees panel[.][r] alone, a NaN in another one does not reach
 * it. */
typedef void gemm_tile(float *y, size_t ldy, const float *x, size_t ldx, const float *panel,
                       int depth, bool add);

/* Memory that will be wanted soon: columns 0 .. n_columns-1 of the rows from *row to *(end-1). Some
 * processors have so few places for lines on their way that fetching them takes as long as two
 * products with each, so it must go on beside products, a line now and then. */
struct gemm_ahead {
    const float *const *row, *const *end;
    int column, n_columns;
};

/* The same product, bit for bit, which fetches a line for every fourth k and moves `ahead` on. */
typedef void gemm_tile_ahead(float *y, size_t ldy, const float *x, size_t ldx, const float *panel,
                             int depth, bool add, struct gemm_ahead *ahead);

/* by_rows[r - 1] takes r rows, 1 <= r <= largest. ahead_by_rows: NULL where nothing is fetched. */
struct gemm_tiles {
    int largest;
    gemm_tile *by_rows[GEMM_TILE_ROWS];
    gemm_tile_ahead *ahead_by_rows[GEMM_TILE_ROWS];
};
const struct gemm_tiles *gemm_tiles(enum cpu_isa isa);

#endif
