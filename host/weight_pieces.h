/* A tensor read piece by piece, as float32, whatever the file holds: so that converting a large one
 * needs little memory. */
#ifndef MIDASHI_HOST_WEIGHT_PIECES_H
#define MIDASHI_HOST_WEIGHT_PIECES_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/memory.h"
#include "kernels/nf4.h"
#include "loaders/weights.h"

struct weight_pieces {
    const struct weights *weights;
    const struct weight *weight;
    struct nf4_matrix nf4;     /* where the file holds that: its view, in the scratch */
    float *values;             /* (n_rows, columns) of the piece at hand */
    int64_t first_row, n_rows; /* of the tensor: the piece at hand */
    int64_t largest;           /* rows of a piece */
};

/* Finds tensor `name` (rows, columns; a vector has rows 1) and makes room for a piece in `scratch`,
 * which the caller resets when it is done. Errors of weights_expect; STATUS_RESOURCE. */
enum status weight_pieces_begin(struct weight_pieces *pieces, const struct weights *weights,
                                const char *name, int64_t rows, int64_t columns,
                                struct arena *scratch, struct err *err);
/* The next piece, the first one at the first call; *more is false when the tensor is finished (its
 * mapped pages are released then). STATUS_BAD_DATA: a value that is NaN or infinite, with its row.
 * STATUS_INTERRUPTED. */
enum status weight_pieces_next(struct weight_pieces *pieces, bool *more, struct err *err);

#endif
