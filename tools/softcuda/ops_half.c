/* f16 and bf16, single and in pairs. Each operation is exact in binary64 and rounded once. */
#include "tools/softcuda/half.h"
#include "tools/softcuda/ops.h"

#define NEGATIVE(h)     ((h)&0x8000u)
#define IS_NAN(h, bf16) (((h)&0x7FFFu) > ((bf16) ? 0x7F80u : 0x7C00u))
/* Subnormal numbers become zeros of their sign (.ftz, f16 alone). */
#define FLUSH(h)      ((h)&0x7C00u ? (h) : (h)&0x8000u)
#define RELU(h, bf16) (IS_NAN(h, bf16) ? 0x7FFFu : NEGATIVE(h) ? 0u : (h))

static inline uint32_t sub_half(uint32_t x, uint32_t y, bool bf16)
{
    return half_add((uint16_t)x, (uint16_t)(IS_NAN(y, bf16) ? y : y ^ 0x8000u), bf16);
}

/* To [0, 1]; NaN gives +0. */
static inline uint32_t saturate_half(uint32_t h, bool bf16)
{
    uint32_t one = bf16 ? 0x3F80u : 0x3C00u;
    return IS_NAN(h, bf16) || NEGATIVE(h) ? 0 : h > one ? one : h;
}

static inline uint32_t min_half(uint32_t x, uint32_t y, bool bf16)
{
    if (IS_NAN(x, bf16))
        return IS_NAN(y, bf16) ? 0x7FFFu : y;
    if (IS_NAN(y, bf16))
        return x;
    /* Signed magnitudes as whole numbers: -0 is below +0. */
    int32_t a = NEGATIVE(x) ? -1 - (int32_t)(x & 0x7FFF) : (int32_t)x;
    int32_t b = NEGATIVE(y) ? -1 - (int32_t)(y & 0x7FFF) : (int32_t)y;
    return a < b ? x : y;
}

static inline uint32_t max_half(uint32_t x, uint32_t y, bool bf16)
{
    if (IS_NAN(x, bf16) || IS_NAN(y, bf16))
        return min_half(x, y, bf16);
    return min_half(x, y, bf16) == x ? y : x;
}

static inline uint32_t min_nan_half(uint32_t x, uint32_t y, bool bf16)
{
    return IS_NAN(x, bf16) || IS_NAN(y, bf16) ? 0x7FFFu : min_half(x, y, bf16);
}

static inline uint32_t max_nan_half(uint32_t x, uint32_t y, bool bf16)
{
    return IS_NAN(x, bf16) || IS_NAN(y, bf16) ? 0x7FFFu : max_half(x, y, bf16);
}

#define ADD(x, y, bf16)            half_add((uint16_t)(x), (uint16_t)(y), bf16)
#define MUL(x, y, bf16)            half_mul((uint16_t)(x), (uint16_t)(y), bf16)
#define FMA(x, y, z, bf16)         half_fma((uint16_t)(x), (uint16_t)(y), (uint16_t)(z), bf16)
#define FLUSHED_FMA(x, y, z, bf16) FLUSH(FMA(FLUSH(x), FLUSH(y), FLUSH(z), bf16))

/* One operation for a single number and for a pair, in one kind. */
#define LOW(v)  ((v)&0xFFFFu)
#define HIGH(v) ((v) >> 16)
#define ONE1(name, f, bf16)                                                                        \
    OP1(name, uint32_t, uint32_t, f(LOW(x), bf16))                                                 \
    OP1(name##_x2, uint32_t, uint32_t, (uint32_t)f(LOW(x), bf16) | (uint32_t)f(HIGH(x), bf16) << 16)
#define ONE2(name, f, bf16)                                                                        \
    OP2(name, uint32_t, uint32_t, uint32_t, f(LOW(x), LOW(y), bf16))                               \
    OP2(name##_x2, uint32_t, uint32_t, uint32_t,                                                   \
        (uint32_t)f(LOW(x), LOW(y), bf16) | (uint32_t)f(HIGH(x), HIGH(y), bf16) << 16)
#define ONE3(name, f, bf16)                                                                        \
    OP3(name, uint32_t, uint32_t, uint32_t, uint32_t, f(LOW(x), LOW(y), LOW(z), bf16))             \
    OP3(name##_x2, uint32_t, uint32_t, uint32_t, uint32_t,                                         \
        (uint32_t)f(LOW(x), LOW(y), LOW(z), bf16) | (uint32_t)f(HIGH(x), HIGH(y), HIGH(z), bf16)   \
                                                        << 16)

#define SAT_ADD(x, y, bf16)         saturate_half(ADD(x, y, bf16), bf16)
#define SAT_SUB(x, y, bf16)         saturate_half(sub_half(x, y, bf16), bf16)
#define SAT_MUL(x, y, bf16)         saturate_half(MUL(x, y, bf16), bf16)
#define SAT_FMA(x, y, z, bf16)      saturate_half(FMA(x, y, z, bf16), bf16)
#define RELU_FMA(x, y, z, bf16)     RELU(FMA(x, y, z, bf16), bf16)
#define FTZ_ADD(x, y, bf16)         FLUSH(ADD(FLUSH(x), FLUSH(y), bf16))
#define FTZ_SUB(x, y, bf16)         FLUSH(sub_half(FLUSH(x), FLUSH(y), bf16))
#define FTZ_MUL(x, y, bf16)         FLUSH(MUL(FLUSH(x), FLUSH(y), bf16))
#define FTZ_SAT_ADD(x, y, bf16)     saturate_half(FTZ_ADD(x, y, bf16), bf16)
#define FTZ_SAT_SUB(x, y, bf16)     saturate_half(FTZ_SUB(x, y, bf16), bf16)
#define FTZ_SAT_MUL(x, y, bf16)     saturate_half(FTZ_MUL(x, y, bf16), bf16)
#define FTZ_SAT_FMA(x, y, z, bf16)  saturate_half(FLUSHED_FMA(x, y, z, bf16), bf16)
#define FTZ_RELU_FMA(x, y, z, bf16) RELU(FLUSHED_FMA(x, y, z, bf16), bf16)
#define FTZ_MIN(x, y, bf16)         min_half(FLUSH(x), FLUSH(y), bf16)
#define FTZ_MAX(x, y, bf16)         max_half(FLUSH(x), FLUSH(y), bf16)
#define FTZ_MIN_NAN(x, y, bf16)     min_nan_half(FLUSH(x), FLUSH(y), bf16)
#define FTZ_MAX_NAN(x, y, bf16)     max_nan_half(FLUSH(x), FLUSH(y), bf16)
#define FTZ_NEG(x, bf16)            (FLUSH(x) ^ 0x8000u)
#define FTZ_ABS(x, bf16)            (FLUSH(x) & 0x7FFFu)
#define NEG(x, bf16)                ((x) ^ 0x8000u)
#define ABS(x, bf16)                ((x)&0x7FFFu)

ONE2(add_f16, ADD, false)
ONE2(sub_f16, sub_half, false)
ONE2(mul_f16, MUL, false)
ONE3(fma_f16, FMA, false)
ONE2(add_sat_f16, SAT_ADD, false)
ONE2(sub_sat_f16, SAT_SUB, false)
ONE2(mul_sat_f16, SAT_MUL, false)
ONE3(fma_sat_f16, SAT_FMA, false)
ONE3(fma_relu_f16, RELU_FMA, false)
ONE2(add_ftz_f16, FTZ_ADD, false)
ONE2(sub_ftz_f16, FTZ_SUB, false)
ONE2(mul_ftz_f16, FTZ_MUL, false)
ONE3(fma_ftz_f16, FLUSHED_FMA, false)
ONE2(add_ftz_sat_f16, FTZ_SAT_ADD, false)
ONE2(sub_ftz_sat_f16, FTZ_SAT_SUB, false)
ONE2(mul_ftz_sat_f16, FTZ_SAT_MUL, false)
ONE3(fma_ftz_sat_f16, FTZ_SAT_FMA, false)
ONE3(fma_ftz_relu_f16, FTZ_RELU_FMA, false)
ONE2(min_ftz_f16, FTZ_MIN, false)
ONE2(max_ftz_f16, FTZ_MAX, false)
ONE2(min_ftz_nan_f16, FTZ_MIN_NAN, false)
ONE2(max_ftz_nan_f16, FTZ_MAX_NAN, false)
ONE1(neg_ftz_f16, FTZ_NEG, false)
ONE1(abs_ftz_f16, FTZ_ABS, false)
ONE2(min_f16, min_half, false)
ONE2(max_f16, max_half, false)
ONE2(min_nan_f16, min_nan_half, false)
ONE2(max_nan_f16, max_nan_half, false)
ONE1(neg_f16, NEG, false)
ONE1(abs_f16, ABS, false)
ONE2(add_bf16, ADD, true)
ONE2(sub_bf16, sub_half, true)
ONE2(mul_bf16, MUL, true)
ONE3(fma_bf16, FMA, true)
ONE3(fma_relu_bf16, RELU_FMA, true)
ONE2(min_bf16, min_half, true)
ONE2(max_bf16, max_half, true)
ONE2(min_nan_bf16, min_nan_half, true)
ONE2(max_nan_bf16, max_nan_half, true)
ONE1(neg_bf16, NEG, true)
ONE1(abs_bf16, ABS, true)

/* ex2 and tanh of halves: from the f32 function, rounded. */
#define EX2(x, bf16)  half_from_float(exp2f(half_to_float((uint16_t)(x), bf16)), bf16, HALF_NEAREST)
#define TANH(x, bf16) half_from_float(tanhf(half_to_float((uint16_t)(x), bf16)), bf16, HALF_NEAREST)
ONE1(ex2_f16, EX2, false)
ONE1(tanh_f16, TANH, false)
ONE1(ex2_bf16, EX2, true)
ONE1(tanh_bf16, TANH, true)

#define FORM(opcode, operands, run)                                                                \
    {                                                                                              \
        opcode, operands, CLASS_HALF, run                                                          \
    }
#define PAIR2(opcode, kind, run)                                                                   \
    FORM(opcode "." #kind, "h=hh", run), FORM(opcode "." #kind "x2", "w=ww", run##_x2)
#define PAIR3(opcode, kind, run)                                                                   \
    FORM(opcode "." #kind, "h=hhh", run), FORM(opcode "." #kind "x2", "w=www", run##_x2)
#define PAIR1(opcode, kind, run)                                                                   \
    FORM(opcode "." #kind, "h=h", run), FORM(opcode "." #kind "x2", "w=w", run##_x2)
#define WITH_RN2(opcode, kind, run) PAIR2(opcode, kind, run), PAIR2(opcode ".rn", kind, run)
#define SATURATED(opcode, run)                                                                     \
    PAIR2(opcode ".sat", f16, run##_sat_f16), PAIR2(opcode ".rn.sat", f16, run##_sat_f16),         \
        PAIR2(opcode ".ftz", f16, run##_ftz_f16), PAIR2(opcode ".rn.ftz", f16, run##_ftz_f16),     \
        PAIR2(opcode ".ftz.sat", f16, run##_ftz_sat_f16),                                          \
        PAIR2(opcode ".rn.ftz.sat", f16, run##_ftz_sat_f16)

const struct form OPS_EXPORT(forms_half)[] = {
    WITH_RN2("add", f16, add_f16),
    WITH_RN2("sub", f16, sub_f16),
    WITH_RN2("mul", f16, mul_f16),
    PAIR3("fma.rn", f16, fma_f16),
    SATURATED("add", add),
    SATURATED("sub", sub),
    SATURATED("mul", mul),
    PAIR3("fma.rn.sat", f16, fma_sat_f16),
    PAIR3("fma.rn.relu", f16, fma_relu_f16),
    PAIR3("fma.rn.ftz", f16, fma_ftz_f16),
    PAIR3("fma.rn.ftz.sat", f16, fma_ftz_sat_f16),
    PAIR3("fma.rn.ftz.relu", f16, fma_ftz_relu_f16),
    PAIR2("min.ftz", f16, min_ftz_f16),
    PAIR2("max.ftz", f16, max_ftz_f16),
    PAIR2("min.ftz.NaN", f16, min_ftz_nan_f16),
    PAIR2("max.ftz.NaN", f16, max_ftz_nan_f16),
    PAIR1("neg.ftz", f16, neg_ftz_f16),
    PAIR1("abs.ftz", f16, abs_ftz_f16),
    PAIR2("min", f16, min_f16),
    PAIR2("max", f16, max_f16),
    PAIR2("min.NaN", f16, min_nan_f16),
    PAIR2("max.NaN", f16, max_nan_f16),
    PAIR1("neg", f16, neg_f16),
    PAIR1("abs", f16, abs_f16),
    WITH_RN2("add", bf16, add_bf16),
    WITH_RN2("sub", bf16, sub_bf16),
    WITH_RN2("mul", bf16, mul_bf16),
    PAIR3("fma.rn", bf16, fma_bf16),
    PAIR3("fma.rn.relu", bf16, fma_relu_bf16),
    PAIR2("min", bf16, min_bf16),
    PAIR2("max", bf16, max_bf16),
    PAIR2("min.NaN", bf16, min_nan_bf16),
    PAIR2("max.NaN", bf16, max_nan_bf16),
    PAIR1("neg", bf16, neg_bf16),
    PAIR1("abs", bf16, abs_bf16),
    PAIR1("ex2.approx", f16, ex2_f16),
    PAIR1("tanh.approx", f16, tanh_f16),
    PAIR1("ex2.approx.ftz", bf16, ex2_bf16),
    PAIR1("tanh.approx", bf16, tanh_bf16),
    {0},
};
