/* Rotary position embedding in float64, each angle's cosine and sine afresh; the frequencies by
 * wavelengths, as the paper on Llama 3 and transformers write them. */
#include "kernels/rope.h"

#include <math.h>

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
