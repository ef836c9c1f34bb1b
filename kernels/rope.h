/* Rotary position embedding: at position p, the pair (x[i], x[i + d/2]) of each head turns by the
 * angle p * f[i]:
 *
 *     x'[i]       = x[i] * cos(p f[i]) - x[i + d/2] * sin(p f[i])
 *     x'[i + d/2] = x[i + d/2] * cos(p f[i]) + x[i] * sin(p f[i])
 *
 * Su et al. 2021 (arXiv:2104.09864), in the rotate-half order of transformers' Llama (the paper
 * pairs 2i with 2i + 1). The frequencies and tables are the host's, made once at model load. */
#ifndef MIDASHI_KERNELS_ROPE_H
#define MIDASHI_KERNELS_ROPE_H

#include <stdint.h>
#include "host/base/device.h"
#include "host/base/rope_config.h"

/* inv_freq (head_dim/2): f[i] = theta^(-2i / head_dim), then by config->scaling
 *
 *   default  as it is
 *   linear   f / factor
 *   llama3   by the wavelength w = 2 pi / f, with L = original_max_positions: f where
 *            w < L / high_frequency_factor; f / factor where w > L / low_frequency_factor; between,
 *            (1 - s) * f / factor + s * f with
 *            s = (L / w - low_frequency_factor) / (high_frequency_factor - low_frequency_factor).
 *            As transformers' _compute_llama3_parameters has it.
 *   divided  f[i] / divisors[i]: llama3 as a GGUF holds it; head_dim/2 <= ROPE_DIVISORS_LARGEST
 *
 * head_dim even, >= 2; theta and factor > 0; high_frequency_factor > low_frequency_factor > 0. */
void rope_frequencies(double *inv_freq, int head_dim, const struct rope_config *config);

/* cos, sin (n_positions, head_dim/2): of p * inv_freq[i], angle and function in float64, rounded
 * once to float32. */
void rope_table(float *cos_table, float *sin_table, const double *inv_freq, int n_positions,
                int head_dim);

/* x         (n, n_heads, head_dim)      turned in place
 * positions (n)                         rows of the tables; the caller checks their range
 * cos, sin  (n_positions, head_dim/2)   from rope_table
 * n >= 0, n_heads >= 1, head_dim even and >= 2. */
enum status rope_fwd(struct device *device, void *x, const int32_t *positions,
                     const float *cos_table, const float *sin_table, int n, int n_heads,
                     int head_dim, struct err *err);

void rope_fwd_cpu(struct device *device, float *x, const int32_t *positions, const float *cos_table,
                  const float *sin_table, int n, int n_heads, int head_dim);

/* The gradient by what rope_fwd was given, in place of the gradient by what it gave: each pair
 * turns back by the same angle,
 *
 *     dx[i]       = dx'[i] * cos(p f[i]) + dx'[i + d/2] * sin(p f[i])
 *     dx[i + d/2] = dx'[i + d/2] * cos(p f[i]) - dx'[i] * sin(p f[i])
 *
 * Arguments as above. */
enum status rope_bwd(struct device *device, void *dx, const int32_t *positions,
                     const float *cos_table, const float *sin_table, int n, int n_heads,
                     int head_dim, struct err *err);

void rope_bwd_cpu(struct device *device, float *dx, const int32_t *positions,
                  const float *cos_table, const float *sin_table, int n, int n_heads, int head_dim);

/* q and k beside each other, as a joined product leaves them, with Qwen3's norms of heads where the
 * model has them. All pointers are device addresses.
 *
 * x            (n, stride)  bfloat16, in place: the first n_heads heads of a row are q's, the
 *                           next n_kv_heads k's; what lies behind them (v) is not touched
 * stride                    >= (n_heads + n_kv_heads) * head_dim, elements
 * q_norm, k_norm (head_dim) float32, both or neither: each head is first divided by
 *                           sqrt(mean square + eps) and multiplied by these (kernels/rmsnorm.h)
 * raw          (n, raw_stride)  bfloat16: the same heads before norm and turn, which the gradient
 *                           through the norms needs. Written forwards, read backwards, with norms
 *                           only; forwards NULL keeps nothing. Apart from x
 *
 * x and raw lie at multiples of 16 bytes, the tables and norms too. All in float32, rounded
 * once, at the end. A head's bytes depend on its values, its position and its norm alone. NaN stays
 * in its head; without norms in its pair. */
struct rope_cuda {
    void *x;
    size_t stride;
    const int32_t *positions;
    const float *cos_table, *sin_table;
    int n_heads, n_kv_heads, head_dim;
    const float *q_norm, *k_norm; /* NULL: none */
    float eps;
    void *raw;
    size_t raw_stride; /* >= (n_heads + n_kv_heads) * head_dim */
};

/* n rows. Queued on the device's stream. */
enum status rope_fwd_cuda(struct device *device, const struct rope_cuda *rope, int n,
                          struct err *err);

/* The gradient: x holds the gradient by what rope_fwd_cuda left there and gets the gradient by what
 * it found: turned back and, where there are norms, taken through them (rmsnorm_bwd's formula) with
 * raw. The rest as above. */
enum status rope_bwd_cuda(struct device *device, const struct rope_cuda *rope, int n,
                          struct err *err);

/* The same in float64 from the formulas above, without tables, in place. Tests and bench only
 * (tests/reference). */
void rope_frequencies_ref(double *inv_freq, int head_dim, const struct rope_config *config);
void rope_fwd_ref(double *x, const int32_t *positions, const double *inv_freq, int n, int n_heads,
                  int head_dim);
void rope_bwd_ref(double *dx, const int32_t *positions, const double *inv_freq, int n, int n_heads,
                  int head_dim);
/* One head's, with its norm: dx (head_dim) turned back, then through the norm of x (head_dim),
 * which is the head before both. error (head_dim): what a GPU's may differ by before it is rounded.
 * head_dim at most 1024. */
void rope_norm_bwd_ref(double *dx, double *error, const double *x, const double *norm,
                       int32_t position, const double *inv_freq, int head_dim, double eps);

#endif
