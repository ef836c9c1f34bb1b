/* What greedy k-means++ does with distances to its candidates (kernels/candidate_distance.h), for
 * several runs over the same rows at once, each with as many trials for its next centre.
 *
 * A row's distance is that to the nearest centre of a run so far; their sum is what Arthur and
 * Vassilvitskii 2007 call the potential. A trial leaves of it
 *
 *     sum_i nearer(distance[run,i], trial[i, run * trials + t])
 *     nearer(a, b) = b < a ? b : a
 *
 * where a trial's distance that is NaN or an infinity is passed over, since distances begin at
 * FLT_MAX: sums are finite. Rows are drawn with shares in proportion to their distance. Sums are
 * float64 in blocks of POTENTIAL_ROWS rows: one chain from 0, in the order of the rows, whatever
 * the device and the number of threads, runs and trials. Adding the blocks up is the caller's, as
 * is choosing between the trials.
 *
 * runs 1 to RUNS_LARGEST (kernels/run_list.h), trials >= 1, n >= 0, d >= 1; no overlap. Pointers
 * are the device's, multiples of 16 bytes there, except what is said to be the host's, which may be
 * changed as soon as a call returns. On a GPU calls are queued, and nothing waits for them. */
#ifndef MIDASHI_KERNELS_POTENTIAL_H
#define MIDASHI_KERNELS_POTENTIAL_H

#include "host/base/device.h"
#include "host/base/divide_up.h"
#include "kernels/potential_job.h"
#include "kernels/run_list.h"

/* Blocks of n rows. */
static inline int potential_blocks(int n)
{
    return (int)divide_up(n, POTENTIAL_ROWS);
}

/* distance (runs, n) = FLT_MAX: no centre yet. */
enum status potential_begin(struct device *device, float *distance, int n, int runs,
                            struct err *err);

/* What each trial would leave of a block of rows.
 *
 * sums     (potential_blocks(n), runs * trials)  float64
 * distance (runs, n)           float32, 0 to FLT_MAX
 * trial    (n, runs * trials)  float32 */
enum status potential_fwd(struct device *device, double *sums, const float *distance,
                          const float *trial, int n, int runs, int trials, struct err *err);

/* distance[run,i] = nearer(distance[run,i], trial[i, run * trials + best[run]]). Its blocks' sums
 * are then what column run * trials + best[run] of potential_fwd's says, bit for bit.
 *
 * best (runs)  the host's, 0 to trials - 1 */
enum status potential_keep(struct device *device, float *distance, const float *trial,
                           const int *best, int n, int runs, int trials, struct err *err);

/* candidates[c] = x[row drawn], for each draw c = run * trials + t: of the rows of its block the
 * first up to which `before`, and then their distances, come to more than `place`; where it has no
 * share, and where there is none, the last one before it that has, and else the block's first.
 *
 * candidates (runs * trials, d)  float32
 * x          (n, d)              float32
 * distance   (runs, n)           float32, 0 to FLT_MAX
 * draws      (runs * trials)     the host's, their blocks in 0 .. potential_blocks(n) - 1 */
enum status potential_draw(struct device *device, float *candidates, const float *x,
                           const float *distance, const struct potential_draw *draws, int n,
                           int runs, int trials, int d, struct err *err);

void potential_fwd_cpu(struct device *device, double *sums, const float *distance,
                       const float *trial, int n, int runs, int trials);
void potential_keep_cpu(struct device *device, float *distance, const float *trial, const int *best,
                        int n, int runs, int trials);
void potential_draw_cpu(float *candidates, const float *x, const float *distance,
                        const struct potential_draw *draws, int n, int runs, int trials, int d);

/* On a GPU. */
enum status potential_begin_cuda(struct device *device, float *distance, int n, int runs,
                                 struct err *err);
enum status potential_fwd_cuda(struct device *device, double *sums, const float *distance,
                               const float *trial, int n, int runs, int trials, struct err *err);
enum status potential_keep_cuda(struct device *device, float *distance, const float *trial,
                                const int *best, int n, int runs, int trials, struct err *err);
enum status potential_draw_cuda(struct device *device, float *candidates, const float *x,
                                const float *distance, const struct potential_draw *draws, int n,
                                int runs, int trials, int d, struct err *err);

/* Sums in float64, naive, of the float32 operands. Tests and bench only (tests/reference). A sum
 * may differ from it by potential_fwd_tolerance() of itself. */
void potential_fwd_ref(double *sums, const double *distance, const double *trial, int n, int runs,
                       int trials);
double potential_fwd_tolerance(void);

#endif
