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

/* The same in float64 from the formulas above, without tables, in place. Tests and bench only
 * (tests/reference). */
void rope_frequencies_ref(double *inv_freq, int head_dim, const struct rope_config *config);
void rope_fwd_ref(double *x, const int32_t *positions, const double *inv_freq, int n, int n_heads,
                  int head_dim);

#endif
