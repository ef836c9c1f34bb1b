/* A linear layer without bias: y = x · Wᵀ, its weight kept as NF4, BF16 or F32. */
#ifndef MIDASHI_HOST_LINEAR_H
#define MIDASHI_HOST_LINEAR_H

#include <stdbool.h>
#include "host/base/device.h"
#include "host/base/memory.h"
#include "host/base/precision.h"
#include "kernels/dense_matrix.h"
#include "kernels/nf4.h"
#include "loaders/weights.h"

struct linear {
    enum precision precision;
    union {
        struct nf4_matrix nf4;     /* PRECISION_NF4 */
        struct dense_matrix dense; /* PRECISION_BF16, PRECISION_F32 */
    };
};

/* Reads tensor `name` (rows, columns), converts it piece by piece and releases its mapped pages.
 * The result lives in `arena`; `scratch` is used and given back. What the file already holds in the
 * form wanted (NF4, or a matrix in the type that `precision` names) is not converted: it stays
 * mapped, and lives until weights_close. A weight that is NaN or infinite is STATUS_BAD_DATA with
 * its row. */
enum status linear_load(struct linear *linear, struct device *device, const struct weights *weights,
                        const char *name, int rows, int columns, enum precision precision,
                        struct arena *arena, struct arena *scratch, struct err *err);

/* The same for a matrix that stays dense: precision BF16 or F32. */
enum status dense_load(struct dense_matrix *matrix, const struct weights *weights, const char *name,
                       int rows, int columns, enum precision precision, struct arena *arena,
                       struct arena *scratch, struct err *err);

/* y (m, rows) = x (m, columns) · Wᵀ, or y += with add. */
enum status linear_fwd(struct device *device, void *y, const void *x, const struct linear *linear,
                       int m, bool add, struct err *err);

/* dx (m, columns) = dy (m, rows) · W, or dx += with add: what goes back through linear_fwd. */
enum status linear_bwd_input(struct device *device, void *dx, const void *dy,
                             const struct linear *linear, int m, bool add, struct err *err);

const char *precision_name(enum precision precision); /* "nf4", "bf16", "f32" */

#endif
