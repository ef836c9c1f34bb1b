/* Rotary position embedding in float64, each angle's cosine and sine afresh; the frequencies by
 * wavelengths, as the paper on Llama 3 and transformers write them. */
#include "kernels/rope.h"

#include <assert.h>
#include <math.h>
#include "kernels/rmsnorm.h"

void rope_frequencies_ref(double *inv_freq, int head_dim, const struct rope_config *config)
{
    for (int i = 0; 2 * i < head_dim; i++) {
        double f = 1 / exp(log(config->theta) * (2.0 * i / head_dim));
        double wavelength = 2 * M_PI / f;
        double longest = config->original_max_positions / config->low_frequency_factor;
        double shortest = config->original_max_positions / config->high_frequency_factor;
        if (config->scaling == ROPE_LINEAR)
            f /= config->factor;
        if (config->scaling == ROPE_DIVIDED)
            f /= (double)config->divisors[i];
        if (config->scaling == ROPE_LLAMA3 && wavelength > longest)
            f /= config->factor;
        else if (config->scaling == ROPE_LLAMA3 && wavelength >= shortest) {
            double smooth =
                (config->original_max_positions / wavelength - config->low_frequency_factor) /
                (config->high_frequency_factor - config->low_frequency_factor);
            f = (1 - smooth) * f / config->factor + smooth * f;
        }
        inv_freq[i] = f;
    }
}

void rope_fwd_ref(double *x, const int32_t *positions, const double *inv_freq, int n, int n_heads,
                  int head_dim)
{
    int half = head_dim / 2;
    for (int i = 0; i < n * n_heads; i++)
        for (int j = 0; j < half; j++) {
            double angle = positions[i / n_heads] * inv_freq[j];
            double *a = x + (size_t)i * (size_t)head_dim + j, *b = a + half;
            double turned = *a * cos(angle) - *b * sin(angle);
            *b = *b * cos(angle) + *a * sin(angle);
            *a = turned;
        }
}

void rope_bwd_ref(double *dx, const int32_t *positions, const double *inv_freq, int n, int n_heads,
                  int head_dim)
{
    int half = head_dim / 2;
    for (int i = 0; i < n * n_heads; i++)
        for (int j = 0; j < half; j++) {
            double angle = positions[i / n_heads] * inv_freq[j];
            double *a = dx + (size_t)i * (size_t)head_dim + j, *b = a + half;
            double by_a = *a * cos(angle) + *b * sin(angle);
            *b = *b * cos(angle) - *a * sin(angle);
            *a = by_a;
        }
}

/* Turned back, a value is at most sqrt(2) of the head's largest and errs by 4 roundings (cos, sin,
 * two products and a sum) of 1.5 u of that. Through the norm that is 4 u of the magnitudes of
 * gradients that are all 1.5 times the largest, and the norm itself adds to it: its sums are a
 * lane's chain, of 16 or of head_dim / 32 + 2, and a butterfly, and two roundings before; a power
 * of 3/2 and one of 1; a dozen roundings (rmsnorm_bwd_cuda_tolerance). */
void rope_norm_bwd_ref(double *dx, double *error, const double *x, const double *norm,
                       int32_t position, const double *inv_freq, int head_dim, double eps)
{
    double flat[1024] = {0}, largest = 0, chain = fmax(16, head_dim / 32.0 + 2) + 5 + 2;
    assert(head_dim <= 1024);
    for (int i = 0; i < head_dim; i++)
        largest = fmax(largest, fabs(dx[i]));
    for (int i = 0; i < head_dim; i++)
        flat[i] = 1.5 * largest;
    rmsnorm_bwd_ref(flat, error, flat, x, norm, 1, head_dim, eps, false);
    for (int i = 0; i < head_dim; i++)
        error[i] *= (4 + 2.5 * chain + 12) * 0x1p-24;
    rope_bwd_ref(dx, &position, inv_freq, 1, 1, head_dim);
    rmsnorm_bwd_ref(dx, NULL, dx, x, norm, 1, head_dim, eps, false);
}
