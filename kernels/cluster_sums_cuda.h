/* Sums and numbers of the rows in each cluster on a GPU, kept up when rows change their cluster:
 * for each run what host/cluster_totals does on the CPU with rows that come, bit for bit.
 *
 *     sums[r,c,j] += sum_i x[i,j] over the rows that come to c in run r, less those that leave it
 *
 * In every block of 65,536 rows an element has one chain of float64 additions from 0, in the order
 * of the rows; the blocks' chains are added to sums in the order of the blocks, those of clusters
 * that no row has come to or left excepted. */
#ifndef MIDASHI_KERNELS_CLUSTER_SUMS_CUDA_H
#define MIDASHI_KERNELS_CLUSTER_SUMS_CUDA_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/device.h"
#include "kernels/run_list.h"

/* sums    (runs, k, d)    float64, added to
 * counts  (runs, k)       rows in each cluster, added to
 * n_moved (runs)          rows whose cluster has changed, added to; of none_before all n
 * x       (n, d)          float32. Rows that do not change are not read
 * label   (runs, stride)  the cluster that a row was in, below k, negative: none; becomes what it
 *                         is next, where that is none -1. Rows behind the n-th are left alone
 * next    (runs, stride)  the cluster that it is in now, likewise
 * none_before             no row was in a cluster: label is garbage
 * runs                    those that are listed; the others' arrays are not touched
 * scratch                 cluster_sums_cuda_bytes(n, k, d, n_runs) with n_runs >= runs->n, 256-byte
 *                         aligned; garbage before and behind
 * 0 <= n <= stride, 1 <= k, 1 <= d, k * d < 2^31; device pointers, no overlap. x at a multiple of
 * 16 bytes, sums of 256. The rows are a chunk whose first row is a multiple of 65,536 from the
 * first of all. NaN and infinities as kernels/cluster_sums.h says. Queued on the device's stream;
 * nothing waits. */
enum status cluster_sums_add_cuda(struct device *device, double *sums, int64_t *counts,
                                  int64_t *n_moved, const float *x, int32_t *label,
                                  const int32_t *next, int64_t stride, bool none_before, int n,
                                  int k, int d, const struct run_list *runs, void *scratch,
                                  struct err *err);
/* About 64 MB where it would be more, but so much as lists of one block of each run take: 2.2 MB.
 */
size_t cluster_sums_cuda_bytes(int n, int k, int d, int n_runs);

#endif
