/* What rows of matrix products share: y (m, n) = x (m, k) times the transpose of w (n, k); of the
 * gradient by the input, dx (m, k) = dy (m, n) times w, dx stands as y and dy as x. */
#ifndef MIDASHI_BENCH_ROWS_PRODUCT_H
#define MIDASHI_BENCH_ROWS_PRODUCT_H

#include "bench/operation.h"

enum { PRODUCT_M, PRODUCT_N, PRODUCT_K };
/* The first two tensors; the weight's own come behind. */
enum { PRODUCT_Y, PRODUCT_X, PRODUCT_W };

#define PRODUCT_DIMENSIONS                                                                         \
    {                                                                                              \
        "m", "n", "k"                                                                              \
    }

/* The different weights of a model's layers: q and o, k and v, gate and up, down. */
int product_shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full);
const char *product_refuse(const int64_t *size);
/* y, x, and the operations. back: of the gradient. */
enum status product_prepare(struct trial *trial, bool back, struct err *err);
/* y against matmul_fwd_ref with w (n, k), or with its transpose: the first and the last row, of the
 * others a sample of columns (all where they are few), and that every value is finite. */
enum status product_verify(struct trial *trial, bool back, const double *w, struct verdict *verdict,
                           struct err *err);

#endif
