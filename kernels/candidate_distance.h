/* Squared Euclidean distances of all rows to a few candidates, in float32:
 * out[i,t] = sum_j (x[i,j] - c[t,j])^2
 *
 * Greedy k-means++ draws a few rows as candidates for its next centre and must know all rows'
 * distances to each of them: one pass over x, however many there are. Those distances are weights
 * of a draw, so float32 is enough; what decides labels is kernels/squared_distance.h.
 *
 * An element has eight partial sums: p[l], of the columns j = l, l + 8, l + 16, ... in this order,
 * starts at 0 and becomes fma(difference, difference, p[l]), where the difference and the fused
 * multiply-add are each rounded once, to float32. Then
 *
 *     ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]))
 *
 * which eight threads of a GPU have by exchanging with the neighbour 4, 2, 1 apart. So the bits
 * are the same with AVX2, without, and wherever else this is followed, and equal rows are exactly 0
 * apart. */
#ifndef MIDASHI_KERNELS_CANDIDATE_DISTANCE_H
#define MIDASHI_KERNELS_CANDIDATE_DISTANCE_H

#include "host/base/device.h"

/* out (n, t)  float32 on every device
 * x   (n, d)  float32
 * c   (t, d)  float32
 * n >= 0, t >= 0, d >= 1; no overlap. The same bits for any n, t, number of threads and instruction
 * set, but for which NaN it is: NaN in row i or candidate t makes out[i,t] NaN, so do infinities of
 * one sign at one place in both; another infinity, or a difference, square or sum beyond float32,
 * makes it +infinity. A difference of 2^-75 or less has a square below float32's least: it is lost.
 * Nothing else of out is touched by any of that.
 *
 * On a GPU pointers are the device's, multiples of 16 bytes; a call is queued, and nothing waits.
 */
enum status candidate_distance_fwd(struct device *device, float *out, const float *x,
                                   const float *c, int n, int t, int d, struct err *err);

void candidate_distance_fwd_cpu(struct device *device, float *out, const float *x, const float *c,
                                int n, int t, int d);

enum status candidate_distance_fwd_cuda(struct device *device, float *out, const float *x,
                                        const float *c, int n, int t, int d, struct err *err);

/* The same in float64, naive. Tests and bench only (tests/reference). */
void candidate_distance_fwd_ref(double *out, const double *x, const double *c, int n, int t, int d);
/* What float32 may differ by: relative to the reference, and at least absolute. */
double candidate_distance_fwd_tolerance(int d);
double candidate_distance_fwd_least(int d);

#endif
