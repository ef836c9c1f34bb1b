/* What nearest.c multiplies: rows and centres, less the shift, packed for the tile of gemm_tile.h,
 * and the bound of what the scores err by.
 *
 * The tile's panel holds 16 rows of x, its other operand are centres: so k centres are tiles of up
 * to six, of which hardly one is in vain, where panels of 16 centres would leave 12 of 32 empty for
 * k = 20; and what follows a score is the same for 16 rows, side by side in vectors.
 *
 * Columns are cut into n_pieces pieces of `piece` columns (the last may be shorter). A score is the
 * sum over the pieces, in order, of chains of products. Behind the last column come two more:
 *
 *     of row i      1                         reach A[i]
 *     of centre c   -|C|^2 / 2 + allowance    length r[c] >= |C|
 *
 * which make a score an upper bound U[i,c] of S[i,c] (nearest.h), while
 * U - slack[c] - 2 A r - (what the row's own length asks for) is a lower bound. The derivation:
 * docs/numerics.md, "The nearest centre". */
#ifndef MIDASHI_KERNELS_NEAREST_PACK_H
#define MIDASHI_KERNELS_NEAREST_PACK_H

#include "kernels/gemm_tile.h"
#include "kernels/nearest.h"

/* The most columns of a piece, and those of the bound. */
#define NEAREST_PIECE 256
#define NEAREST_EXTRA 2

/* Rows whose length, and centres whose length, is below this cannot overflow float32: prefixes of a
 * score stay below its square twice. */
#define NEAREST_LENGTH 0x1p62

/* Columns of a piece, without those of the bound. */
static inline int nearest_piece_columns(const struct nearest_centres *centres, int piece)
{
    return piece + 1 < centres->n_pieces ? centres->piece : centres->d - piece * centres->piece;
}

/* Which centre stands at a place of the panels. */
static inline int nearest_at_place(const struct nearest_centres *centres, int place)
{
    return centres->order ? centres->order[place] : place;
}

/* The part of a piece of the centre at a place; of the last one with the two columns of the bound
 * behind it. Rows lie centres->stride apart. */
static inline const float *nearest_panel_row(const struct nearest_centres *centres, int piece,
                                             int place)
{
    return centres->panels + ((size_t)piece * (size_t)centres->k + (size_t)place) * centres->stride;
}

/* panel (n_columns, GEMM_PANEL), 64-byte aligned: the columns from `first` of 16 rows, less the
 * shift. square[r] += the sum of their squares, in float32: exact but for a relative error that
 * centres->bound.square_growth allows for, and what vanishes, for which the centres' column does.
 */
void nearest_pack_rows(enum cpu_isa isa, float *panel, const float *const rows[GEMM_PANEL],
                       const struct nearest_centres *centres, int first, int n_columns,
                       float square[GEMM_PANEL]);

/* The reach of rows, from the sums of all their squares. NaN or an infinity where that is. */
void nearest_reach(const struct nearest_centres *centres, float reach[GEMM_PANEL],
                   const float square[GEMM_PANEL]);

/* The row's scores tell something: its length is below NEAREST_LENGTH. */
static inline bool nearest_is_bounded(float square)
{
    return square < (float)(NEAREST_LENGTH * NEAREST_LENGTH); /* NaN: no */
}

/* What every other centre's upper bound must stay below for the centre at `place`, with upper bound
 * `upper`, to be the nearest one of a row. */
double nearest_least(const struct nearest_centres *centres, int place, float upper, float reach,
                     float square);

/* The best of a row's scores. */
struct nearest_best {
    float best, second; /* upper bounds */
    int place;          /* of the centre that has the best */
    float square, reach;
};
#define NEAREST_BEST_ROWS (8 * GEMM_PANEL)

/* out (n): of the n <= NEAREST_BEST_ROWS rows of index among the centres at the first n_places
 * places; on the calling thread, in the worker's scratch. centres->bounded. */
void nearest_score_rows(struct device *device, int worker, struct nearest_best *out, const float *x,
                        const struct nearest_centres *centres, int n_places, const int32_t *index,
                        int n);

/* Labels the n rows of index by all centres, and makes their bounds where bounds is not NULL; on
 * the calling thread, in the worker's scratch. Returns how many float64 had to decide. */
int nearest_label_rows(struct device *device, int worker, int32_t *label, const float *x,
                       const struct nearest_centres *centres, const struct nearest_bounds *bounds,
                       const int32_t *index, int n);

/* For a few roundings of a float32 distance, and for what two distances in float64 may err by: a
 * row keeps its label only where more than that is between them. */
#define NEAREST_UP   (1 + 0x1p-20f)
#define NEAREST_DOWN (1 - 0x1p-20f)

/* No less than the distance of a row to its best centre, whose score is at least `least`; and no
 * more than the distance to the others, whose scores are at most `second`. */
float nearest_upper(const struct nearest_centres *centres, float square, double least);
float nearest_lower(const struct nearest_centres *centres, float square, float second);

#endif
