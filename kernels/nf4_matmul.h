/* Matrix product with an NF4 weight: y[i,j] = sum_k x[i,k] * w'[j,k], or += with add; and its
 * gradient by the input: dx[i,k] = sum_j dy[i,j] * w'[j,k].
 *
 * w' is the weight as nf4.h dequantises it, in float32; it is decoded on the fly, panel by panel,
 * and never stored whole. The result is, bit for bit, that of matmul_fwd with w' as a dense F32
 * matrix. Peer: bitsandbytes' matmul_4bit (there in the activations' type).
 *
 * On a GPU w' is rounded once more, to bfloat16, and the result is, bit for bit, that of matmul_fwd
 * with that matrix. */
#ifndef MIDASHI_KERNELS_NF4_MATMUL_H
#define MIDASHI_KERNELS_NF4_MATMUL_H

#include <stdbool.h>
#include "host/base/device.h"
#include "kernels/dropout_mask.h"
#include "kernels/lora_parts.h"
#include "kernels/nf4.h"
#include "kernels/nf4_tiles.h"

/* y (m, w->rows)     output activations; must not overlap x. Without add it is not read.
 * x (m, w->columns)  activations
 * m >= 0. A row of y is the same bits alone and in any batch, for any number of threads. Columns
 * that are no multiple of 64 work, more slowly. On a GPU w->tiles is the weight, and its rows,
 * those of all segments, are the columns of y. */
enum status nf4_matmul_fwd(struct device *device, void *y, const void *x,
                           const struct nf4_matrix *w, int m, bool add, struct err *err);

void nf4_matmul_fwd_cpu(struct device *device, float *y, const float *x, const struct nf4_matrix *w,
                        int m, bool add);

/* dx (m, w->columns)  gradient of the input; must not overlap dy. Without add it is not read.
 * dy (m, w->rows)     gradient of the output
 * m >= 0; bytes as above: those of matmul_bwd_input with w'. Columns that are no multiple of 16
 * work, more slowly. */
enum status nf4_matmul_bwd_input(struct device *device, void *dx, const void *dy,
                                 const struct nf4_matrix *w, int m, bool add, struct err *err);

void nf4_matmul_bwd_input_cpu(struct device *device, float *dx, const float *dy,
                              const struct nf4_matrix *w, int m, bool add);

/* On a GPU, from the same tiles, with the adapters' share: matmul_bwd_input_cuda (matmul.h), bit
 * for bit, with w'. Fast where the columns are a multiple of 64, the rows of 8 and those of all
 * segments but the last of 16; else each weight is looked up by itself. */
enum status nf4_matmul_bwd_input_cuda(struct device *device, void *dx, const void *dy,
                                      const struct nf4_tiles *w, int m, bool add,
                                      const struct lora_parts *parts, const void *ds,
                                      const struct dropout *dropout, struct err *err);

/* The same with tiles of one shape, 0 to NF4_MATMUL_BWD_SHAPES - 1: the same bytes. For tests. */
#define NF4_MATMUL_BWD_SHAPES 6
enum status nf4_matmul_shape_bwd_input_cuda(struct device *device, int shape, void *dx,
                                            const void *dy, const struct nf4_tiles *w, int m,
                                            bool add, const struct lora_parts *parts,
                                            const void *ds, const struct dropout *dropout,
                                            struct err *err);

/* y[i,j] = sum_k x[i,k] w'[j,k] + bias[j] + (add ? y[i,j] : 0), in float32, rounded once.
 * bias (w->rows) float32 or NULL. x, y, bias lie at multiples of 16 bytes. Fast where the columns
 * are a multiple of 64; the epilogue moves vectors where the rows are a multiple of 8 and those of
 * all segments but the last a multiple of 16. Queued on the device's stream. */
enum status nf4_matmul_fwd_cuda(struct device *device, void *y, const void *x,
                                const struct nf4_tiles *w, const float *bias, int m, bool add,
                                struct err *err);

/* The same with adapters: parts of it (lora_parts.h), whose rows are those of w in order, add
 * s · b_copy' to their columns of y before bias, old values and rounding. s (m, parts->padded):
 * lora_s_cuda's. The ranks follow k in the chain of a sum. parts NULL: none. */
enum status nf4_matmul_lora_fwd_cuda(struct device *device, void *y, const void *x,
                                     const struct nf4_tiles *w, const float *bias, int m, bool add,
                                     const struct lora_parts *parts, const void *s,
                                     struct err *err);

/* The same with tiles of one shape, 0 to NF4_MATMUL_SHAPES - 1: the same bytes. For tests; flat
 * matrices have one shape, whatever is asked for. */
#define NF4_MATMUL_SHAPES 7
enum status nf4_matmul_shape_fwd_cuda(struct device *device, int shape, void *y, const void *x,
                                      const struct nf4_tiles *w, const float *bias, int m, bool add,
                                      const struct lora_parts *parts, const void *s,
                                      struct err *err);

/* The same for m up to NF4_MATMUL_FEW, bound by reading w: 8 warps share out k, 256 columns at a
 * time in turn, and their sums are added in order. So a row's bytes are those of any other m here,
 * but not those of the functions above: generation and benchmarks have it, embedding must not. Flat
 * matrices go to nf4_matmul_fwd_cuda. */
#define NF4_MATMUL_FEW 8
enum status nf4_matmul_few_fwd_cuda(struct device *device, void *y, const void *x,
                                    const struct nf4_tiles *w, const float *bias, int m, bool add,
                                    struct err *err);

/* Their float64 references are matmul_fwd_ref and matmul_bwd_input_ref over nf4_dequantize_ref,
 * rounded to bfloat16 for a GPU; tolerances are those of matmul.h. */

#endif
