/* Sums of the rows in each cluster, kept up when rows change their cluster:
 * sums[c] += sum_i x[i] over the rows that come to c, less those that leave it.
 *
 * The update step of k-means. An element sums[c][j] is one chain of float64 additions in the order
 * of the rows, whatever the number of threads, and goes on where the last call ended: rows may come
 * in any number of calls. */
#ifndef MIDASHI_KERNELS_CLUSTER_SUMS_H
#define MIDASHI_KERNELS_CLUSTER_SUMS_H

#include <stdint.h>
#include "host/base/device.h"

/* sums (k, d)  float64, added to
 * x    (n, d)  float32; rows that do not change are not read
 * from (n)     the cluster that a row was in, 0 to k - 1, or -1 for none; NULL: none was in any
 * to   (n)     the cluster that it is in now, 0 to k - 1, or -1 for none
 * n >= 0, k >= 1, d >= 1; no overlap. Where from[i] is to[i] nothing happens, else x[i] is taken
 * from sums[from[i]] and then added to sums[to[i]]. Bitwise the same for any number of threads and
 * any instruction set. */
enum status cluster_sums_add(struct device *device, double *sums, const float *x,
                             const int32_t *from, const int32_t *to, int n, int k, int d,
                             struct err *err);

void cluster_sums_add_cpu(struct device *device, double *sums, const float *x, const int32_t *from,
                          const int32_t *to, int n, int k, int d);

/* The same, naive, with the sum of the magnitudes that went into each element; from is not NULL.
 * Tests and bench only (tests/reference). */
void cluster_sums_add_ref(double *sums, double *magnitude, const double *x, const int32_t *from,
                          const int32_t *to, int n, int d);

#endif
