/* NF4 by its definition, one value at a time: each code is found by comparing with every entry of
 * its table. */
#include "kernels/nf4.h"

#include <math.h>

/* The lowest code such that v is not above the midpoint to the next one. */
static int code_of(const float *map, int n, float v)
{
    for (int code = 0; code < n - 1; code++) {
        float midpoint = (float)(((double)map[code] + (double)map[code + 1]) / 2);
        if (v <= midpoint)
            return code;
    }
    return n - 1;
}

void nf4_quantize_ref(uint8_t *codes, float *absmax, const float *x, int64_t n)
{
    for (int64_t i = 0; i < (n + 1) / 2; i++)
        codes[i] = 0x77;
    for (int64_t block = 0; block < (n + 63) / 64; block++) {
        float largest = 0;
        for (int64_t i = block * 64; i < n && i < block * 64 + 64; i++)
            if (!(fabsf(x[i]) <= largest) && !isnan(largest))
                largest = fabsf(x[i]);
        absmax[block] = largest;
        float scale = (float)(1.0 / fmax((double)largest, (double)1e-38f));
        if (isnan(largest))
            scale = NAN;
        for (int64_t i = block * 64; i < n && i < block * 64 + 64; i++) {
            int code = code_of(nf4_map, 16, x[i] * scale), shift = i % 2 ? 0 : 4;
            codes[i / 2] = (uint8_t)((codes[i / 2] & ~(15 << shift)) | code << shift);
        }
    }
}

void nf4_nest_absmax_ref(uint8_t *absmax_codes, float *nested_absmax, const float *absmax,
                         int64_t n_blocks, float offset)
{
    for (int64_t nested = 0; nested < (n_blocks + 255) / 256; nested++) {
        int64_t first = nested * 256, end = first + 256 < n_blocks ? first + 256 : n_blocks;
        float largest = 0;
        for (int64_t i = first; i < end; i++)
            largest = fmaxf(largest, fabsf(absmax[i] - offset));
        nested_absmax[nested] = largest;
        for (int64_t i = first; i < end; i++) {
            absmax_codes[i] = 0;
            if (largest == 0)
                continue;
            float v = fminf(fmaxf((absmax[i] - offset) * (1 / largest), -1), 1);
            int index = (int)fmaf((v + 1) * 0.5f, 65535, 0.5f);
            absmax_codes[i] =
                (uint8_t)code_of(nf4_nested_map, 256, -1 + (float)(2 * index) / 65535);
        }
    }
}

void nf4_dequantize_ref(double *out, const struct nf4_matrix *w)
{
    for (int64_t i = 0; i < (int64_t)w->rows * w->columns; i++) {
        int code = w->codes[i / 2] >> (i % 2 ? 0 : 4) & 15;
        float absmax;
        if (w->absmax)
            absmax = w->absmax[i / 64];
        else {
            double product = (double)nf4_nested_map[w->absmax_codes[i / 64]] *
                             (double)w->nested_absmax[i / 64 / 256];
            absmax = (float)((double)(float)product + (double)w->offset);
        }
        out[i] = (double)(float)((double)nf4_map[code] * (double)absmax);
    }
}
