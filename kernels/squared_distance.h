/* Squared Euclidean distances: out[i,c] = sum_j (x[i,j] - centres[c,j])^2, in float64.
 *
 * The differences are taken before they are squared. The expansion |x|^2 - 2 x.c + |c|^2 is faster
 * but loses to cancellation what decides between two near centres. */
#ifndef MIDASHI_KERNELS_SQUARED_DISTANCE_H
#define MIDASHI_KERNELS_SQUARED_DISTANCE_H

#include "host/base/device.h"

/* out     (n, k)  float64 on every device
 * x       (n, d)  float32
 * centres (k, d)  float32
 * n >= 0, k >= 0, d >= 1; no overlap. An element's sum has one fixed order, whatever n, k and the
 * threads, so equal rows give equal distances; the instruction sets differ by float64 rounding.
 * NaN or an infinity in a row or a centre gives NaN or an infinity in its elements only. */
enum status squared_distance_fwd(struct device *device, double *out, const float *x,
                                 const float *centres, int n, int k, int d, struct err *err);

void squared_distance_fwd_cpu(struct device *device, double *out, const float *x,
                              const float *centres, int n, int k, int d);

/* The same on the calling thread, for operations that build on it; out has out_stride >= k doubles
 * from row to row. */
void squared_distance_rows_cpu(enum cpu_isa isa, double *out, size_t out_stride, const float *x,
                               const float *centres, int n, int k, int d);

/* out[i] is the distance of x[i] (d) and centres[i] (d), bit for bit the same; i < n. */
void squared_distance_pairs_cpu(enum cpu_isa isa, double *out, const float *const *x,
                                const float *const *centres, int n, int d);

/* The same in float64, naive. Tests and bench only (tests/reference). */
void squared_distance_fwd_ref(double *out, const double *x, const double *centres, int n, int k,
                              int d);
/* What float64 in another order may differ by, relative to the reference. */
double squared_distance_fwd_tolerance(int d);

#endif
