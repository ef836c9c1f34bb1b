/* cvt as inner loops have it: the pairs of types that nvcc writes most, each a loop that becomes
 * vector code. Everything else goes lane by lane through ops_convert.c; both give the same. */
#include "tools/softcuda/half.h"
#include "tools/softcuda/ops.h"

/* ---- floating point ---------------------------------------------------------------------------
 */

OP1(f32_bf16, uint32_t, uint32_t, f32_of_bf16(x))
OP1(f32_f16, uint32_t, uint32_t, f32_of_f16(x))
OP1(bf16_f32, uint32_t, uint32_t, bf16_of_f32(x))
OP1(f16_f32, uint32_t, uint32_t, f16_of_f32(x))
/* a goes into the upper half. */
OP2(bf16x2_f32, uint32_t, uint32_t, uint32_t, bf16_of_f32(y) | bf16_of_f32(x) << 16)
OP2(f16x2_f32, uint32_t, uint32_t, uint32_t, f16_of_f32(y) | f16_of_f32(x) << 16)

/* To tf32: 10 bits of fraction, ties away from zero; the low 13 bits are 0. */
static inline uint32_t tf32_of_f32(uint32_t bits)
{
    uint32_t magnitude = bits & 0x7FFFFFFFu, rounded = (bits + 0x1000u) & ~0x1FFFu;
    return magnitude > 0x7F800000u ? NAN_BITS : magnitude == 0x7F800000u ? bits : rounded;
}
OP1(tf32_f32, uint32_t, uint32_t, tf32_of_f32(x))

/* ---- whole numbers and f32 ------------------------------------------------------------------ */

OP1(f32_s32, float, int32_t, (float)x)
/* From both halves, exact in binary64 and rounded once. */
OP1(f32_u32, float, uint32_t,
    (float)((double)(int32_t)(x >> 16) * 65536.0 + (double)(int32_t)(x & 0xFFFFu)))

/* Toward zero, to the limits of s32; NaN gives 0. 2^31 is no s32, the conversion of the processor
 * gives the lowest number for it and for all that it cannot hold. */
static inline int32_t s32_of_f32(float x)
{
    float most = x < 2147483520.0f ? x : 2147483520.0f;
    float clamped = most > -2147483648.0f ? most : -2147483648.0f;
    int32_t whole = (int32_t)(x == x ? clamped : 0.0f);
    return x >= 2147483648.0f ? INT32_MAX : whole;
}
OP1(s32_f32, int32_t, float, s32_of_f32(x))

/* ---- whole numbers -------------------------------------------------------------------------- */

OP1(low_32, uint32_t, uint64_t, x)
OP1(low_16, uint32_t, uint32_t, x & 0xFFFFu)
OP1(low_16_of_64, uint32_t, uint64_t, x & 0xFFFFu)
OP1(same_32, uint32_t, uint32_t, x)
OP1(s64_s32, uint64_t, int32_t, (int64_t)x)
OP1(u64_u32, uint64_t, uint32_t, x)
OP1(s32_s16, uint32_t, uint32_t, (int32_t)(int16_t)x)
OP1(s64_s16, uint64_t, uint32_t, (int64_t)(int16_t)x)
OP1(u64_u16, uint64_t, uint32_t, x & 0xFFFFu)
OP1(s32_s8, uint32_t, uint32_t, (int32_t)(int8_t)x)
OP1(u32_u8, uint32_t, uint32_t, x & 0xFFu)

#define FORM(opcode, operands, run)                                                                \
    {                                                                                              \
        opcode, operands, CLASS_CONVERT, run                                                       \
    }

const struct form OPS_EXPORT(forms_convert_loops)[] = {
    FORM("cvt.f32.bf16", "w=h", f32_bf16),
    FORM("cvt.f32.f16", "w=h", f32_f16),
    FORM("cvt.rn.bf16.f32", "h=w", bf16_f32),
    FORM("cvt.rn.f16.f32", "h=w", f16_f32),
    FORM("cvt.rn.bf16x2.f32", "w=ww", bf16x2_f32),
    FORM("cvt.rn.f16x2.f32", "w=ww", f16x2_f32),
    FORM("cvt.rna.tf32.f32", "w=w", tf32_f32),
    FORM("cvt.rn.f32.s32", "w=w", f32_s32),
    FORM("cvt.rn.f32.u32", "w=w", f32_u32),
    FORM("cvt.rzi.s32.f32", "w=w", s32_f32),
    FORM("cvt.u32.u64", "w=d", low_32),
    FORM("cvt.s32.s64", "w=d", low_32),
    FORM("cvt.u16.u64", "h=d", low_16_of_64),
    FORM("cvt.u16.u32", "h=w", low_16),
    FORM("cvt.s16.s32", "h=w", low_16),
    FORM("cvt.u32.u16", "w=h", same_32),
    FORM("cvt.s32.s16", "w=h", s32_s16),
    FORM("cvt.s32.s8", "w=w", s32_s8),
    FORM("cvt.u32.u8", "w=w", u32_u8),
    FORM("cvt.s64.s32", "d=w", s64_s32),
    FORM("cvt.u64.u32", "d=w", u64_u32),
    FORM("cvt.s64.s16", "d=h", s64_s16),
    FORM("cvt.u64.u16", "d=h", u64_u16),
    {0},
};
