/* The nearest centre of each row and the distances to the two nearest ones:
 *
 *     label[i] = arg min_c sum_j (x[i,j] - centres[c,j])^2
 *
 * For `assign` to saved topics, which tells how clear a case is. Distances are those of
 * kernels/squared_distance.h, all of them computed: float64, differences squared. Where the label
 * alone is wanted, kernels/nearest.h finds the same one in a third to a fifth of the time. */
#ifndef MIDASHI_KERNELS_NEAREST_TWO_H
#define MIDASHI_KERNELS_NEAREST_TWO_H

#include <stdint.h>
#include "host/base/device.h"

/* label    (n)     the nearest centre, the lowest index of equally near ones; -1 for a row with NaN
 *                  or an infinity
 * distance (n)     squared distance to it; INFINITY where label is -1. NULL where not wanted
 * second   (n)     squared distance to the second nearest, equal to distance in a tie; INFINITY for
 *                  k = 1 or where label is -1. NULL where not wanted
 * x        (n, d)  float32
 * centres  (k, d)  float32, all finite
 * n >= 0, k >= 1, d >= 1; no overlap. Bitwise the same for any n and any number of threads. */
enum status nearest_two_fwd(struct device *device, int32_t *label, double *distance, double *second,
                            const float *x, const float *centres, int n, int k, int d,
                            struct err *err);

void nearest_two_fwd_cpu(struct device *device, int32_t *label, double *distance, double *second,
                         const float *x, const float *centres, int n, int k, int d);

/* The reference is nearest_fwd_ref of kernels/nearest.h. */

#endif
