/* Values whose distances to candidates make every kind of float32 sum, and such distances. */
#ifndef MIDASHI_TESTS_CANDIDATE_INPUTS_H
#define MIDASHI_TESTS_CANDIDATE_INPUTS_H

#include <float.h>
#include <math.h>
#include "tests/support.h"

/* Values of either sign and of any size between 2^low and 2^high, with few bits set in some: sums
 * that are near the middle between two float32, exact, or far below what they are added to. */
static inline void fill_any_size(float *x, size_t n, uint64_t seed, int low, int high)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t bits = mix64(seed, i);
        uint32_t fraction = (uint32_t)bits & 0x7FFFFF;
        fraction &= bits >> 40 & 1 ? 0x7FFFFF : 0x700001;
        float value = ldexpf(1 + (float)fraction * 0x1p-23f,
                             low + (int)((bits >> 44) % (uint64_t)(high - low)));
        x[i] = bits >> 63 ? -value : value;
    }
}

/* Distances of many sizes, some of them 0. */
static inline void fill_distances(float *distance, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t bits = mix64(seed, i);
        distance[i] = (float)(bits >> 40) * ldexpf(1, (int)(bits % 9) - 24);
        if ((bits >> 20) % 16 == 0)
            distance[i] = 0;
    }
}

/* As of trials that overflowed, are NaN, lie on a row or next to it. */
static inline void put_odd_values(float *trial, size_t n)
{
    static const float odd[] = {NAN, INFINITY, FLT_MAX, 0, 0x1p-149f};
    for (size_t i = 0; i < n; i++)
        if (i % 13 == 7)
            trial[i] = odd[i / 13 % 5];
}

#endif
