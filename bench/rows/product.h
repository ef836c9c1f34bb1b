/* What rows of matrix products share: y (m, n) = x (m, k) times the transpose of w (n, k); of the
 * gradient by the input, dx (m, k) = dy (m, n) times w, dx stands as y and dy as x. With adapters
 * (kernels/lora_parts.h) each part's s (m, padded) times the transpose of its b is added to its
 * columns of y. */
#ifndef MIDASHI_BENCH_ROWS_PRODUCT_H
#define MIDASHI_BENCH_ROWS_PRODUCT_H

#include "bench/operation.h"
#include "kernels/lora_parts.h"

enum product_way { PRODUCT_FORWARD, PRODUCT_BACK, PRODUCT_ADAPTED };

enum { PRODUCT_M, PRODUCT_N, PRODUCT_K, PRODUCT_PARTS, PRODUCT_RANK };
/* The first two tensors; the weight's own come behind. */
enum { PRODUCT_Y, PRODUCT_X, PRODUCT_W };

#define PRODUCT_DIMENSIONS                                                                         \
    {                                                                                              \
        "m", "n", "k"                                                                              \
    }
#define PRODUCT_ADAPTED_DIMENSIONS                                                                 \
    {                                                                                              \
        "m", "n", "k", "parts", "rank"                                                             \
    }

/* The different weights of a model's layers: q and o, k and v, gate and up, down. */
int product_shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full);
const char *product_refuse(const int64_t *size);
/* y, x, and the operations. */
enum status product_prepare(struct trial *trial, enum product_way way, struct err *err);
/* y against matmul_fwd_ref with w (n, k), or with its transpose: the first and the last row, of the
 * others a sample of columns (all where they are few), and that every value is finite. */
enum status product_verify(struct trial *trial, enum product_way way, const double *w,
                           struct verdict *verdict, struct err *err);

/* ---- with adapters, on a GPU ---------------------------------------------------------------- */

/* The joined weights of a model's layers: q, k and v; o; gate and up; down; rank 32. */
int product_adapted_shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model,
                           bool full);
const char *product_adapted_refuse(const int64_t *size);
/* s and the parts' b, behind the weight's tensors. */
enum status product_prepare_adapters(struct trial *trial, struct err *err);
/* As this turn's run has them. */
struct lora_parts product_adapters(const struct trial *trial);
void *product_adapters_s(const struct trial *trial);

#endif
