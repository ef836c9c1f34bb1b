/* The 16-bit formats: all 65536 values of each, and rounding at and around every tie. */
#include "tests/support.h"

#include <math.h>
#include <string.h>
#include "host/base/float16.h"

/* The value of bits in a format with 1 sign bit, then exponent bits, then fraction bits, from its
 * definition in IEEE 754. Infinity and NaN excepted. */
static double value_of(uint16_t bits, int exponent_bits)
{
    int fraction_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = bits >> fraction_bits & ((1 << exponent_bits) - 1);
    double fraction = (bits & ((1 << fraction_bits) - 1)) / (double)(1 << fraction_bits);
    double magnitude =
        exponent == 0 ? ldexp(fraction, 1 - bias) : ldexp(1 + fraction, exponent - bias);
    return bits >> 15 ? -magnitude : magnitude;
}

struct format {
    int exponent_bits;
    uint16_t infinity;
    float (*widen)(uint16_t);
    uint16_t (*narrow)(float);
};
static const struct format formats[] = {
    {5, 0x7C00, f16_to_float, f16_from_float},
    {8, 0x7F80, bf16_to_float, bf16_from_float},
};

START_TEST(float16_widens_exactly_and_back)
{
    const struct format *format = &formats[_i];
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        float x = format->widen((uint16_t)bits);
        if ((bits & 0x7FFF) > format->infinity) {
            ck_assert_msg(isnan(x), "%04x", bits);
            ck_assert_uint_gt(format->narrow(x) & 0x7FFF, format->infinity);
            continue;
        }
        if ((bits & 0x7FFF) == format->infinity)
            ck_assert_msg(isinf(x) && (signbit(x) != 0) == (bits >> 15 != 0), "%04x", bits);
        else
            ck_assert_msg((double)x == value_of((uint16_t)bits, format->exponent_bits) &&
                              (signbit(x) != 0) == (bits >> 15 != 0),
                          "%04x: %a", bits, (double)x);
        ck_assert_msg(format->narrow(x) == bits, "%04x comes back as %04x", bits,
                      format->narrow(x));
    }
}
END_TEST

/* Between each two neighbours: the tie goes to the even one, and the float32 values next to the tie
 * to the nearer one. Behind the largest number comes infinity, as if it were the next number. */
START_TEST(float16_rounds_to_nearest_even)
{
    const struct format *format = &formats[_i];
    for (uint16_t low = 0; low < format->infinity; low++) {
        uint16_t high = (uint16_t)(low + 1);
        double a = value_of(low, format->exponent_bits);
        double b = high == format->infinity
                       ? 2 * a - value_of((uint16_t)(low - 1), format->exponent_bits)
                       : value_of(high, format->exponent_bits);
        float tie = (float)((a + b) / 2);
        ck_assert_msg((double)tie == (a + b) / 2, "%04x: the tie is no float32", low);
        uint16_t even = low & 1 ? high : low;
        ck_assert_uint_eq(format->narrow(tie), even);
        ck_assert_uint_eq(format->narrow(-tie), even | 0x8000);
        ck_assert_uint_eq(format->narrow(nextafterf(tie, 0)), low);
        ck_assert_uint_eq(format->narrow(nextafterf(tie, INFINITY)), high);
    }
    ck_assert_uint_eq(format->narrow(3.4e38f), format->infinity);
    ck_assert_uint_eq(format->narrow(1e-45f), 0);
    ck_assert_uint_eq(format->narrow(-1e-45f), 0x8000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("float16");
    TCase *tests = tcase_create("float16");
    tcase_add_loop_test(tests, float16_widens_exactly_and_back, 0, 2);
    tcase_add_loop_test(tests, float16_rounds_to_nearest_even, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
