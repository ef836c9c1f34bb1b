/* The update step of k-means over centres: what clusters' sums (kernels/cluster_sums.h) make of
 * them, how far that moves them, and what the rows gain by them.
 *
 *   updated[c,j] = sums[c,j] / divisor[c], float64 rounded once to float32
 *   moved[c]     = sum_j (updated[c,j] - centres[c,j])^2
 *   gain[c]      = sum_j (centres[c,j] - mean[j]) * (counts[c] * (centres[c,j] - mean[j])
 *                                                    - 2 (sums[c,j] - counts[c] * mean[j]))
 *
 * divisor is the count, or, spherical, sqrt(sum_j sums[c,j]^2). gain is how much nearer the
 * cluster's rows are to its centre than to the mean: sum_i |x_i - centre|^2 - |x_i - mean|^2.
 *
 * Sums over j are float64, in 32 chains by column modulo 32, each from 0 in the order of j; chains
 * 16 apart are added, then 8, 4, 2, 1. Products and sums are each rounded. So a centre's bits
 * depend on its own numbers alone, and are the same with AVX2, without, and on a GPU. */
#ifndef MIDASHI_KERNELS_CENTRE_UPDATE_H
#define MIDASHI_KERNELS_CENTRE_UPDATE_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/device.h"
#include "kernels/run_list.h"

/* updated (k, d)  written; where a cluster is empty, or its divisor is 0 or NaN, its centre
 * moved   (k)     float64, written
 * sums    (k, d)  float64
 * counts  (k)     >= 0
 * centres (k, d)  what they were
 * runs            NULL on the CPU. On a GPU every array has the runs as its first dimension, and
 *                 those that are listed are updated; the others are not touched
 * k >= 1, d >= 1; no overlap. On a GPU device pointers; queued on the device's stream. */
enum status centre_update(struct device *device, float *updated, double *moved, const double *sums,
                          const int64_t *counts, const float *centres, int k, int d, bool spherical,
                          const struct run_list *runs, struct err *err);

/* gain (k)  float64, written
 * mean (d)  one for all runs
 * The rest as above. */
enum status centre_gain(struct device *device, double *gain, const double *sums,
                        const int64_t *counts, const float *centres, const float *mean, int k,
                        int d, const struct run_list *runs, struct err *err);

/* Both; on a GPU in one launch. */
enum status centre_gain_and_update(struct device *device, double *gain, float *updated,
                                   double *moved, const double *sums, const int64_t *counts,
                                   const float *centres, const float *mean, int k, int d,
                                   bool spherical, const struct run_list *runs, struct err *err);

void centre_update_cpu(struct device *device, float *updated, double *moved, const double *sums,
                       const int64_t *counts, const float *centres, int k, int d, bool spherical);
void centre_gain_cpu(struct device *device, double *gain, const double *sums, const int64_t *counts,
                     const float *centres, const float *mean, int k, int d);

/* Naive, one chain; not rounded to float32. Tests and bench only (tests/reference). moved is of
 * given updated centres, which may be rounded. */
void centre_update_ref(double *updated, const double *sums, const int64_t *counts,
                       const double *centres, int k, int d, bool spherical);
void centre_moved_ref(double *moved, const double *updated, const double *centres, int k, int d);
/* magnitude: the same sum without signs. */
void centre_gain_ref(double *gain, double *magnitude, const double *sums, const int64_t *counts,
                     const double *centres, const double *mean, int k, int d);
/* What the operation and the reference may differ by: updated relative (or by half the least
 * float32), moved relative, gain as a share of its magnitude. */
double centre_update_tolerance(int d);
double centre_moved_tolerance(int d);
double centre_gain_tolerance(int d);

#endif
