/* Embedding lookup: y[i] = table[tokens[i]], converted to the activations' type (exact). */
#ifndef MIDASHI_KERNELS_EMBEDDING_H
#define MIDASHI_KERNELS_EMBEDDING_H

#include <stdint.h>
#include "host/base/device.h"
#include "kernels/dense_matrix.h"

/* y      (n, d)     activations, d = table->columns
 * tokens (n)        row numbers; one outside [0, table->rows) asserts: the caller checks
 * table  (rows, d)  PRECISION_F32 or PRECISION_BF16; on a GPU PRECISION_BF16, data in its memory
 * n >= 0. On a GPU nothing asserts: a token outside reads what lies there. */
enum status embedding_fwd(struct device *device, void *y, const int32_t *tokens,
                          const struct dense_matrix *table, int n, struct err *err);

void embedding_fwd_cpu(struct device *device, float *y, const int32_t *tokens,
                       const struct dense_matrix *table, int n);

/* All but *table is in device memory, y and the table at multiples of 16 bytes. Queued on the
 * device's stream. STATUS_RESOURCE for a table of float32. */
enum status embedding_fwd_cuda(struct device *device, void *y, const int32_t *tokens,
                               const struct dense_matrix *table, int n, struct err *err);

/* The same with float64 output. Tests and bench only (tests/reference). */
void embedding_fwd_ref(double *y, const int32_t *tokens, const struct dense_matrix *table, int n);

#endif
