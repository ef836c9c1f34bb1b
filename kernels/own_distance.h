/* The squared distance of each row to the centre of its label:
 * distance[i] = sum_j (x[i,j] - centres[label[i],j])^2, in float64.
 *
 * One number a row of kernels/squared_distance.h's, with its bits: what inertia is the sum of. */
#ifndef MIDASHI_KERNELS_OWN_DISTANCE_H
#define MIDASHI_KERNELS_OWN_DISTANCE_H

#include <stdint.h>
#include "host/base/device.h"

/* distance (n)     float64
 * x        (n, d)  float32
 * centres  (k, d)  float32
 * label    (n)     0 to k - 1
 * n >= 0, d >= 1; no overlap. Bitwise the same for any n and any number of threads. On a GPU all
 * are in device memory, x and centres at multiples of 16 bytes where d is one of 4; the bits are
 * those of the CPU with AVX2, NaN's apart, and it is queued on the device's stream. */
enum status own_distance_fwd(struct device *device, double *distance, const float *x,
                             const float *centres, const int32_t *label, int n, int d,
                             struct err *err);

void own_distance_fwd_cpu(struct device *device, double *distance, const float *x,
                          const float *centres, const int32_t *label, int n, int d);

/* distance (n) of the rows index[0 .. n-1], on the calling thread, for operations that build on it;
 * x, centres and label as above, distance in the order of index. */
void own_distance_rows_cpu(enum cpu_isa isa, double *distance, const float *x, const float *centres,
                           const int32_t *label, const int32_t *index, int n, int d);

/* The same in float64, naive. Tests and bench only (tests/reference). */
void own_distance_fwd_ref(double *distance, const double *x, const double *centres,
                          const int32_t *label, int n, int d);

#endif
