/* Bits well mixed: the finaliser of SplitMix64 (Steele, Lea and Flood 2014), for seeds and orders.
 */
#ifndef SOFTCUDA_MIX_H
#define SOFTCUDA_MIX_H

#include <stdint.h>

static inline uint64_t mix_bits(uint64_t z)
{
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* The next number of the sequence whose state is *state. */
static inline uint64_t next_random(uint64_t *state)
{
    return mix_bits(*state += 0x9E3779B97F4A7C15u);
}

#endif
