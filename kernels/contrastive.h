/* The contrastive loss InfoNCE over cosine similarities, and its gradients:
 *
 *   c[i,j]  = a_i . p_j / (max(|a_i|, 1e-8) max(|p_j|, 1e-8))       a anchors, p positives
 *   loss[i] = -log( exp(c[i,i] / t) / sum_{j not excluded} exp(c[i,j] / t) )
 *
 * A positive is a negative of each other anchor, except where `excluded` says no. SimCSE, Gao et
 * al. 2021 (arXiv:2104.08821), equation 1; cosines as torch.nn.functional.cosine_similarity. */
#ifndef MIDASHI_KERNELS_CONTRASTIVE_H
#define MIDASHI_KERNELS_CONTRASTIVE_H

#include <stdint.h>
#include "host/base/device.h"

/* Float64 that contrastive needs as scratch for n pairs. */
size_t contrastive_scratch(int n);
#define CONTRASTIVE_WIDTH_LARGEST (1 << 17) /* d: a worker's scratch holds a row in float64 */

/* losses    (n)     written
 * danchor   (n, d)  written: the gradient of weight * (the sum of losses) by the anchors
 * dpositive (n, d)  written: the same by the positives. Both NULL for the losses alone
 * anchor    (n, d)
 * positive  (n, d)  must not overlap an output; may be anchor
 * excluded  (n, n)  excluded[i,j] other than 0: positive j is no negative of anchor i. The diagonal
 *                   is not read. NULL: nothing is excluded
 * temperature       t > 0; weight: 1 / n for the gradient of a mean
 * scratch           contrastive_scratch(n) float64 of the caller's; on a GPU
 *                   contrastive_cuda_scratch(n)
 * n >= 0, 1 <= d <= CONTRASTIVE_WIDTH_LARGEST. Everything is float32 and computed in float64; the
 * same bits for any number of threads. A loss depends on the whole batch, by its nature.
 *
 * A vector shorter than 1e-8 has no direction. It gets the gradient 0, where the formula would
 * give the others' directions times 1e8, and one such text would take over a step. A vector of
 * zeros has a cosine of 0 with everything.
 * NaN or an infinity in an anchor gives NaN in its loss and in the gradients of all it meets; in a
 * positive, in all losses that do not exclude it. */
enum status contrastive(struct device *device, float *losses, float *danchor, float *dpositive,
                        const float *anchor, const float *positive, const uint8_t *excluded, int n,
                        int d, float temperature, float weight, double *scratch, struct err *err);

/* Float64 that contrastive_cuda needs as scratch. */
size_t contrastive_cuda_scratch(int n);

/* The same on a GPU, where contrastive calls it; all in device memory, the vectors and their
 * gradients at multiples of 16 bytes, scratch too: contrastive_cuda_scratch(n) float64. d of any
 * size; rows are faster where it is a multiple of 4. Computed in float64 too, in other orders.
 * Queued on the device's stream. */
enum status contrastive_cuda(struct device *device, float *losses, float *danchor, float *dpositive,
                             const float *anchor, const float *positive, const uint8_t *excluded,
                             int n, int d, float temperature, float weight, double *scratch,
                             struct err *err);

/* The same in float64, naive; danchor and dpositive may be NULL. Tests and bench only
 * (tests/reference). */
void contrastive_ref(double *losses, double *danchor, double *dpositive, const double *anchor,
                     const double *positive, const uint8_t *excluded, int n, int d,
                     double temperature, double weight);
/* What float64 in another order may differ by, beside a relative 2^-24 for the rounding to float32:
 * of a loss; of a gradient, in units of weight / (temperature * the vector's length). */
double contrastive_tolerance(int n, int d, double temperature);

#endif
