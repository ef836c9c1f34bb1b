/* Clusters' sums with their centres, as k-means has them, for the tests of their update. */
#ifndef MIDASHI_TESTS_CENTRE_INPUTS_H
#define MIDASHI_TESTS_CENTRE_INPUTS_H

#include <stdlib.h>
#include "tests/support.h"

struct centre_input {
    int k, d;
    double *sums;    /* (k, d) not far from count times centre */
    int64_t *counts; /* (k) some of them 0 */
    float *centres;  /* (k, d) */
    float *mean;     /* (d) */
};

/* Of values that float64 must round: sums of squares of equal size, or products of counts with
 * differences of near numbers, would be exact in any order. centre_input_free releases it. */
static inline struct centre_input centre_input_of(int k, int d, uint64_t seed)
{
    size_t size = (size_t)k * (size_t)d;
    struct centre_input in = {k,
                              d,
                              test_alloc(size * sizeof *in.sums),
                              test_alloc((size_t)k * sizeof *in.counts),
                              test_floats(size),
                              test_floats((size_t)d)};
    float *noise = test_floats(size);
    fill_normal(in.centres, size, seed, 1);
    fill_wide(in.mean, (size_t)d, seed + 1);
    fill_wide(noise, size, seed + 2);
    for (int j = 0; j < d; j++)
        in.mean[j] *= 0x1p-28f;
    for (size_t c = 0; c < (size_t)k; c++) {
        uint64_t bits = mix64(seed + 3, c);
        in.counts[c] = c > 0 && bits % 16 == 0 ? 0 : (int64_t)(bits >> 8) % 5000 + 1;
        for (size_t e = c * (size_t)d; e < (c + 1) * (size_t)d; e++)
            in.sums[e] =
                (double)in.counts[c] * ((double)in.centres[e] + 0x1p-28 / 3 * (double)noise[e]);
    }
    free(noise);
    return in;
}

static inline void centre_input_free(struct centre_input *in)
{
    free(in->sums), free(in->counts), free(in->centres), free(in->mean);
}

#endif
