/* The 16-bit floating-point formats, bit by bit: binary16 (F16) and bfloat16 (BF16).
 * Conversions to float32 are exact. From float32 they round to nearest, ties to even; NaN stays
 * NaN. */
#ifndef MIDASHI_BASE_FLOAT16_H
#define MIDASHI_BASE_FLOAT16_H

#include <stdint.h>
#include <string.h>

static inline float float_from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t bits_from_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float bf16_to_float(uint16_t h)
{
    return float_from_bits((uint32_t)h << 16);
}

static inline uint16_t bf16_from_float(float x)
{
    uint32_t bits = bits_from_float(x);
    if ((bits & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)(bits >> 16 | 0x0040); /* quiet NaN */
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/* All three cases are computed and one is kept by masks, so that loops over it can be vectorised.
 */
static inline float f16_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 0x1F, fraction = h & 0x3FF;
    uint32_t normal = (exponent + 112) << 23 | fraction << 13;
    uint32_t special = 0x7F800000 | fraction << 13; /* infinity and NaN */
    /* Zero and subnormals are fraction * 2^-24, exact in float32. */
    uint32_t subnormal = bits_from_float((float)(int32_t)fraction * 0x1p-24f);
    uint32_t is_subnormal = -(uint32_t)(exponent == 0), is_special = -(uint32_t)(exponent == 0x1F);
    return float_from_bits(sign | (subnormal & is_subnormal) | (special & is_special) |
                           (normal & ~is_subnormal & ~is_special));
}

static inline uint16_t f16_from_float(float x)
{
    uint32_t bits = bits_from_float(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000)
        return (uint16_t)(sign | 0x7E00);
    if (magnitude >= 0x477FF000) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7C00);
    if (magnitude <
        0x38800000) { /* below 2^-14: a subnormal, or zero. Adding 0.5 rounds to 2^-24. */
        float shifted = float_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_from_float(shifted) - bits_from_float(0.5f)));
    }
    uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
    return (uint16_t)(sign | ((rounded >> 13) - (112 << 10)));
}

#endif
