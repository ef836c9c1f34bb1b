/* See exact.h. */
#include "tests/softcuda/exact.h"

#include <math.h>
#include <string.h>

typedef unsigned __int128 wide;

const struct exact_format exact_f16 = {5, 10, 0x7FFF};
const struct exact_format exact_bf16 = {8, 7, 0x7FFF};
const struct exact_format exact_f32 = {8, 23, 0x7FFFFFFF};
const struct exact_format exact_f64 = {11, 52, 0x7FF8000000000000};

static wide bits_of(quad x)
{
    wide bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static quad quad_of(wide bits)
{
    quad x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

bool quad_negative(quad x)
{
    return bits_of(x) >> 127;
}

quad quad_power(int exponent)
{
    return quad_of((wide)(exponent + 16383) << 112);
}

static quad quad_infinity(bool negative)
{
    return quad_of((wide)0x7FFF << 112 | (wide)negative << 127);
}

static bool quad_infinite(quad x)
{
    return bits_of(x) << 1 == (wide)0xFFFE << 112;
}

static int bias(const struct exact_format *format)
{
    return (1 << (format->exponent_bits - 1)) - 1;
}

static uint64_t exponent_mask(const struct exact_format *format)
{
    return (((uint64_t)1 << format->exponent_bits) - 1) << format->fraction_bits;
}

static uint64_t sign_mask(const struct exact_format *format)
{
    return (uint64_t)1 << (format->exponent_bits + format->fraction_bits);
}

bool exact_is_nan(uint64_t bits, const struct exact_format *format)
{
    return (bits & (sign_mask(format) - 1)) > exponent_mask(format);
}

bool exact_is_subnormal(uint64_t bits, const struct exact_format *format)
{
    return (bits & exponent_mask(format)) == 0 && (bits & (sign_mask(format) - 1)) != 0;
}

uint64_t exact_flush(uint64_t bits, const struct exact_format *format)
{
    return exact_is_subnormal(bits, format) ? bits & sign_mask(format) : bits;
}

quad exact_value(uint64_t bits, const struct exact_format *format)
{
    bool negative = bits & sign_mask(format);
    uint64_t field = (bits & exponent_mask(format)) >> format->fraction_bits;
    uint64_t fraction = bits & (((uint64_t)1 << format->fraction_bits) - 1);
    if (exact_is_nan(bits, format))
        return (quad)NAN;
    if ((bits & exponent_mask(format)) == exponent_mask(format))
        return quad_infinity(negative);
    quad magnitude = (quad)fraction;
    if (field > 0)
        magnitude += quad_power(format->fraction_bits);
    magnitude *= quad_power((int)(field > 0 ? field : 1) - bias(format) - format->fraction_bits);
    return negative ? -magnitude : magnitude;
}

/* The number kept + (rest, lost) below it, both of one sign: is it rounded away from zero? half:
 * rest is how much of a unit, compared with a half: -1, 0, 1. */
static bool rounds_up(bool odd, bool negative, bool inexact, int half, enum exact_mode mode)
{
    switch (mode) {
    case EXACT_RN:
        return half > 0 || (half == 0 && odd);
    case EXACT_RNA:
        return half >= 0;
    case EXACT_RM:
        return inexact && negative;
    case EXACT_RP:
        return inexact && !negative;
    default:
        return false;
    }
}

uint64_t exact_round(quad x, int lost, const struct exact_format *format, enum exact_mode mode)
{
    wide bits = bits_of(x);
    bool negative = bits >> 127;
    uint64_t sign = negative ? sign_mask(format) : 0;
    if (x != x)
        return format->nan;
    if (quad_infinite(x))
        return sign | exponent_mask(format);
    if (bits << 1 == 0)
        return sign; /* nothing is ever lost beside a zero: see the callers */
    /* Two more bits for what was lost: the significand as 1.112 bits and a quarter or three. */
    int exponent = (int)(bits >> 112 & 0x7FFF) - 16383;
    wide significand = ((bits & (((wide)1 << 112) - 1)) | (wide)1 << 112) << 2;
    int away = negative ? -lost : lost;
    significand += (wide)(__int128)away;
    int lowest = 1 - bias(format);
    int drop = 112 + 2 - format->fraction_bits;
    if (exponent < lowest)
        drop += lowest - exponent;
    wide kept = 0, rest = significand, unit_half = 0;
    int half = -1;
    if (drop <= 117) {
        kept = drop >= 128 ? 0 : significand >> drop;
        rest = significand & (((wide)1 << drop) - 1);
        unit_half = (wide)1 << (drop - 1);
        half = rest < unit_half ? -1 : rest > unit_half;
    }
    kept += rounds_up(kept & 1, negative, rest != 0, half, mode);
    /* A carry into the exponent's field is right by itself. */
    uint64_t field = exponent < lowest ? 0 : (uint64_t)(exponent - lowest);
    wide result = kept + ((wide)field << format->fraction_bits);
    if (exponent > bias(format) || result >= exponent_mask(format)) {
        bool inward =
            mode == EXACT_RZ || (mode == EXACT_RM && !negative) || (mode == EXACT_RP && negative);
        result = exponent_mask(format) - inward;
    }
    return sign | (uint64_t)result;
}

/* The sum of two binary128 with the sign of its error; zeros as the mode wants them. */
static uint64_t round_sum(quad x, quad y, const struct exact_format *format, enum exact_mode mode)
{
    quad sum = x + y, part = sum - x;
    quad error = (x - (sum - part)) + (y - part);
    if (quad_infinite(sum) || sum != sum)
        return exact_round(sum, 0, format, mode);
    if (sum == 0) {
        bool negative = quad_negative(x) && quad_negative(y);
        if (quad_negative(x) != quad_negative(y))
            negative = mode == EXACT_RM;
        return negative ? sign_mask(format) : 0;
    }
    return exact_round(sum, error > 0 ? 1 : error < 0 ? -1 : 0, format, mode);
}

uint64_t exact_fma(uint64_t x, uint64_t y, uint64_t z, const struct exact_format *format,
                   enum exact_mode mode)
{
    quad product = exact_value(x, format) * exact_value(y, format); /* 106 bits: exact */
    return round_sum(product, exact_value(z, format), format, mode);
}

uint64_t exact_add(uint64_t x, uint64_t y, const struct exact_format *format, enum exact_mode mode)
{
    return round_sum(exact_value(x, format), exact_value(y, format), format, mode);
}

uint64_t exact_mul(uint64_t x, uint64_t y, const struct exact_format *format, enum exact_mode mode)
{
    return exact_round(exact_value(x, format) * exact_value(y, format), 0, format, mode);
}

/* A quotient of two numbers of 53 bits is no closer than 2^-107 to one of 54 bits that it is not,
 * so that rounding it to 113 bits first tells the same. */
uint64_t exact_div(uint64_t x, uint64_t y, const struct exact_format *format, enum exact_mode mode)
{
    return exact_round(exact_value(x, format) / exact_value(y, format), 0, format, mode);
}

uint64_t exact_sqrt(uint64_t x, const struct exact_format *format, enum exact_mode mode)
{
    quad value = exact_value(x, format);
    if (value != value || (value != 0 && quad_negative(value)))
        return format->nan;
    if (value == 0 || quad_infinite(value))
        return x;
    quad root = (quad)sqrt((double)value); /* f64's subnormals are exact in a double too */
    for (int i = 0; i < 3; i++)
        root = (root + value / root) / 2;
    return exact_round(root, 0, format, mode);
}

uint64_t exact_choose(uint64_t x, uint64_t y, const struct exact_format *format, bool greater,
                      bool nan_wins)
{
    bool nan_x = exact_is_nan(x, format), nan_y = exact_is_nan(y, format);
    if ((nan_x && nan_y) || (nan_wins && (nan_x || nan_y)))
        return format->nan;
    if (nan_x || nan_y)
        return nan_x ? y : x;
    quad a = exact_value(x, format), b = exact_value(y, format);
    bool x_first = a < b || (a == 0 && b == 0 && quad_negative(a));
    return x_first != greater ? x : y;
}

__int128 quad_integral(quad x, enum exact_mode mode)
{
    bool negative = quad_negative(x);
    quad magnitude = negative ? -x : x;
    __int128 whole = (__int128)magnitude;
    quad rest = magnitude - (quad)whole;
    int half = rest < (quad)0.5 ? -1 : rest > (quad)0.5;
    whole += rounds_up(whole & 1, negative, rest != 0, half, mode);
    return negative ? -whole : whole;
}

double exact_ulps(uint64_t got, long double want, const struct exact_format *format)
{
    if (exact_is_nan(got, format) || isnan(want))
        return exact_is_nan(got, format) && isnan(want) ? 0 : INFINITY;
    uint64_t rounded = exact_round((quad)want, 0, format, EXACT_RN);
    if (got == rounded)
        return 0;
    if ((got & exponent_mask(format)) == exponent_mask(format))
        return INFINITY;
    int field = (int)((got & exponent_mask(format)) >> format->fraction_bits);
    quad unit = quad_power((field ? field : 1) - bias(format) - format->fraction_bits);
    return fabs((double)((exact_value(got, format) - (quad)want) / unit));
}
