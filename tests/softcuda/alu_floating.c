/* Cases of f32 and f64 arithmetic: exact, then rounded once. The manual's section "Floating-Point
 * Instructions". */
#include <math.h>
#include <string.h>
#include "tests/softcuda/alu.h"

/* ---- what modifiers do ---------------------------------------------------------------------- */

static uint64_t in(const struct alu_case *alu, uint64_t bits)
{
    return alu->ftz ? exact_flush(bits, alu->format) : bits;
}

/* .sat: to [0, 1], and NaN to +0. .ftz: a subnormal result becomes the zero of its sign. */
static uint64_t out_of(const struct alu_case *alu, uint64_t bits)
{
    if (alu->sat) {
        quad value = exact_value(bits, alu->format);
        if (!(value > 0))
            return 0;
        if (value > 1)
            return exact_round(1, 0, alu->format, EXACT_RN);
    }
    return alu->ftz ? exact_flush(bits, alu->format) : bits;
}

/* binary64 has no one NaN: any is right. */
static bool check_nan(const struct alu_case *alu, const uint64_t *x, int index, uint64_t got,
                      uint64_t want)
{
    (void)x, (void)index;
    return got == want || (exact_is_nan(got, alu->format) && exact_is_nan(want, alu->format));
}

#define ARITHMETIC(name, call)                                                                     \
    static void name(const struct alu_case *alu, const uint64_t *x, uint64_t *out)                 \
    {                                                                                              \
        const struct exact_format *format = alu->format;                                           \
        enum exact_mode mode = alu->rounding;                                                      \
        uint64_t a = in(alu, x[0]), b = in(alu, x[1]), c = in(alu, x[2]);                          \
        uint64_t sign = (uint64_t)1 << (alu->bits - 1), one = exact_round(1, 0, format, EXACT_RN); \
        (void)b, (void)c, (void)sign, (void)one, (void)mode;                                       \
        out[0] = out_of(alu, call);                                                                \
    }
ARITHMETIC(add, exact_add(a, b, format, mode))
ARITHMETIC(sub, exact_add(a, b ^ sign, format, mode))
ARITHMETIC(mul, exact_mul(a, b, format, mode))
ARITHMETIC(quotient, exact_div(a, b, format, mode))
ARITHMETIC(fused, exact_fma(a, b, c, format, mode))
ARITHMETIC(root, exact_sqrt(a, format, mode))
ARITHMETIC(reciprocal, exact_div(one, a, format, mode))
ARITHMETIC(negate, a ^ sign)
ARITHMETIC(absolute, a & ~sign)

static void copy_sign(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    uint64_t sign = (uint64_t)1 << (alu->bits - 1);
    out[0] = (x[0] & sign) | (x[1] & (sign - 1));
}

ARITHMETIC(minimum, exact_choose(a, b, format, false, alu->nan))
ARITHMETIC(maximum, exact_choose(a, b, format, true, alu->nan))

/* aux: what is asked for. Zeros are normal numbers. */
enum question { FINITE, INFINITE, NUMBER, NOTANUMBER, NORMAL, SUBNORMAL };
static void test(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    bool nan = exact_is_nan(x[0], alu->format), subnormal = exact_is_subnormal(x[0], alu->format);
    quad value = exact_value(x[0], alu->format);
    bool infinite = !nan && value - value != 0;
    const bool answers[] = {
        [FINITE] = !nan && !infinite,
        [INFINITE] = infinite,
        [NUMBER] = !nan,
        [NOTANUMBER] = nan,
        [NORMAL] = !nan && !infinite && !subnormal,
        [SUBNORMAL] = subnormal,
    };
    out[0] = answers[alu->aux];
}

/* ---- the list ------------------------------------------------------------------------------- */

static void add_f32(struct alu_list *list, const char *opcode, int n, alu_reference *reference)
{
    alu_add_checked(list, opcode,
                    n == 1   ? "w=w"
                    : n == 2 ? "w=ww"
                             : "w=www",
                    &"fff"[3 - n], reference,
                    reference == negate || reference == absolute ? check_nan : NULL);
}
static void add_f64(struct alu_list *list, const char *opcode, int n, alu_reference *reference)
{
    alu_add_checked(list, opcode,
                    n == 1   ? "d=d"
                    : n == 2 ? "d=dd"
                             : "d=ddd",
                    &"eee"[3 - n], reference, check_nan);
}

static const char *const roundings[] = {"", ".rn", ".rz", ".rm", ".rp"};

/* first: 0: the rounding may be left out. */
static void all_roundings(struct alu_list *list, const char *opcode, int n, int first, bool sat,
                          alu_reference *reference)
{
    char name[64];
    for (int i = first; i < 5; i++) {
        for (int flags = 0; flags < (sat ? 4 : 2); flags++) {
            alu_opcode(name, "%s%s%s%s.f32", opcode, roundings[i], flags & 1 ? ".ftz" : "",
                       flags & 2 ? ".sat" : "");
            add_f32(list, name, n, reference);
        }
        alu_opcode(name, "%s%s.f64", opcode, roundings[i]);
        add_f64(list, name, n, reference);
    }
}

void alu_floating(struct alu_list *list)
{
    static const char *const questions[] = {"finite",     "infinite", "number",
                                            "notanumber", "normal",   "subnormal"};
    char name[64];
    all_roundings(list, "add", 2, 0, true, add);
    all_roundings(list, "sub", 2, 0, true, sub);
    all_roundings(list, "mul", 2, 0, true, mul);
    all_roundings(list, "fma", 3, 1, true, fused);
    all_roundings(list, "mad", 3, 1, true, fused);
    all_roundings(list, "div", 2, 1, false, quotient);
    all_roundings(list, "sqrt", 1, 1, false, root);
    all_roundings(list, "rcp", 1, 1, false, reciprocal);
    for (int i = 0; i < 2; i++) {
        const char *ftz = i ? ".ftz" : "";
        for (int nan = 0; nan < 2; nan++) {
            alu_opcode(name, "min%s%s.f32", ftz, nan ? ".NaN" : "");
            add_f32(list, name, 2, minimum);
            alu_opcode(name, "max%s%s.f32", ftz, nan ? ".NaN" : "");
            add_f32(list, name, 2, maximum);
        }
        alu_opcode(name, "abs%s.f32", ftz);
        add_f32(list, name, 1, absolute);
        alu_opcode(name, "neg%s.f32", ftz);
        add_f32(list, name, 1, negate);
    }
    add_f64(list, "min.f64", 2, minimum);
    add_f64(list, "max.f64", 2, maximum);
    add_f64(list, "abs.f64", 1, absolute);
    add_f64(list, "neg.f64", 1, negate);
    alu_add(list, "copysign.f32", "w=ww", "ff", copy_sign);
    alu_add(list, "copysign.f64", "d=dd", "ee", copy_sign);
    for (int i = 0; i < 6; i++) {
        alu_opcode(name, "testp.%s.f32", questions[i]);
        alu_add(list, name, "p=w", "f", test)->aux = i;
        alu_opcode(name, "testp.%s.f64", questions[i]);
        alu_add(list, name, "p=d", "e", test)->aux = i;
    }
}
