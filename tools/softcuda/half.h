/* 16-bit floating point, lane by lane: f16 (binary16) and bf16 (the upper half of a binary32). */
#ifndef SOFTCUDA_HALF_H
#define SOFTCUDA_HALF_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Exact. */
static inline float half_to_float(uint16_t bits, bool bf16)
{
    uint32_t wide;
    if (bf16) {
        wide = (uint32_t)bits << 16;
    } else {
        uint32_t sign = (uint32_t)(bits & 0x8000u) << 16, magnitude = bits & 0x7FFFu;
        if (magnitude >= 0x7C00u) {
            wide = sign | 0x7F800000u | (magnitude & 0x3FFu) << 13;
        } else { /* 2^112 moves the exponent, subnormal numbers included */
            float scaled;
            uint32_t shifted = magnitude << 13;
            memcpy(&scaled, &shifted, sizeof scaled);
            scaled *= 0x1p112f;
            memcpy(&wide, &scaled, sizeof wide);
            wide |= sign;
        }
    }
    float x;
    memcpy(&x, &wide, sizeof x);
    return x;
}

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

static inline uint16_t half_from_float(float x, bool bf16, enum half_rounding rounding)
{
    return half_from_double((double)x, bf16, rounding);
}

/* a + b as a binary64 whose last bit says that something was lost ("round to odd"): rounding it
 * again to fewer bits gives what rounding the exact sum would. */
static inline double add_to_odd(double a, double b)
{
    double sum = a + b, part = sum - a;
    double lost = (a - (sum - part)) + (b - part);
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    if (lost == 0 || lost != lost || (bits & 1))
        return sum;
    /* One step toward what was lost makes the last bit odd. */
    bits += (lost > 0) == (sum > 0) ? 1 : (uint64_t)-1;
    memcpy(&sum, &bits, sizeof sum);
    return sum;
}

/* x * y + z, rounded once: the product of two halves is exact in a binary64. */
static inline uint16_t half_fma(uint16_t x, uint16_t y, uint16_t z, bool bf16)
{
    double product = (double)half_to_float(x, bf16) * (double)half_to_float(y, bf16);
    return half_from_double(add_to_odd(product, (double)half_to_float(z, bf16)), bf16,
                            HALF_NEAREST);
}

static inline uint16_t half_add(uint16_t x, uint16_t y, bool bf16)
{
    return half_from_double(
        add_to_odd((double)half_to_float(x, bf16), (double)half_to_float(y, bf16)), bf16,
        HALF_NEAREST);
}

static inline uint16_t half_mul(uint16_t x, uint16_t y, bool bf16)
{
    return half_from_double((double)half_to_float(x, bf16) * (double)half_to_float(y, bf16), bf16,
                            HALF_NEAREST);
}

#endif
