/* Sums and numbers of the rows in each cluster, kept up when rows change their cluster:
 * sums[c,j] += sum_i x[i,j] over the rows that come to c, less those that leave it.
 *
 * The update step of k-means. An element of sums is one chain of float64 additions in the order of
 * the rows, which goes on where the last call left it: its bits depend on the rows and their
 * clusters alone, not on threads, nor on how many rows come at a time. */
#ifndef MIDASHI_KERNELS_CLUSTER_SUMS_H
#define MIDASHI_KERNELS_CLUSTER_SUMS_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/device.h"

/* sums    (k, d)  float64, added to
 * counts  (k)     rows in each cluster, added to; may be negative in between
 * touched (k)     becomes true where a row comes or leaves, else left as it is; NULL where not
 *                 wanted
 * x       (n, d)  float32. Rows that do not change are not read
 * from    (n)     the cluster that a row was in, below k; negative: none. NULL: none was in any
 * to      (n)     the cluster that it is in now, likewise
 * scratch         cluster_sums_bytes(n), 64-byte aligned; garbage before and behind
 * n >= 0, k >= 1, d >= 1; no overlap. Rows i = 0 .. n-1 in this order: where from[i] is not to[i],
 * x[i] is subtracted from sums[from[i]] and added to sums[to[i]]. The same bits for any number of
 * threads and any instruction set, but for which NaN it is. NaN or an infinity in column j of a row
 * reaches column j of its clusters, and does not leave with it. */
enum status cluster_sums_add(struct device *device, double *sums, int64_t *counts, bool *touched,
                             const float *x, const int32_t *from, const int32_t *to, int n, int k,
                             int d, void *scratch, struct err *err);
size_t cluster_sums_bytes(int n); /* at most 9 MB, whatever n */

void cluster_sums_add_cpu(struct device *device, double *sums, int64_t *counts, bool *touched,
                          const float *x, const int32_t *from, const int32_t *to, int n, int k,
                          int d, void *scratch);

/* The same, naive. Its additions are the operation's: nothing may differ. Tests and bench only
 * (tests/reference). */
void cluster_sums_add_ref(double *sums, int64_t *counts, const double *x, const int32_t *from,
                          const int32_t *to, int n, int d);

#endif
