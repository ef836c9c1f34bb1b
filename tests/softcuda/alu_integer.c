/* Cases of whole numbers' arithmetic. The manual's section "Integer Arithmetic Instructions". */
#include <stdio.h>
#include <string.h>
#include "tests/softcuda/alu_scalar.h"

REFERENCE(add, V(0) + V(1))
REFERENCE(add_sat, clamp_number(V(0) + V(1), 32, true))
REFERENCE(sub, V(0) - V(1))
REFERENCE(sub_sat, clamp_number(V(0) - V(1), 32, true))
REFERENCE(negate, -V(0))
REFERENCE(absolute, V(0) < 0 ? -V(0) : V(0))
REFERENCE(minimum, V(0) < V(1) ? V(0) : V(1))
REFERENCE(maximum, V(0) > V(1) ? V(0) : V(1))
REFERENCE(quotient, V(1) == 0 ? 0 : V(0) / V(1))
REFERENCE(rest, V(1) == 0 ? 0 : V(0) - V(0) / V(1) * V(1))

/* Division by zero gives a value that the manual does not state. */
static bool check_division(const struct alu_case *alu, const uint64_t *x, int index, uint64_t got,
                           uint64_t want)
{
    (void)index;
    return V(1) == 0 || got == want;
}

/* The upper half of a product. */
static wide_signed high(const struct alu_case *alu, const uint64_t *x)
{
    if (alu->is_signed)
        return V(0) * V(1) >> alu->bits;
    return (wide_signed)((wide)V(0) * (wide)V(1) >> alu->bits);
}
REFERENCE(mul_lo, (wide)V(0) * (wide)V(1))
REFERENCE(mul_hi, high(alu, x))
REFERENCE(mad_lo, (wide)V(0) * (wide)V(1) + (wide)x[2])
REFERENCE(mad_hi, high(alu, x) + (wide_signed)x[2])
REFERENCE(mad_hi_sat, clamp_number(high(alu, x) + V(2), 32, true))
REFERENCE(mad_wide, V(0) * V(1) + (wide_signed)x[2])
REFERENCE(sad, (wide_signed)x[2] + (V(0) > V(1) ? V(0) - V(1) : V(1) - V(0)))

/* Products of 24 bits: bits 0 to 31, or 16 to 47. */
#define V24(i) number_of(x[i], 24, alu->is_signed)
REFERENCE(mul24_lo, V24(0) * V24(1))
REFERENCE(mul24_hi, V24(0) * V24(1) >> 16)
REFERENCE(mad24_lo, V24(0) * V24(1) + (wide_signed)x[2])
REFERENCE(mad24_hi, (V24(0) * V24(1) >> 16) + (wide_signed)x[2])
REFERENCE(mad24_hi_sat, clamp_number((V24(0) * V24(1) >> 16) + V(2), 32, true))

/* The type of a stands before that of b. */
static void dot4(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    wide_signed sum = (wide_signed)x[2];
    for (int i = 0; i < 4; i++)
        sum += number_of(x[0] >> 8 * i, 8, alu->from_signed) *
               number_of(x[1] >> 8 * i, 8, alu->is_signed);
    out[0] = (uint64_t)sum;
}

/* aux: the first byte of b, 0 or 2. */
static void dot2(const struct alu_case *alu, const uint64_t *x, uint64_t *out)
{
    wide_signed sum = (wide_signed)x[2];
    for (int i = 0; i < 2; i++)
        sum += number_of(x[0] >> 16 * i, 16, alu->from_signed) *
               number_of(x[1] >> 8 * (i + alu->aux), 8, alu->is_signed);
    out[0] = (uint64_t)sum;
}

/* One opcode in types of 16, 32 and 64 bits. */
static void typed(struct alu_list *list, const char *opcode, const char *signs, int n_sources,
                  alu_reference *reference, alu_check *check)
{
    for (const char *sign = signs; *sign; sign++)
        for (int bits = 16; bits <= 64; bits *= 2) {
            char name[64], operands[8] = "?=", letter = bits == 16 ? 'h' : bits == 32 ? 'w' : 'd';
            alu_opcode(name, "%s.%c%d", opcode, *sign, bits);
            memset(operands + 2, letter, (size_t)n_sources);
            operands[0] = letter;
            alu_add_checked(list, name, operands, &"iii"[3 - n_sources], reference, check);
        }
}

static void narrow_products(struct alu_list *list, char sign)
{
    static const struct {
        const char *opcode;
        alu_reference *reference;
        int n_sources;
    } ops[] = {{"mul24.lo", mul24_lo, 2},
               {"mul24.hi", mul24_hi, 2},
               {"mad24.lo", mad24_lo, 3},
               {"mad24.hi", mad24_hi, 3}};
    char name[64];
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        alu_opcode(name, "%s.%c32", ops[i].opcode, sign);
        alu_add(list, name, ops[i].n_sources == 2 ? "w=ww" : "w=www", &"iii"[3 - ops[i].n_sources],
                ops[i].reference);
    }
}

void alu_integer(struct alu_list *list)
{
    char name[64];
    typed(list, "add", "us", 2, add, NULL);
    typed(list, "sub", "us", 2, sub, NULL);
    typed(list, "mul.lo", "us", 2, mul_lo, NULL);
    typed(list, "mul.hi", "us", 2, mul_hi, NULL);
    typed(list, "mad.lo", "us", 3, mad_lo, NULL);
    typed(list, "mad.hi", "us", 3, mad_hi, NULL);
    typed(list, "sad", "us", 3, sad, NULL);
    typed(list, "div", "us", 2, quotient, check_division);
    typed(list, "rem", "us", 2, rest, check_division);
    typed(list, "min", "us", 2, minimum, NULL);
    typed(list, "max", "us", 2, maximum, NULL);
    typed(list, "neg", "s", 1, negate, NULL);
    typed(list, "abs", "s", 1, absolute, NULL);
    alu_add(list, "add.sat.s32", "w=ww", "ii", add_sat);
    alu_add(list, "sub.sat.s32", "w=ww", "ii", sub_sat);
    alu_add(list, "mad.hi.sat.s32", "w=www", "iii", mad_hi_sat);
    alu_add(list, "mad24.hi.sat.s32", "w=www", "iii", mad24_hi_sat);
    for (const char *sign = "us"; *sign; sign++) {
        alu_opcode(name, "mul.wide.%c16", *sign);
        alu_add(list, name, "w=hh", "ii", mul_lo);
        alu_opcode(name, "mul.wide.%c32", *sign);
        alu_add(list, name, "d=ww", "ii", mul_lo);
        alu_opcode(name, "mad.wide.%c16", *sign);
        alu_add(list, name, "w=hhw", "iii", mad_wide);
        alu_opcode(name, "mad.wide.%c32", *sign);
        alu_add(list, name, "d=wwd", "iii", mad_wide);
        narrow_products(list, *sign);
        for (const char *other = "us"; *other; other++) {
            alu_opcode(name, "dp4a.%c32.%c32", *sign, *other);
            alu_add(list, name, "w=www", "iii", dot4);
            alu_opcode(name, "dp2a.lo.%c32.%c32", *sign, *other);
            alu_add(list, name, "w=www", "iii", dot2);
            alu_opcode(name, "dp2a.hi.%c32.%c32", *sign, *other);
            alu_add(list, name, "w=www", "iii", dot2)->aux = 2;
        }
    }
}
