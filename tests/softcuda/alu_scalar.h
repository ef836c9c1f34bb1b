/* What references of whole numbers share. */
#ifndef MIDASHI_TESTS_SOFTCUDA_ALU_SCALAR_H
#define MIDASHI_TESTS_SOFTCUDA_ALU_SCALAR_H

#include "tests/softcuda/alu.h"

typedef unsigned __int128 wide;
typedef __int128 wide_signed;

/* The low bits of v as a number of that width. */
static inline wide_signed number_of(uint64_t v, int bits, bool is_signed)
{
    wide_signed value = (wide_signed)(bits == 64 ? v : v & (((uint64_t)1 << bits) - 1));
    if (is_signed && v >> (bits - 1) & 1)
        value -= (wide_signed)1 << bits;
    return value;
}

static inline wide_signed clamp_number(wide_signed value, int bits, bool is_signed)
{
    wide_signed low = is_signed ? -((wide_signed)1 << (bits - 1)) : 0;
    wide_signed high = ((wide_signed)1 << (bits - is_signed)) - 1;
    return value < low ? low : value > high ? high : value;
}

/* A reference as one expression of x[0] .. x[3], and of them as numbers of the opcode's type. */
#define V(i) number_of(x[i], alu->bits, alu->is_signed)
#define REFERENCE(name, expression)                                                                \
    static void name(const struct alu_case *alu, const uint64_t *x, uint64_t *out)                 \
    {                                                                                              \
        (void)alu, (void)x;                                                                        \
        out[0] = (uint64_t)(expression);                                                           \
    }

#endif
