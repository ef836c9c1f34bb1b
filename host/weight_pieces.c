/* See weight_pieces.h. */
#include "host/weight_pieces.h"

#include "host/base/interrupt.h"
#include "host/finite.h"
#include "host/nf4_checkpoint.h"

/* Pieces of a tensor: about 8 MB of float32, a multiple of 64 rows so that NF4's blocks of 64 along
 * the flattened weight never straddle two pieces. */
#define PIECE_ELEMENTS ((int64_t)2 << 20)

static int64_t rows_per_piece(int64_t rows, int64_t columns)
{
    int64_t n = PIECE_ELEMENTS / columns / NF4_BLOCK * NF4_BLOCK;
    if (n < NF4_BLOCK)
        n = NF4_BLOCK;
    return n < rows ? n : rows;
}

enum status weight_pieces_begin(struct weight_pieces *pieces, const struct weights *weights,
                                const char *name, int64_t rows, int64_t columns,
                                struct arena *scratch, struct err *err)
{
    *pieces = (struct weight_pieces){.weights = weights, .largest = rows_per_piece(rows, columns)};
    TRY(weights_expect(weights, name, rows, columns, &pieces->weight, err));
    if (pieces->weight->nf4)
        TRY(nf4_checkpoint_view(&pieces->nf4, weights, pieces->weight, scratch, err));
    size_t n = (size_t)pieces->largest * (size_t)columns;
    pieces->values = arena_alloc(scratch, n, sizeof *pieces->values);
    if (!pieces->values)
        return err_no_memory(err, "reading weights", n * sizeof *pieces->values);
    return STATUS_OK;
}

static enum status read_piece(struct weight_pieces *pieces, struct err *err)
{
    if (!pieces->weight->nf4)
        return weight_read(pieces->weights, pieces->weight, pieces->first_row, pieces->n_rows,
                           pieces->values, err);
    nf4_checkpoint_read(pieces->weight, &pieces->nf4, pieces->first_row, pieces->n_rows,
                        pieces->values);
    return weights_check(pieces->weights, err);
}

enum status weight_pieces_next(struct weight_pieces *pieces, bool *more, struct err *err)
{
    const struct weight *weight = pieces->weight;
    TRY(interrupt_check(err));
    pieces->first_row += pieces->n_rows;
    *more = pieces->first_row < weight->rows;
    if (!*more) {
        weight_release(pieces->weights, weight);
        return STATUS_OK;
    }
    int64_t left = weight->rows - pieces->first_row;
    pieces->n_rows = left < pieces->largest ? left : pieces->largest;
    TRY(read_piece(pieces, err));
    for (int64_t i = 0; i < pieces->n_rows; i++)
        if (!finite_f32(pieces->values + i * weight->columns, weight->columns))
            return finite_refuse(weight, pieces->first_row + i, err);
    return STATUS_OK;
}
