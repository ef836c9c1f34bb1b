/* 16-bit floating point, lane by lane: f16 (binary16) and bf16 (the upper half of a binary32). */
#ifndef SOFTCUDA_HALF_H
#define SOFTCUDA_HALF_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "host/base/float16.h"

/* A loop with a call in it is no vector code. */
#define HALF_INLINE static inline __attribute__((always_inline))

/* ---- to and from binary32: without branches, so that loops become vector code -----------------
 */

#define NAN_BITS 0x7FFFFFFFu

/* By masks: of `?:` gcc makes branches where one NaN leads to the next. */
HALF_INLINE uint32_t pick(bool condition, uint32_t yes, uint32_t no)
{
    uint32_t mask = -(uint32_t)condition;
    return (yes & mask) | (no & ~mask);
}

/* A NaN gives the canonical one. */
HALF_INLINE uint32_t f32_of_bf16(uint32_t x)
{
    uint32_t bits = x << 16;
    return pick((bits & 0x7FFFFFFFu) > 0x7F800000u, NAN_BITS, bits);
}

/* The exponent is moved by a product with 2^112, which is right for subnormal numbers too. */
HALF_INLINE uint32_t f32_of_f16(uint32_t x)
{
    uint32_t sign = (x & 0x8000u) << 16, magnitude = x & 0x7FFFu;
    uint32_t finite = bits_from_float(float_from_bits(magnitude << 13) * 0x1p112f);
    uint32_t bits = sign | pick(magnitude < 0x7C00u, finite, 0x7F800000u);
    return pick(magnitude > 0x7C00u, NAN_BITS, bits);
}

/* To nearest even: half a unit of the last place is added, less a bit where that place is even. */
HALF_INLINE uint32_t bf16_of_f32(uint32_t bits)
{
    uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1)) >> 16;
    return pick((bits & 0x7FFFFFFFu) > 0x7F800000u, 0x7FFFu, rounded);
}

HALF_INLINE uint32_t f16_of_f32(uint32_t bits)
{
    uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
    uint32_t normal = (magnitude - 0x38000000u + 0xFFFu + (magnitude >> 13 & 1)) >> 13;
    /* Below 2^-14 a sum with 0.5 puts the last place of f16 at that of f32. */
    uint32_t small = bits_from_float(float_from_bits(magnitude) + 0.5f) - 0x3F000000u;
    uint32_t result = pick(magnitude < 0x38800000u, small, normal);
    result = pick(magnitude >= 0x47800000u, 0x7C00u, result);
    return pick(magnitude > 0x7F800000u, 0x7FFFu, sign | result);
}

/* Exact. */
HALF_INLINE float half_to_float(uint32_t half, bool bf16)
{
    return float_from_bits(bf16 ? f32_of_bf16(half) : f32_of_f16(half));
}

/* To nearest even. */
HALF_INLINE uint32_t half_from_float(float x, bool bf16)
{
    return bf16 ? bf16_of_f32(bits_from_float(x)) : f16_of_f32(bits_from_float(x));
}

/* ---- from binary64, in any direction -----------------------------------------------------------
 */

enum half_rounding {
    HALF_NEAREST, /* even */
    HALF_ZERO,
    HALF_DOWN,
    HALF_UP,
};

/* A number given as sign and magnitude bits of a binary64 or binary32, kept to `keep` bits of
 * magnitude: rounds off the lower ones. */
static inline uint64_t round_off(uint64_t magnitude, int drop, bool negative,
                                 enum half_rounding rounding)
{
    uint64_t kept = magnitude >> drop, rest = magnitude & (((uint64_t)1 << drop) - 1);
    uint64_t middle = (uint64_t)1 << (drop - 1);
    bool up = false;
    if (rounding == HALF_NEAREST)
        up = rest > middle || (rest == middle && (kept & 1));
    else if (rounding == HALF_DOWN || rounding == HALF_UP)
        up = rest != 0 && negative == (rounding == HALF_DOWN);
    return kept + up;
}

/* From a binary64, rounded once. NaN gives 0x7FFF. exponent_bits, fraction_bits: 5, 10 or 8, 7. */
static inline uint16_t half_from_double(double x, bool bf16, enum half_rounding rounding)
{
    int exponent_bits = bf16 ? 8 : 5, fraction_bits = bf16 ? 7 : 10;
    int bias = (1 << (exponent_bits - 1)) - 1;
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    bool negative = bits >> 63;
    uint16_t sign = negative ? 0x8000u : 0,
             infinity = (uint16_t)(((1 << exponent_bits) - 1) << fraction_bits);
    int exponent = (int)(bits >> 52 & 0x7FF) - 1023;
    uint64_t fraction = bits & (((uint64_t)1 << 52) - 1);
    if (x != x)
        return 0x7FFFu;
    if (exponent == 1024)
        return sign | infinity;
    if (bits << 1 == 0)
        return sign;
    if (exponent < -1022) /* a subnormal binary64 is far below: a trace of it is left */
        exponent = -1022;
    else
        fraction |= (uint64_t)1 << 52;
    int drop = 52 - fraction_bits;
    int64_t field = exponent + bias;
    uint64_t kept;
    if (field >= 1) {
        kept = round_off(fraction, drop, negative, rounding) +
               ((uint64_t)(field - 1) << fraction_bits);
    } else {
        int64_t more = drop + 1 - field;
        if (more > 60) { /* nothing is left but that it was not 0 */
            fraction = 1;
            more = 60;
        }
        kept = round_off(fraction, (int)more, negative, rounding);
    }
    if (kept >=
        infinity) { /* overflow: to infinity, or to the largest where rounding goes inward */
        bool inward = rounding == HALF_ZERO || (rounding == HALF_DOWN && !negative) ||
                      (rounding == HALF_UP && negative);
        kept = inward ? infinity - 1u : infinity;
    }
    return (uint16_t)(sign | kept);
}

/* ---- arithmetic -------------------------------------------------------------------------------
 *
 * A sum whose last bit says that something was lost ("rounded to odd") gives, rounded again to two
 * bits less or fewer, what rounding the exact one would (Boldo and Melquiond 2008). */

/* What to add to the bits of a rounded sum: one step toward what was lost, if anything was, makes
 * the last bit odd. */
#define TO_ODD(bits, lost, sum)                                                                    \
    ((((lost) > 0) == ((sum) > 0) ? 1 : -1) * (int32_t)((((lost) < 0) | ((lost) > 0)) & ~(bits)&1))

/* What a + b has lost by rounding, NaN where it is not finite (Knuth's two-sum). */
#define LOST(a, b, sum) (((a) - ((sum) - ((sum) - (a)))) + ((b) - ((sum) - (a))))

/* A binary64 to a binary32, rounded to odd. */
HALF_INLINE float float_to_odd(double x)
{
    float near = (float)x;
    double lost = x - (double)near;
    uint32_t bits = bits_from_float(near);
    /* Of what is too large for a binary32 the largest number is the odd one; near may be 0 too. */
    bool over = fabs(x) <= DBL_MAX && (bits & 0x7FFFFFFFu) == 0x7F800000u;
    return float_from_bits(bits + pick(over, UINT32_MAX, (uint32_t)TO_ODD(bits, lost, x)));
}

/* a * b + c of f16, whose product is exact and far from the ends of a binary32: what rounds to the
 * right f16. */
HALF_INLINE float f16_fma_to_odd(float a, float b, float c)
{
    float product = a * b, sum = product + c, lost = LOST(product, c, sum);
    uint32_t bits = bits_from_float(sum);
    return float_from_bits(bits + (uint32_t)TO_ODD(bits, lost, sum));
}

/* The same of bf16, whose product is exact in a binary64. */
HALF_INLINE float bf16_fma_to_odd(float a, float b, float c)
{
    double product = (double)a * (double)b, sum = product + (double)c;
    double lost = LOST(product, (double)c, sum);
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    bits += (uint64_t)(int64_t)TO_ODD(bits, lost, sum);
    memcpy(&sum, &bits, sizeof sum);
    return float_to_odd(sum);
}

/* A product of f16 is exact; one of bf16 may be too small for a binary32. */
HALF_INLINE float bf16_product_to_odd(float a, float b)
{
    return float_to_odd((double)a * (double)b);
}

/* A binary32 has more than twice the bits and two: a sum that is rounded twice is right (Figueroa
 * 1995), and one too small for that is exact. */
HALF_INLINE uint32_t half_add(uint32_t x, uint32_t y, bool bf16)
{
    return half_from_float(half_to_float(x, bf16) + half_to_float(y, bf16), bf16);
}

#endif
