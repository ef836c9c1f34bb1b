/* Philox4x32-10: random numbers by counter.
 *
 * A value is a pure function of a key and a counter, so it is the same on every device and for any
 * number of threads, and nothing has to be kept between draws. midashi's counters are made of
 * (step, stream, index) and its keys of the seed.
 *
 * Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3" (SC11), section
 * 3.3; the constants and the known answers are those of its Random123 library. */
#ifndef MIDASHI_BASE_PHILOX_H
#define MIDASHI_BASE_PHILOX_H

#include <stdint.h>

/* out = ten rounds of the bijection chosen by key, applied to counter. out may be counter. */
static inline void philox4x32(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u; /* the golden ratio */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* Four words by (seed, step, stream, index). step counts what repeats (a training step, a restart);
 * stream names what draws (a tensor, an algorithm); index is the place in it. */
static inline void philox_words(uint32_t out[4], uint64_t seed, uint32_t step, uint32_t stream,
                                uint64_t index)
{
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), step, stream};
    philox4x32(out, counter, key);
}

/* Uniform in [0, 1), a multiple of 2^-53: the upper 53 bits of words 1 and 0. */
static inline double philox_uniform(uint64_t seed, uint32_t step, uint32_t stream, uint64_t index)
{
    uint32_t word[4];
    philox_words(word, seed, step, stream, index);
    return (double)(((uint64_t)word[1] << 32 | word[0]) >> 11) * 0x1p-53;
}

#endif
