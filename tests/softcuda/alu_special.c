/* Cases of the approximations. The manual (PTX ISA 9.1, whose sections are named at each bound)
 * limits their errors; results are held to that, computed in long double, and to the manual's
 * tables of special values. */
#include <math.h>
#include <string.h>
#include "tests/softcuda/alu.h"

enum special_function { EX2, LG2, RCP, RSQRT, SQRT, SIN, COS, TANH, DIV_APPROX, DIV_FULL };

static long double exact(enum special_function f, long double x, long double y)
{
    switch (f) {
    case EX2:
        return exp2l(x);
    case LG2:
        return log2l(x);
    case RCP:
        return 1 / x;
    case RSQRT:
        return 1 / sqrtl(x);
    case SQRT:
        return sqrtl(x);
    case SIN:
        return isinf(x) ? (long double)NAN : sinl(x);
    case COS:
        return isinf(x) ? (long double)NAN : cosl(x);
    case TANH:
        return tanhl(x);
    default:
        return x / y;
    }
}

static bool within(enum special_function f, long double x, uint64_t got, long double want)
{
    double ulps = exact_ulps(got, want, &exact_f32);
    long double error = fabsl((long double)exact_value(got, &exact_f32) - want);
    if (ulps == 0)
        return true;
    if (isnan(ulps) || isinf(ulps))
        return false;
    switch (f) {
    case EX2: /* 9.7.3.21: "maximum ulp error is 2 ulp from correctly rounded result across the full
               * range of inputs" */
        return ulps <= 2;
    case LG2: /* 9.7.3.20: "maximum absolute error is 2^-22 when the input operand is in the range
               * (0.5, 2). For positive finite inputs outside of this interval, maximum relative
               * error is 2^-22" */
        return error <= (x > 0.5L && x < 2 ? exp2l(-22) : fabsl(want) * exp2l(-22));
    case RCP: /* 9.7.3.13: "maximum ulp error is 1 across the full range of inputs" */
        return ulps <= 1;
    case RSQRT: /* 9.7.3.16: "maximum relative error for rsqrt.f32 over the entire positive finite
                 * floating-point range is 2^-22.9" */
        return error <= fabsl(want) * exp2l(-22.9L);
    case SQRT: /* 9.7.3.15: "maximum relative error over the entire positive finite floating-point
                * range is 2^-23" */
        return error <= fabsl(want) * exp2l(-23);
    case SIN: /* 9.7.3.18 and 19: maximum absolute error 2^-20.5 in [-2pi .. 2pi], 2^-14.7 in
               * [-100pi .. +100pi]; outside "only best effort is provided" */
    case COS:
        return error <= (fabsl(x) <= 6.2831854L   ? exp2l(-20.5L)
                         : fabsl(x) <= 314.15927L ? exp2l(-14.7L)
                                                  : 2);
    case TANH: /* 9.7.3.22: "maximum relative error over the entire floating point range is 2^-11.
                * The subnormal numbers are supported" */
        return error <= fabsl(want) * exp2l(-11);
    default: /* 9.7.3.8, div.approx: "for |b| in [2^-126, 2^126], the maximum ulp error is 2"; of
              * smaller b it says nothing, and they are held to the same. div.full: "the maximum ulp
              * error is 2 across the full range of inputs" */
        return ulps <= 2;
    }
}

/* What is wanted where the manual names it; false: the bound holds. 9.7.3.8, div.approx: "for 2^126
 * < |b| < 2^128, if a is infinity, div.approx.f32 returns NaN, otherwise it returns a
 * sign-preserving zero". */
static bool named(const struct alu_case *alu, uint64_t x, uint64_t y, uint64_t *want)
{
    quad a = exact_value(x, &exact_f32), b = exact_value(y, &exact_f32);
    quad magnitude = quad_negative(b) ? -b : b;
    if (alu->aux != DIV_APPROX || !(magnitude > quad_power(126)) || magnitude - magnitude != 0 ||
        a != a)
        return false;
    *want = a - a != 0 ? 0x7FFFFFFF : (x ^ y) & 0x80000000;
    return true;
}

static bool check(const struct alu_case *alu, const uint64_t *sources, int index, uint64_t got,
                  uint64_t unused)
{
    enum special_function f = (enum special_function)alu->aux;
    uint64_t x = sources[0], y = sources[1], want;
    (void)index, (void)unused;
    if (alu->ftz) {
        x = exact_flush(x, &exact_f32);
        y = exact_flush(y, &exact_f32);
    }
    if (named(alu, x, y, &want))
        return got == want;
    long double a = (long double)exact_value(x, &exact_f32);
    long double result = exact(f, a, (long double)exact_value(y, &exact_f32));
    if (isnan(result))
        return got == 0x7FFFFFFF;
    if (result == 0 && got << 1 << 31 == 0) /* zeros have their sign; sums to zero may not */
        return (got >> 31 != 0) == (signbit(result) != 0);
    if (alu->ftz && (got & 0x7F800000) == 0)
        return (got & 0x7FFFFFFF) == 0 && fabsl(result) < 0x1.000002p-126L &&
               (got >> 31 != 0) == (signbit(result) != 0);
    return within(f, a, got, result);
}

/* 9.7.3.14 rcp.approx.ftz.f64, 9.7.3.17 rsqrt.approx.ftz.f64: of the upper word of x, "ignore the
 * least-significant 32 bits", flushed; the result's lower word is 0, a NaN is 0x7fffffff00000000.
 * The manual gives no bound: 20 bits of the significand are asked for. */
static bool check_upper(const struct alu_case *alu, const uint64_t *sources, int index,
                        uint64_t got, uint64_t unused)
{
    (void)index, (void)unused;
    uint64_t x = exact_flush(sources[0] >> 32 << 32, &exact_f64);
    long double result =
        exact((enum special_function)alu->aux, (long double)exact_value(x, &exact_f64), 0);
    if (isnan(result))
        return got == 0x7FFFFFFF00000000;
    long double value = (long double)exact_value(got, &exact_f64);
    if (result == 0 || isinf(result))
        return value == result && signbit(value) == signbit(result) && (uint32_t)got == 0;
    if (fabsl(result) < 0x1p-1022L)
        return value == 0 && signbit(value) == signbit(result);
    return (uint32_t)got == 0 && fabsl(value - result) <= fabsl(result) * exp2l(-20);
}

/* 9.7.3.16: rsqrt.approx.f64 "is emulated in software", no bound. nvcc makes it of rsqrt(), of
 * which the CUDA programming guide says 1 ulp (Mathematical Functions, double precision). */
static bool check_rsqrt_f64(const struct alu_case *alu, const uint64_t *sources, int index,
                            uint64_t got, uint64_t unused)
{
    (void)alu, (void)index, (void)unused;
    long double result = exact(RSQRT, (long double)exact_value(sources[0], &exact_f64), 0);
    if (isnan(result))
        return exact_is_nan(got, &exact_f64);
    long double value = (long double)exact_value(got, &exact_f64);
    if (result == 0 || isinf(result))
        return value == result && signbit(value) == signbit(result);
    return exact_ulps(got, result, &exact_f64) <= 1;
}

static void nothing(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    (void)alu, (void)x;
    out[0] = 0;
}

void alu_special(struct alu_list *list)
{
    static const struct {
        const char *name;
        enum special_function f;
        bool no_ftz;
    } functions[] = {{"ex2.approx", EX2, false},        {"lg2.approx", LG2, false},
                     {"rcp.approx", RCP, false},        {"rsqrt.approx", RSQRT, false},
                     {"sqrt.approx", SQRT, false},      {"sin.approx", SIN, false},
                     {"cos.approx", COS, false},        {"tanh.approx", TANH, true},
                     {"div.approx", DIV_APPROX, false}, {"div.full", DIV_FULL, false}};
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        for (int ftz = 0; ftz < (functions[i].no_ftz ? 1 : 2); ftz++) {
            char name[64];
            bool two = functions[i].f >= DIV_APPROX;
            alu_opcode(name, "%s%s.f32", functions[i].name, ftz ? ".ftz" : "");
            alu_add_checked(list, name, two ? "w=ww" : "w=w", two ? "ff" : "f", nothing, check)
                ->aux = (int)functions[i].f;
        }
    alu_add_checked(list, "rcp.approx.ftz.f64", "d=d", "e", nothing, check_upper)->aux = RCP;
    alu_add_checked(list, "rsqrt.approx.ftz.f64", "d=d", "e", nothing, check_upper)->aux = RSQRT;
    alu_add_checked(list, "rsqrt.approx.f64", "d=d", "e", nothing, check_rsqrt_f64);
}
