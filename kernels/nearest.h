/* The nearest centre of each row: label[i] = arg min_c D[i,c], the lowest index of equals, where
 *
 *     D[i,c] = sum_j (x[i,j] - centres[c,j])^2   in float64, as kernels/squared_distance.h has it
 *
 * The assignment step of k-means (Lloyd 1982). Labels are exactly those, but most rows never see a
 * float64 distance: with a shift mu near the rows' mean, X = x - mu, C = c - mu,
 *
 *     |x - c|^2 = |X|^2 - 2 S,   S = X.C - |C|^2 / 2
 *
 * the largest score S wins, scores are one float32 matrix product, and a proven bound of what they
 * err by (docs/numerics.md, "The nearest centre") tells which rows they decide. The others, near
 * ties, are decided in float64 among the centres that the bound leaves. The shift changes no label,
 * only how tight the bound is: with a mean of 100 times the spread and no shift, nothing but
 * near ties would be left. */
#ifndef MIDASHI_KERNELS_NEAREST_H
#define MIDASHI_KERNELS_NEAREST_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/device.h"

/* Centres packed for the kernel: once for any number of calls. */
struct nearest_centres {
    int k, d;
    const float *centres; /* (k, d), borrowed */
    const float *shift;   /* (d) or NULL for zeros, borrowed */
    const int32_t *order; /* (k) which centre stands where in the panels; NULL: c at c. Borrowed */
    /* The kernel's own (kernels/nearest_pack.h): in the memory that nearest_centres_pack is given,
     * but for the scalars. */
    const float *panels;
    const float *slack;
    size_t stride;
    int piece, n_pieces;
    bool bounded;
    struct nearest_bound {
        double row, square_growth, distance;
    } bound;
};

/* Bytes of memory that packing (k, d) centres wants; SIZE_MAX where that is no number of bytes.
 * k >= 1, d >= 1. */
size_t nearest_centres_bytes(int k, int d);

/* Packs centres (k, d), finite, for `memory`, 64-byte aligned, of nearest_centres_bytes(k, d).
 * Memory, centres, shift and order must stay as they are for as long as `packed` is used. shift
 * (d), finite, or NULL. order: 0 to k - 1, each once, or NULL; it changes no label. On the CPU, by
 * all threads. */
void nearest_centres_pack(struct device *device, struct nearest_centres *packed, void *memory,
                          const float *centres, const float *shift, const int32_t *order, int k,
                          int d);

/* label       (n)     the nearest centre; -1 for a row with NaN or an infinity
 * distance    (n)     D to it, float64; INFINITY where label is -1. NULL where not wanted: it costs
 *                     as much as five to ten centres
 * x           (n, d)  float32, d of the centres
 * n_rechecked         the number of rows that float64 had to decide is added, those that are not
 *                     finite among them; NULL where not wanted
 * n >= 0; no overlap. A row's label, its distance and whether it was rechecked depend on the row
 * and the packed centres only: not on n, on the row's place or on the number of threads. */
enum status nearest_fwd(struct device *device, int32_t *label, double *distance, const float *x,
                        const struct nearest_centres *centres, int n, int64_t *n_rechecked,
                        struct err *err);

void nearest_fwd_cpu(struct device *device, int32_t *label, double *distance, const float *x,
                     const struct nearest_centres *centres, int n, int64_t *n_rechecked);

/* What is known of rows' distances, so that most rows of an iteration keep their label unread: the
 * bounds of Hamerly 2010. A row whose centre is nearer than any other one can be by now keeps it.
 *
 * With many centres some always move far, and hardly a row could: there centres->order, by drift,
 * the farthest first, lets a row be compared with those alone that have moved too far for its
 * bounds, where that costs less. */
struct nearest_bounds {
    float *upper; /* (n) no less than the distance to the centre of the row's label */
    float *lower; /* (n) no more than the distance to any other centre */
    /* (n) lower - upper as they were when the row was last compared with all centres: what it is
     * compared with where there is an order. NULL where there never is one. */
    float *between;
    /* (k) how far each centre has moved since the bounds were made, or more; NULL: there are none
     * yet, and no labels. */
    const float *drift;
    /* The centre that has moved farthest, and the largest drift but its. */
    int farthest;
    float drift_of_others;
    /* Measure a row's own distance before it is compared with all centres: costs as much as four to
     * eight of them, and pays where it often is enough. */
    bool tighten;
};

/* Added to: rows that float64 had to decide; rows times centres they were compared with; rows whose
 * own distance was measured by `tighten`; and those of the last for which it was enough. */
struct nearest_counts {
    int64_t rechecked, compared, tightened, kept;
};

/* label (n) becomes what nearest_fwd gives, from what it was with the centres before they drifted:
 * 0 to k - 1 then, so a row that got -1 must not come back. Bounds are kept up. A row's label and
 * bounds depend on it, its bounds, the centres and their order only. A row that the caller gives
 * another label: upper INFINITY, lower and between 0. */
enum status nearest_bounded_fwd(struct device *device, int32_t *label, const float *x,
                                const struct nearest_centres *centres,
                                const struct nearest_bounds *bounds, int n,
                                struct nearest_counts *counts, struct err *err);

void nearest_bounded_fwd_cpu(struct device *device, int32_t *label, const float *x,
                             const struct nearest_centres *centres,
                             const struct nearest_bounds *bounds, int n,
                             struct nearest_counts *counts);

/* The two nearest in float64, naive; no argument may be NULL. second: the squared distance to the
 * second nearest, INFINITY where there is none. Of nearest_two_fwd too. Tests and bench only
 * (tests/reference). */
void nearest_fwd_ref(int32_t *label, double *distance, double *second, const double *x,
                     const double *centres, int n, int k, int d);

#endif
