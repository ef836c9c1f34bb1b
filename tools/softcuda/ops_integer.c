/* Integer arithmetic, 16, 32 and 64 bits. Registers of 16 bits keep them in the low half of a lane,
 * the rest 0. Where the PTX manual leaves a result open (division by zero) the answer is all ones,
 * as on the cards. */
#include "tools/softcuda/ops.h"

/* The value of a 16-bit lane. */
#define S16(x) ((int32_t)(int16_t)(x))
#define U16(x) ((uint32_t)(uint16_t)(x))

OP2(add_16, uint32_t, uint32_t, uint32_t, U16(x + y))
OP2(add_32, uint32_t, uint32_t, uint32_t, x + y)
OP2(add_64, uint64_t, uint64_t, uint64_t, x + y)
OP2(sub_16, uint32_t, uint32_t, uint32_t, U16(x - y))
OP2(sub_32, uint32_t, uint32_t, uint32_t, x - y)
OP2(sub_64, uint64_t, uint64_t, uint64_t, x - y)
OP2(mul_lo_16, uint32_t, uint32_t, uint32_t, U16(x *y))
OP2(mul_lo_32, uint32_t, uint32_t, uint32_t, x *y)
OP2(mul_lo_64, uint64_t, uint64_t, uint64_t, x *y)
OP2(mul_hi_u16, uint32_t, uint32_t, uint32_t, U16(U16(x) * U16(y) >> 16))
OP2(mul_hi_s16, uint32_t, uint32_t, uint32_t, U16(S16(x) * S16(y) >> 16))
OP2(mul_hi_u32, uint32_t, uint32_t, uint32_t, (uint64_t)x *y >> 32)
OP2(mul_hi_s32, uint32_t, int32_t, int32_t, (uint64_t)((int64_t)x *y) >> 32)
OP2(mul_hi_u64, uint64_t, uint64_t, uint64_t, (unsigned __int128)x *y >> 64)
OP2(mul_hi_s64, uint64_t, int64_t, int64_t, (unsigned __int128)((__int128)x *y) >> 64)
OP2(mul_wide_u16, uint32_t, uint32_t, uint32_t, U16(x) * U16(y))
OP2(mul_wide_s16, uint32_t, uint32_t, uint32_t, S16(x) * S16(y))
OP2(mul_wide_u32, uint64_t, uint32_t, uint32_t, (uint64_t)x *y)
OP2(mul_wide_s32, uint64_t, int32_t, int32_t, (int64_t)x *y)
OP3(mad_lo_16, uint32_t, uint32_t, uint32_t, uint32_t, U16(x *y + z))
OP3(mad_lo_32, uint32_t, uint32_t, uint32_t, uint32_t, x *y + z)
OP3(mad_lo_64, uint64_t, uint64_t, uint64_t, uint64_t, x *y + z)
OP3(mad_hi_u16, uint32_t, uint32_t, uint32_t, uint32_t, U16((U16(x) * U16(y) >> 16) + z))
OP3(mad_hi_s16, uint32_t, uint32_t, uint32_t, uint32_t, U16((uint32_t)(S16(x) * S16(y) >> 16) + z))
OP3(mad_hi_u32, uint32_t, uint32_t, uint32_t, uint32_t, (uint32_t)((uint64_t)x *y >> 32) + z)
OP3(mad_hi_s32, uint32_t, int32_t, int32_t, uint32_t,
    (uint32_t)((uint64_t)((int64_t)x *y) >> 32) + z)
OP3(mad_hi_u64, uint64_t, uint64_t, uint64_t, uint64_t,
    (uint64_t)((unsigned __int128)x *y >> 64) + z)
OP3(mad_hi_s64, uint64_t, int64_t, int64_t, uint64_t,
    (uint64_t)((unsigned __int128)((__int128)x *y) >> 64) + z)
OP3(mad_wide_u16, uint32_t, uint32_t, uint32_t, uint32_t, U16(x) * U16(y) + z)
OP3(mad_wide_s16, uint32_t, uint32_t, uint32_t, uint32_t, (uint32_t)(S16(x) * S16(y)) + z)
OP3(mad_wide_u32, uint64_t, uint32_t, uint32_t, uint64_t, (uint64_t)x *y + z)
OP3(mad_wide_s32, uint64_t, int32_t, int32_t, uint64_t, (uint64_t)((int64_t)x *y) + z)

/* 24 bits of each, the product's low and high 32. */
#define S24(x) ((int64_t)((int32_t)((uint32_t)(x) << 8) >> 8))
#define U24(x) ((uint64_t)((x)&0xFFFFFFu))
OP2(mul24_lo_u32, uint32_t, uint32_t, uint32_t, U24(x) * U24(y))
OP2(mul24_lo_s32, uint32_t, uint32_t, uint32_t, S24(x) * S24(y))
OP2(mul24_hi_u32, uint32_t, uint32_t, uint32_t, U24(x) * U24(y) >> 16)
OP2(mul24_hi_s32, uint32_t, uint32_t, uint32_t, S24(x) * S24(y) >> 16)

OP3(mad24_lo_u32, uint32_t, uint32_t, uint32_t, uint32_t, U24(x) * U24(y) + z)
OP3(mad24_lo_s32, uint32_t, uint32_t, uint32_t, uint32_t, (uint64_t)(S24(x) * S24(y)) + z)
OP3(mad24_hi_u32, uint32_t, uint32_t, uint32_t, uint32_t, (U24(x) * U24(y) >> 16) + z)
OP3(mad24_hi_s32, uint32_t, uint32_t, uint32_t, uint32_t, (uint64_t)(S24(x) * S24(y) >> 16) + z)

OP2(div_u16, uint32_t, uint32_t, uint32_t, U16(y) ? U16(x) / U16(y) : 0xFFFFu)
OP2(div_s16, uint32_t, uint32_t, uint32_t, U16(y) ? U16(S16(x) / S16(y)) : 0xFFFFu)
OP2(rem_u16, uint32_t, uint32_t, uint32_t, U16(y) ? U16(x) % U16(y) : 0xFFFFu)
OP2(rem_s16, uint32_t, uint32_t, uint32_t, U16(y) ? U16(S16(x) % S16(y)) : 0xFFFFu)
OP2(div_u32, uint32_t, uint32_t, uint32_t, y ? x / y : UINT32_MAX)
OP2(rem_u32, uint32_t, uint32_t, uint32_t, y ? x % y : x)
/* INT_MIN / -1 overflows: it is negated instead. */
OP2(div_s32, uint32_t, int32_t, int32_t, y == 0 ? -1 : y == -1 ? (int32_t) - (uint32_t)x : x / y)
OP2(rem_s32, uint32_t, int32_t, int32_t, y == 0 ? x : y == -1 ? 0 : x % y)
OP2(div_u64, uint64_t, uint64_t, uint64_t, y ? x / y : UINT64_MAX)
OP2(rem_u64, uint64_t, uint64_t, uint64_t, y ? x % y : x)
OP2(div_s64, uint64_t, int64_t, int64_t, y == 0 ? -1 : y == -1 ? (int64_t) - (uint64_t)x : x / y)
OP2(rem_s64, uint64_t, int64_t, int64_t, y == 0 ? x : y == -1 ? 0 : x % y)

OP2(min_u16, uint32_t, uint32_t, uint32_t, U16(x) < U16(y) ? U16(x) : U16(y))
OP2(min_s16, uint32_t, uint32_t, uint32_t, S16(x) < S16(y) ? U16(x) : U16(y))
OP2(min_u32, uint32_t, uint32_t, uint32_t, x < y ? x : y)
OP2(min_s32, uint32_t, int32_t, int32_t, x < y ? x : y)
OP2(min_u64, uint64_t, uint64_t, uint64_t, x < y ? x : y)
OP2(min_s64, uint64_t, int64_t, int64_t, x < y ? x : y)
OP2(max_u16, uint32_t, uint32_t, uint32_t, U16(x) > U16(y) ? U16(x) : U16(y))
OP2(max_s16, uint32_t, uint32_t, uint32_t, S16(x) > S16(y) ? U16(x) : U16(y))
OP2(max_u32, uint32_t, uint32_t, uint32_t, x > y ? x : y)
OP2(max_s32, uint32_t, int32_t, int32_t, x > y ? x : y)
OP2(max_u64, uint64_t, uint64_t, uint64_t, x > y ? x : y)
OP2(max_s64, uint64_t, int64_t, int64_t, x > y ? x : y)
OP1(neg_16, uint32_t, uint32_t, U16(-x))
OP1(neg_32, uint32_t, uint32_t, -x)
OP1(neg_64, uint64_t, uint64_t, -x)
OP1(abs_16, uint32_t, uint32_t, S16(x) < 0 ? U16(-x) : U16(x))
OP1(abs_32, uint32_t, uint32_t, (int32_t)x < 0 ? -x : x)
OP1(abs_64, uint64_t, uint64_t, (int64_t)x < 0 ? -x : x)

/* add.sat, sub.sat: to the limits of s32. */
#define CLAMP32(v) ((v) > INT32_MAX ? INT32_MAX : (v) < INT32_MIN ? INT32_MIN : (v))
OP2(add_sat_s32, uint32_t, int32_t, int32_t, CLAMP32((int64_t)x + y))
OP2(sub_sat_s32, uint32_t, int32_t, int32_t, CLAMP32((int64_t)x - y))
OP3(mad_hi_sat_s32, uint32_t, int32_t, int32_t, int32_t, CLAMP32(((int64_t)x * y >> 32) + z))

OP3(mad24_hi_sat_s32, uint32_t, uint32_t, uint32_t, int32_t, CLAMP32((S24(x) * S24(y) >> 16) + z))

OP3(sad_u16, uint32_t, uint32_t, uint32_t, uint32_t, U16(z + (x > y ? x - y : y - x)))
OP3(sad_s16, uint32_t, uint32_t, uint32_t, uint32_t,
    U16(z + (uint32_t)(S16(x) > S16(y) ? S16(x) - S16(y) : S16(y) - S16(x))))
OP3(sad_u32, uint32_t, uint32_t, uint32_t, uint32_t, z + (x > y ? x - y : y - x))
OP3(sad_s32, uint32_t, int32_t, int32_t, uint32_t,
    z + (x > y ? (uint32_t)x - (uint32_t)y : (uint32_t)y - (uint32_t)x))

OP3(sad_u64, uint64_t, uint64_t, uint64_t, uint64_t, z + (x > y ? x - y : y - x))
OP3(sad_s64, uint64_t, int64_t, int64_t, uint64_t,
    z + (x > y ? (uint64_t)x - (uint64_t)y : (uint64_t)y - (uint64_t)x))

/* The sum of four products of bytes, and of two products of a half word and a byte. */
#define BYTE_U(v, i) ((v) >> 8 * (i)&0xFFu)
#define BYTE_S(v, i) ((uint32_t)(int32_t)(int8_t)((v) >> 8 * (i)))
#define DOT4(A, B)                                                                                 \
    (z + A(x, 0) * B(y, 0) + A(x, 1) * B(y, 1) + A(x, 2) * B(y, 2) + A(x, 3) * B(y, 3))
OP3(dp4a_uu, uint32_t, uint32_t, uint32_t, uint32_t, DOT4(BYTE_U, BYTE_U))
OP3(dp4a_us, uint32_t, uint32_t, uint32_t, uint32_t, DOT4(BYTE_U, BYTE_S))
OP3(dp4a_su, uint32_t, uint32_t, uint32_t, uint32_t, DOT4(BYTE_S, BYTE_U))
OP3(dp4a_ss, uint32_t, uint32_t, uint32_t, uint32_t, DOT4(BYTE_S, BYTE_S))

/* dp2a takes bytes 0 and 1 of b, or 2 and 3. */
#define HALF_U(v, i)      ((v) >> 16 * (i)&0xFFFFu)
#define HALF_S(v, i)      ((uint32_t)(int32_t)(int16_t)((v) >> 16 * (i)))
#define DOT2(A, B, first) (z + A(x, 0) * B(y, first) + A(x, 1) * B(y, (first) + 1))
#define DP2A(name, A, B)                                                                           \
    OP3(dp2a_lo_##name, uint32_t, uint32_t, uint32_t, uint32_t, DOT2(A, B, 0))                     \
    OP3(dp2a_hi_##name, uint32_t, uint32_t, uint32_t, uint32_t, DOT2(A, B, 2))
DP2A(uu, HALF_U, BYTE_U)
DP2A(us, HALF_U, BYTE_S)
DP2A(su, HALF_S, BYTE_U)
DP2A(ss, HALF_S, BYTE_S)

#define FORM(opcode, operands, run)                                                                \
    {                                                                                              \
        opcode, operands, CLASS_INTEGER, run                                                       \
    }
/* Signed and unsigned alike. */
#define BOTH(opcode, bits, operands, run)                                                          \
    FORM(opcode ".u" #bits, operands, run), FORM(opcode ".s" #bits, operands, run)

const struct form OPS_EXPORT(forms_integer)[] = {
    BOTH("add", 16, "h=hh", add_16),
    BOTH("add", 32, "w=ww", add_32),
    BOTH("add", 64, "d=dd", add_64),
    BOTH("sub", 16, "h=hh", sub_16),
    BOTH("sub", 32, "w=ww", sub_32),
    BOTH("sub", 64, "d=dd", sub_64),
    BOTH("mul.lo", 16, "h=hh", mul_lo_16),
    BOTH("mul.lo", 32, "w=ww", mul_lo_32),
    BOTH("mul.lo", 64, "d=dd", mul_lo_64),
    FORM("mul.hi.u16", "h=hh", mul_hi_u16),
    FORM("mul.hi.s16", "h=hh", mul_hi_s16),
    FORM("mul.hi.u32", "w=ww", mul_hi_u32),
    FORM("mul.hi.s32", "w=ww", mul_hi_s32),
    FORM("mul.hi.u64", "d=dd", mul_hi_u64),
    FORM("mul.hi.s64", "d=dd", mul_hi_s64),
    FORM("mul.wide.u16", "w=hh", mul_wide_u16),
    FORM("mul.wide.s16", "w=hh", mul_wide_s16),
    FORM("mul.wide.u32", "d=ww", mul_wide_u32),
    FORM("mul.wide.s32", "d=ww", mul_wide_s32),
    BOTH("mad.lo", 16, "h=hhh", mad_lo_16),
    BOTH("mad.lo", 32, "w=www", mad_lo_32),
    BOTH("mad.lo", 64, "d=ddd", mad_lo_64),
    FORM("mad.hi.u16", "h=hhh", mad_hi_u16),
    FORM("mad.hi.s16", "h=hhh", mad_hi_s16),
    FORM("mad.hi.u32", "w=www", mad_hi_u32),
    FORM("mad.hi.s32", "w=www", mad_hi_s32),
    FORM("mad.hi.u64", "d=ddd", mad_hi_u64),
    FORM("mad.hi.s64", "d=ddd", mad_hi_s64),
    FORM("mad.hi.sat.s32", "w=www", mad_hi_sat_s32),
    FORM("mad.wide.u16", "w=hhw", mad_wide_u16),
    FORM("mad.wide.s16", "w=hhw", mad_wide_s16),
    FORM("mad.wide.u32", "d=wwd", mad_wide_u32),
    FORM("mad.wide.s32", "d=wwd", mad_wide_s32),
    FORM("mul24.lo.u32", "w=ww", mul24_lo_u32),
    FORM("mul24.lo.s32", "w=ww", mul24_lo_s32),
    FORM("mul24.hi.u32", "w=ww", mul24_hi_u32),
    FORM("mul24.hi.s32", "w=ww", mul24_hi_s32),
    FORM("mad24.lo.u32", "w=www", mad24_lo_u32),
    FORM("mad24.lo.s32", "w=www", mad24_lo_s32),
    FORM("mad24.hi.u32", "w=www", mad24_hi_u32),
    FORM("mad24.hi.s32", "w=www", mad24_hi_s32),
    FORM("mad24.hi.sat.s32", "w=www", mad24_hi_sat_s32),
    FORM("div.u16", "h=hh", div_u16),
    FORM("div.s16", "h=hh", div_s16),
    FORM("div.u32", "w=ww", div_u32),
    FORM("div.s32", "w=ww", div_s32),
    FORM("div.u64", "d=dd", div_u64),
    FORM("div.s64", "d=dd", div_s64),
    FORM("rem.u16", "h=hh", rem_u16),
    FORM("rem.s16", "h=hh", rem_s16),
    FORM("rem.u32", "w=ww", rem_u32),
    FORM("rem.s32", "w=ww", rem_s32),
    FORM("rem.u64", "d=dd", rem_u64),
    FORM("rem.s64", "d=dd", rem_s64),
    FORM("min.u16", "h=hh", min_u16),
    FORM("min.s16", "h=hh", min_s16),
    FORM("min.u32", "w=ww", min_u32),
    FORM("min.s32", "w=ww", min_s32),
    FORM("min.u64", "d=dd", min_u64),
    FORM("min.s64", "d=dd", min_s64),
    FORM("max.u16", "h=hh", max_u16),
    FORM("max.s16", "h=hh", max_s16),
    FORM("max.u32", "w=ww", max_u32),
    FORM("max.s32", "w=ww", max_s32),
    FORM("max.u64", "d=dd", max_u64),
    FORM("max.s64", "d=dd", max_s64),
    FORM("neg.s16", "h=h", neg_16),
    FORM("neg.s32", "w=w", neg_32),
    FORM("neg.s64", "d=d", neg_64),
    FORM("abs.s16", "h=h", abs_16),
    FORM("abs.s32", "w=w", abs_32),
    FORM("abs.s64", "d=d", abs_64),
    FORM("add.sat.s32", "w=ww", add_sat_s32),
    FORM("sub.sat.s32", "w=ww", sub_sat_s32),
    FORM("sad.u16", "h=hhh", sad_u16),
    FORM("sad.s16", "h=hhh", sad_s16),
    FORM("sad.u64", "d=ddd", sad_u64),
    FORM("sad.s64", "d=ddd", sad_s64),
    FORM("sad.u32", "w=www", sad_u32),
    FORM("sad.s32", "w=www", sad_s32),
    FORM("dp4a.u32.u32", "w=www", dp4a_uu),
    FORM("dp4a.u32.s32", "w=www", dp4a_us),
    FORM("dp4a.s32.u32", "w=www", dp4a_su),
    FORM("dp4a.s32.s32", "w=www", dp4a_ss),
    FORM("dp2a.lo.u32.u32", "w=www", dp2a_lo_uu),
    FORM("dp2a.lo.u32.s32", "w=www", dp2a_lo_us),
    FORM("dp2a.lo.s32.u32", "w=www", dp2a_lo_su),
    FORM("dp2a.lo.s32.s32", "w=www", dp2a_lo_ss),
    FORM("dp2a.hi.u32.u32", "w=www", dp2a_hi_uu),
    FORM("dp2a.hi.u32.s32", "w=www", dp2a_hi_us),
    FORM("dp2a.hi.s32.u32", "w=www", dp2a_hi_su),
    FORM("dp2a.hi.s32.s32", "w=www", dp2a_hi_ss),
    {0},
};
