/* Cases of f16 and bf16, single and in pairs: exact, then rounded once. The manual's section
 * "Half Precision Floating-Point Instructions". */
#include <math.h>
#include <string.h>
#include "tests/softcuda/alu.h"

/* One number's operation: aux of the case says which. */
enum half_operation {
    HALF_ADD,
    HALF_SUB,
    HALF_MUL,
    HALF_FMA,
    HALF_MIN,
    HALF_MAX,
    HALF_NEG,
    HALF_ABS,
};

static uint64_t operate(const struct alu_case *alu, uint64_t a, uint64_t b, uint64_t c)
{
    const struct exact_format *format = alu->format;
    if (alu->ftz) {
        a = exact_flush(a, format);
        b = exact_flush(b, format);
        c = exact_flush(c, format);
    }
    switch ((enum half_operation)alu->aux) {
    case HALF_ADD:
        return exact_add(a, b, format, EXACT_RN);
    case HALF_SUB:
        return exact_add(a, b ^ 0x8000, format, EXACT_RN);
    case HALF_MUL:
        return exact_mul(a, b, format, EXACT_RN);
    case HALF_FMA:
        return exact_fma(a, b, c, format, EXACT_RN);
    case HALF_MIN:
        return exact_choose(a, b, format, false, alu->nan);
    case HALF_MAX:
        return exact_choose(a, b, format, true, alu->nan);
    case HALF_NEG:
        return a ^ 0x8000;
    default:
        return a & 0x7FFF;
    }
}

static uint64_t half(const struct alu_case *alu, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t result = operate(alu, a, b, c);
    quad value = exact_value(result, alu->format);
    if (alu->sat && !(value > 0))
        return 0;
    if (alu->sat && value > 1)
        return exact_round(1, 0, alu->format, EXACT_RN);
    if (alu->relu && quad_negative(value) && value == value)
        return 0;
    return alu->ftz ? exact_flush(result, alu->format) : result;
}

static void single(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    out[0] = half(alu, x[0], x[1], x[2]);
}

static void pair(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    out[0] = half(alu, x[0] & 0xFFFF, x[1] & 0xFFFF, x[2] & 0xFFFF) |
             half(alu, x[0] >> 16, x[1] >> 16, x[2] >> 16) << 16;
}

/* Of neg and abs any NaN is right. */
static bool check_signs(const struct alu_case *alu, const uint64_t *x, int index, uint64_t got,
                        uint64_t want)
{
    (void)x, (void)index;
    for (int shift = 0; shift < alu->bits; shift += 16) {
        uint64_t g = got >> shift & 0xFFFF, w = want >> shift & 0xFFFF;
        if (g != w && !(exact_is_nan(g, alu->format) && exact_is_nan(w, alu->format)))
            return false;
    }
    return true;
}

static void both(struct alu_list *list, const char *opcode, const char *type, int n,
                 enum half_operation operation)
{
    char name[64];
    bool bf16 = type[0] == 'b';
    alu_check *check = operation >= HALF_NEG ? check_signs : NULL;
    alu_opcode(name, "%s.%s", opcode, type);
    alu_add_checked(list, name,
                    n == 1   ? "h=h"
                    : n == 2 ? "h=hh"
                             : "h=hhh",
                    n == 1 ? "x" : &(bf16 ? "bbb" : "hhh")[3 - n], single, check)
        ->aux = (int)operation;
    alu_opcode(name, "%s.%sx2", opcode, type);
    alu_add_checked(list, name,
                    n == 1   ? "w=w"
                    : n == 2 ? "w=ww"
                             : "w=www",
                    &(bf16 ? "BBB" : "HHH")[3 - n], pair, check)
        ->aux = (int)operation;
}

/* The approximations: bounds from the manual, stated where they are checked. */
static void no_reference(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    (void)alu, (void)x;
    out[0] = 0;
}

/* ex2: relative error at most 2^-9.9 for f16 and 2^-7 for bf16. tanh: absolute error at most
 * 2^-10.987 for f16 and 2^-8 for bf16. Subnormal inputs of bf16's ex2 are zeros; results below the
 * normal range are rounded to it. aux: 0 ex2, 1 tanh. */
static bool near(const struct alu_case *alu, uint64_t x, uint64_t got)
{
    const struct exact_format *format = alu->format;
    bool bf16 = format == &exact_bf16;
    if (exact_is_nan(x, format))
        return got == 0x7FFF;
    long double value = (long double)exact_value(alu->ftz ? exact_flush(x, format) : x, format);
    long double want = alu->aux ? tanhl(value) : exp2l(value);
    uint64_t rounded = exact_round((quad)want, 0, format, EXACT_RN);
    if (exact_is_nan(got, format))
        return false;
    if (got == rounded)
        return true;
    long double error = fabsl((long double)exact_value(got, format) - want);
    if (alu->aux)
        return error <= (bf16 ? exp2l(-8) : exp2l(-10.987L));
    return error <= want * (bf16 ? exp2l(-7) : exp2l(-9.9L));
}

static bool check_near(const struct alu_case *alu, const uint64_t *x, int index, uint64_t got,
                       uint64_t want)
{
    (void)index, (void)want;
    bool good = near(alu, x[0] & 0xFFFF, got & 0xFFFF);
    return alu->operands[0] == 'h' ? good : good && near(alu, x[0] >> 16, got >> 16);
}

void alu_half(struct alu_list *list)
{
    static const struct {
        const char *name;
        enum half_operation operation;
    } sums[] = {{"add", HALF_ADD}, {"sub", HALF_SUB}, {"mul", HALF_MUL}};
    char name[64];
    for (int i = 0; i < 3; i++)
        for (int rn = 0; rn < 2; rn++) {
            for (int flags = 0; flags < 4; flags++) {
                alu_opcode(name, "%s%s%s%s", sums[i].name, rn ? ".rn" : "", flags & 1 ? ".ftz" : "",
                           flags & 2 ? ".sat" : "");
                both(list, name, "f16", 2, sums[i].operation);
            }
            alu_opcode(name, "%s%s", sums[i].name, rn ? ".rn" : "");
            both(list, name, "bf16", 2, sums[i].operation);
        }
    static const char *const fused[] = {"fma.rn",      "fma.rn.ftz",     "fma.rn.sat",
                                        "fma.rn.relu", "fma.rn.ftz.sat", "fma.rn.ftz.relu"};
    for (int i = 0; i < 6; i++)
        both(list, fused[i], "f16", 3, HALF_FMA);
    both(list, "fma.rn", "bf16", 3, HALF_FMA);
    both(list, "fma.rn.relu", "bf16", 3, HALF_FMA);
    for (int flags = 0; flags < 4; flags++) {
        const char *modifiers = (const char *[]){"", ".ftz", ".NaN", ".ftz.NaN"}[flags];
        alu_opcode(name, "min%s", modifiers);
        both(list, name, "f16", 2, HALF_MIN);
        if (flags != 1 && flags != 3)
            both(list, name, "bf16", 2, HALF_MIN);
        alu_opcode(name, "max%s", modifiers);
        both(list, name, "f16", 2, HALF_MAX);
        if (flags != 1 && flags != 3)
            both(list, name, "bf16", 2, HALF_MAX);
    }
    both(list, "neg", "f16", 1, HALF_NEG);
    both(list, "neg", "bf16", 1, HALF_NEG);
    both(list, "neg.ftz", "f16", 1, HALF_NEG);
    both(list, "abs", "f16", 1, HALF_ABS);
    both(list, "abs", "bf16", 1, HALF_ABS);
    both(list, "abs.ftz", "f16", 1, HALF_ABS);
    static const struct {
        const char *single, *pair, *edges;
        int tanh;
    } approximations[] = {{"ex2.approx.f16", "ex2.approx.f16x2", "H", 0},
                          {"ex2.approx.ftz.bf16", "ex2.approx.ftz.bf16x2", "B", 0},
                          {"tanh.approx.f16", "tanh.approx.f16x2", "H", 1},
                          {"tanh.approx.bf16", "tanh.approx.bf16x2", "B", 1}};
    for (int i = 0; i < 4; i++) {
        alu_add_checked(list, approximations[i].single, "h=h", "x", no_reference, check_near)->aux =
            approximations[i].tanh;
        alu_add_checked(list, approximations[i].pair, "w=w", approximations[i].edges, no_reference,
                        check_near)
            ->aux = approximations[i].tanh;
    }
}
