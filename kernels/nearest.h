/* The nearest centre of each row: label[i] = arg min_c sum_j (x[i,j] - centres[c,j])^2
 *
 * The assignment step of k-means (Lloyd 1982), and of `assign` to saved topics. Distances are those
 * of kernels/squared_distance.h: float64, differences squared. Equal distances go to the lowest
 * index. */
#ifndef MIDASHI_KERNELS_NEAREST_H
#define MIDASHI_KERNELS_NEAREST_H

#include <stdint.h>
#include "host/base/device.h"

/* label    (n)     the nearest centre; -1 for a row with NaN or an infinity
 * distance (n)     squared distance to it; INFINITY where label is -1. NULL where not wanted
 * second   (n)     squared distance to the second nearest, equal to distance in a tie; INFINITY for
 *                  k = 1 or where label is -1. NULL where not wanted
 * x        (n, d)  float32
 * centres  (k, d)  float32, all finite
 * n >= 0, k >= 1, d >= 1; no overlap. Bitwise the same for any n and any number of threads. */
enum status nearest_fwd(struct device *device, int32_t *label, double *distance, double *second,
                        const float *x, const float *centres, int n, int k, int d, struct err *err);

void nearest_fwd_cpu(struct device *device, int32_t *label, double *distance, double *second,
                     const float *x, const float *centres, int n, int k, int d);

/* The same in float64, naive; no argument may be NULL. Tests and bench only (tests/reference). */
void nearest_fwd_ref(int32_t *label, double *distance, double *second, const double *x,
                     const double *centres, int n, int k, int d);

#endif
