/* Pooling: one vector for each text, out of the hidden states of its tokens.
 *
 *     POOL_LAST  out[t] = hidden[end[t] - 1]
 *     POOL_MEAN  out[t] = mean of hidden[i] over begin[t] <= i < end[t]
 *
 * Which tokens count (without the prompt's, say) is the caller's choice of begin and end. */
#ifndef MIDASHI_KERNELS_POOLING_H
#define MIDASHI_KERNELS_POOLING_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/device.h"

enum pooling {
    POOL_LAST,
    POOL_MEAN,
};

/* out        (n_texts, d)  float32 on every device
 * hidden     (n, d)        activations
 * begin, end (n_texts)     rows of hidden; an empty range (end <= begin) gives zeros
 * n_texts >= 0, d >= 1. Sums are float64, row after row: both instruction sets give the same bits.
 * On a GPU they are float32, 32 rows in a chain and the chains in a chain. Everywhere a text's
 * vector depends on its own rows only. */
enum status pooling_fwd(struct device *device, float *out, const void *hidden, const int32_t *begin,
                        const int32_t *end, int n_texts, int d, enum pooling pooling,
                        struct err *err);

void pooling_fwd_cpu(struct device *device, float *out, const float *hidden, const int32_t *begin,
                     const int32_t *end, int n_texts, int d, enum pooling pooling);

/* The gradient by hidden, where dout is the gradient by out:
 *
 *     POOL_LAST  dhidden[end[t] - 1] += dout[t]
 *     POOL_MEAN  dhidden[i] += dout[t] / (end[t] - begin[t])      over begin[t] <= i < end[t]
 *
 * dhidden    (n, d)        added to; rows of no text stay as they are
 * dout       (n_texts, d)  float32 on every device
 * begin, end (n_texts)     within 0 .. n; an empty range adds nothing. Where ranges overlap, a row
 *                          gets its texts in order
 * Both instruction sets give the same bits. */
enum status pooling_bwd(struct device *device, void *dhidden, const void *dout,
                        const int32_t *begin, const int32_t *end, int n_texts, int n, int d,
                        enum pooling pooling, struct err *err);

void pooling_bwd_cpu(struct device *device, float *dhidden, const float *dout, const int32_t *begin,
                     const int32_t *end, int n_texts, int n, int d, enum pooling pooling);

/* All in device memory; hidden bfloat16; hidden, out and norm at multiples of 16 bytes.
 * norm (d): the model's final norm, applied to the rows that count and to no others, in float32
 * (kernels/rmsnorm.h, with eps), before the mean is taken; NULL: none. Queued on the device's
 * stream. */
enum status pooling_fwd_cuda(struct device *device, float *out, const void *hidden,
                             const int32_t *begin, const int32_t *end, int n_texts, int d,
                             enum pooling pooling, const float *norm, float eps, struct err *err);

/* The gradient, by hidden as it was given to pooling_fwd_cuda, without the norm. All in device
 * memory; dhidden bfloat16, it and dout at multiples of 16 bytes. add: as above; false: dhidden is
 * written whole, its rows of no text with 0. A row's texts are summed in order in float32, what it
 * held comes to the sum, and that is rounded once. A row depends on its texts alone. Queued on the
 * device's stream. */
enum status pooling_bwd_cuda(struct device *device, void *dhidden, const float *dout,
                             const int32_t *begin, const int32_t *end, int n_texts, int n, int d,
                             enum pooling pooling, bool add, struct err *err);

/* The same in float64. Tests and bench only (tests/reference). */
void pooling_fwd_ref(double *out, const double *hidden, const int32_t *begin, const int32_t *end,
                     int n_texts, int d, enum pooling pooling);
void pooling_bwd_ref(double *dhidden, const double *dout, const int32_t *begin, const int32_t *end,
                     int n_texts, int d, enum pooling pooling);

#endif
