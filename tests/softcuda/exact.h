/* Floating point for references: formats taken apart by whole numbers, results computed in a
 * binary128 and rounded once by hand. Nothing here comes from tools/softcuda. */
#ifndef MIDASHI_TESTS_SOFTCUDA_EXACT_H
#define MIDASHI_TESTS_SOFTCUDA_EXACT_H

#include <float.h>
#include <stdbool.h>
#include <stdint.h>

#if LDBL_MANT_DIG == 113
typedef long double quad;
#else
typedef __float128 quad;
#endif

enum exact_mode {
    EXACT_RN,  /* to nearest, ties to even */
    EXACT_RZ,  /* toward zero */
    EXACT_RM,  /* down */
    EXACT_RP,  /* up */
    EXACT_RNA, /* to nearest, ties away from zero */
};

/* bits = 1 + exponent_bits + fraction_bits, the sign on top. */
struct exact_format {
    int exponent_bits, fraction_bits;
    uint64_t nan; /* the canonical one */
};
extern const struct exact_format exact_f16, exact_bf16, exact_f32, exact_f64;

quad exact_value(uint64_t bits, const struct exact_format *format);
/* x rounded to the format. lost: the sign of what is missing in x (-1, 0, 1: the number meant is a
 * trifle above x). NaN gives the format's. */
uint64_t exact_round(quad x, int lost, const struct exact_format *format, enum exact_mode mode);

bool exact_is_nan(uint64_t bits, const struct exact_format *format);
bool exact_is_subnormal(uint64_t bits, const struct exact_format *format);
/* A subnormal number becomes the zero of its sign. */
uint64_t exact_flush(uint64_t bits, const struct exact_format *format);

/* x * y + z, x / y, the square root of x: rounded once. */
uint64_t exact_fma(uint64_t x, uint64_t y, uint64_t z, const struct exact_format *format,
                   enum exact_mode mode);
uint64_t exact_add(uint64_t x, uint64_t y, const struct exact_format *format, enum exact_mode mode);
uint64_t exact_mul(uint64_t x, uint64_t y, const struct exact_format *format, enum exact_mode mode);
uint64_t exact_div(uint64_t x, uint64_t y, const struct exact_format *format, enum exact_mode mode);
uint64_t exact_sqrt(uint64_t x, const struct exact_format *format, enum exact_mode mode);

/* The lesser or the greater: a NaN gives way to a number, or wins; +0 is greater than -0. */
uint64_t exact_choose(uint64_t x, uint64_t y, const struct exact_format *format, bool greater,
                      bool nan_wins);

bool quad_negative(quad x); /* the sign bit */
quad quad_power(int exponent);
/* The integral value of x in a mode, where |x| < 2^100. */
__int128 quad_integral(quad x, enum exact_mode mode);

/* How far got is from want in units of got's last place; 0 where both are the same or both NaN,
 * huge where only one is, or they are infinite apart. */
double exact_ulps(uint64_t got, long double want, const struct exact_format *format);

#endif
