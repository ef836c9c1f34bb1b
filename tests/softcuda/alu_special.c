/* Cases of the approximations. The manual gives bounds on their errors; results are held to them,
 * computed in long double, and to the manual's tables of special values. */
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

/* The manual's bounds:
 *   ex2    2 units in the last place        lg2  absolute 2^-22 for x in (0.5, 2), else relative
 *   rcp    1 unit                           rsqrt relative 2^-22.9     sqrt relative 2^-23
 *   sin, cos  absolute 2^-20.5 in [-2 pi, 2 pi], 2^-14.7 in [-100 pi, 100 pi]; beyond: no bound
 *   tanh   relative 2^-11                   div  2 units; div.approx with |y| in [2^-126, 2^126]
 */
static bool within(enum special_function f, long double x, uint64_t got, long double want)
{
    double ulps = exact_ulps(got, want, &exact_f32);
    long double error = fabsl((long double)exact_value(got, &exact_f32) - want);
    if (ulps == 0)
        return true;
    if (isnan(ulps) || isinf(ulps))
        return false;
    switch (f) {
    case LG2:
        return error <= (x > 0.5L && x < 2 ? exp2l(-22) : fabsl(want) * exp2l(-22));
    case RCP:
        return ulps <= 1;
    case RSQRT:
        return error <= fabsl(want) * exp2l(-22.9L);
    case SQRT:
        return error <= fabsl(want) * exp2l(-23);
    case SIN:
    case COS:
        return error <= (fabsl(x) <= 6.2831854L   ? exp2l(-20.5L)
                         : fabsl(x) <= 314.15927L ? exp2l(-14.7L)
                                                  : 2);
    case TANH:
        return error <= fabsl(want) * exp2l(-11);
    default:
        return ulps <= 2;
    }
}

/* What is wanted where the manual's table names it; false: the bound holds. div.approx: x divided
 * by y of more than 2^126 is 0, and inf / such y is NaN. */
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

/* The upper word of a binary64, 20 bits of which are right; the lower word is 0. Subnormal numbers
 * are flushed, but for rsqrt.approx.f64. */
static bool check_f64(const struct alu_case *alu, const uint64_t *sources, int index, uint64_t got,
                      uint64_t unused)
{
    (void)index, (void)unused;
    uint64_t x = alu->ftz ? exact_flush(sources[0], &exact_f64) : sources[0];
    long double result =
        exact((enum special_function)alu->aux, (long double)exact_value(x, &exact_f64), 0);
    if (isnan(result))
        return exact_is_nan(got, &exact_f64);
    long double value = (long double)exact_value(got, &exact_f64);
    if (result == 0 || isinf(result))
        return value == result && signbit(value) == signbit(result) && (uint32_t)got == 0;
    if (alu->ftz && fabsl(result) < 0x1p-1022L)
        return value == 0 && signbit(value) == signbit(result);
    return (uint32_t)got == 0 && fabsl(value - result) <= fabsl(result) * exp2l(-20);
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
    alu_add_checked(list, "rcp.approx.ftz.f64", "d=d", "e", nothing, check_f64)->aux = RCP;
    alu_add_checked(list, "rsqrt.approx.ftz.f64", "d=d", "e", nothing, check_f64)->aux = RSQRT;
    alu_add_checked(list, "rsqrt.approx.f64", "d=d", "e", nothing, check_f64)->aux = RSQRT;
}
