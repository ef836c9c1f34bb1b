/* f16 and bf16, single and in pairs, rounded once: half.h says how. */
#include "tools/softcuda/half.h"
#include "tools/softcuda/ops.h"

#define NEGATIVE(h)     ((h)&0x8000u)
#define IS_NAN(h, bf16) (((h)&0x7FFFu) > ((bf16) ? 0x7F80u : 0x7C00u))
/* Subnormal numbers become zeros of their sign (.ftz, f16 alone). */
#define FLUSH(h)         ((h)&0x7C00u ? (h) : (h)&0x8000u)
#define NO_LESS(h, bf16) (IS_NAN(h, bf16) ? 0x7FFFu : NEGATIVE(h) ? 0u : (h))

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
#define FTZ_MIN(x, y, bf16)     min_half(FLUSH(x), FLUSH(y), bf16)
#define FTZ_MAX(x, y, bf16)     max_half(FLUSH(x), FLUSH(y), bf16)
#define FTZ_MIN_NAN(x, y, bf16) min_nan_half(FLUSH(x), FLUSH(y), bf16)
#define FTZ_MAX_NAN(x, y, bf16) max_nan_half(FLUSH(x), FLUSH(y), bf16)
#define FTZ_NEG(x, bf16)        (FLUSH(x) ^ 0x8000u)
#define FTZ_ABS(x, bf16)        (FLUSH(x) & 0x7FFFu)
#define NEG(x, bf16)            ((x) ^ 0x8000u)
#define ABS(x, bf16)            ((x)&0x7FFFu)

/* ---- sums and products -------------------------------------------------------------------------
 *
 * In steps, each a loop of its own: in one loop gcc makes branches of the ways of NaN, and no
 * vector code. */

enum operation { ADD, SUB, MUL, FMA };

/* What else is done: subnormal numbers become zeros; to [0, 1]; below 0 to 0. */
#define FTZ  1
#define SAT  2
#define RELU 4

/* The lower halves of all lanes, and behind them, of pairs, the upper ones. */
#define HALVES (2 * WARP_LANES)

ALWAYS_INLINE void widen(float *to, const uint32_t *from, bool bf16, bool pair, int steps)
{
    uint32_t halves[HALVES];
    FOR_LANES(l)
    {
        halves[l] = LOW(from[l]);
        halves[WARP_LANES + l] = HIGH(from[l]);
    }
    int n = pair ? HALVES : WARP_LANES;
    for (int i = 0; steps & FTZ && i < n; i++)
        halves[i] = FLUSH(halves[i]);
    for (int i = 0; i < n; i++)
        to[i] = half_to_float(halves[i], bf16);
}

ALWAYS_INLINE void compute(float *to, const float *a, const float *b, const float *c, int n,
                           enum operation operation, bool bf16)
{
    for (int i = 0; i < n; i++)
        if (operation == ADD)
            to[i] = a[i] + b[i];
        else if (operation == SUB)
            to[i] = a[i] - b[i];
        else if (operation == MUL)
            to[i] = bf16 ? bf16_product_to_odd(a[i], b[i]) : a[i] * b[i];
        else
            to[i] = bf16 ? bf16_fma_to_odd(a[i], b[i], c[i]) : f16_fma_to_odd(a[i], b[i], c[i]);
}

ALWAYS_INLINE void narrow(uint32_t *to, const float *from, int n, bool bf16, int steps)
{
    for (int i = 0; i < n; i++)
        to[i] = half_from_float(from[i], bf16);
    for (int i = 0; steps & FTZ && i < n; i++)
        to[i] = FLUSH(to[i]);
    for (int i = 0; steps & SAT && i < n; i++)
        to[i] = saturate_half(to[i], bf16);
    for (int i = 0; steps & RELU && i < n; i++)
        to[i] = NO_LESS(to[i], bf16);
}

ALWAYS_INLINE enum next arithmetic(struct warp *warp, const struct instruction *instruction,
                                   uint32_t lanes, enum operation operation, bool bf16, bool pair,
                                   int steps)
{
    float a[HALVES], b[HALVES], c[HALVES], results[HALVES];
    uint32_t halves[HALVES];
    int n = pair ? HALVES : WARP_LANES;
    widen(a, SOURCE(warp, instruction, 0), bf16, pair, steps);
    widen(b, SOURCE(warp, instruction, 1), bf16, pair, steps);
    if (operation == FMA)
        widen(c, SOURCE(warp, instruction, 2), bf16, pair, steps);
    compute(results, a, b, c, n, operation, bf16);
    narrow(halves, results, n, bf16, steps);
    OPS_BODY_(uint32_t, uint32_t high = pair ? halves[WARP_LANES + l] : 0, halves[l] | high << 16)
}

#define ARITHMETIC(name, operation, bf16, steps)                                                   \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        return arithmetic(warp, instruction, lanes, operation, bf16, false, steps);                \
    }                                                                                              \
    static enum next name##_x2(struct warp *warp, const struct instruction *instruction,           \
                               uint32_t lanes)                                                     \
    {                                                                                              \
        return arithmetic(warp, instruction, lanes, operation, bf16, true, steps);                 \
    }

ARITHMETIC(add_f16, ADD, false, 0)
ARITHMETIC(sub_f16, SUB, false, 0)
ARITHMETIC(mul_f16, MUL, false, 0)
ARITHMETIC(fma_f16, FMA, false, 0)
ARITHMETIC(add_sat_f16, ADD, false, SAT)
ARITHMETIC(sub_sat_f16, SUB, false, SAT)
ARITHMETIC(mul_sat_f16, MUL, false, SAT)
ARITHMETIC(fma_sat_f16, FMA, false, SAT)
ARITHMETIC(fma_relu_f16, FMA, false, RELU)
ARITHMETIC(add_ftz_f16, ADD, false, FTZ)
ARITHMETIC(sub_ftz_f16, SUB, false, FTZ)
ARITHMETIC(mul_ftz_f16, MUL, false, FTZ)
ARITHMETIC(fma_ftz_f16, FMA, false, FTZ)
ARITHMETIC(add_ftz_sat_f16, ADD, false, FTZ | SAT)
ARITHMETIC(sub_ftz_sat_f16, SUB, false, FTZ | SAT)
ARITHMETIC(mul_ftz_sat_f16, MUL, false, FTZ | SAT)
ARITHMETIC(fma_ftz_sat_f16, FMA, false, FTZ | SAT)
ARITHMETIC(fma_ftz_relu_f16, FMA, false, FTZ | RELU)
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
ARITHMETIC(add_bf16, ADD, true, 0)
ARITHMETIC(sub_bf16, SUB, true, 0)
ARITHMETIC(mul_bf16, MUL, true, 0)
ARITHMETIC(fma_bf16, FMA, true, 0)
ARITHMETIC(fma_relu_bf16, FMA, true, RELU)
ONE2(min_bf16, min_half, true)
ONE2(max_bf16, max_half, true)
ONE2(min_nan_bf16, min_nan_half, true)
ONE2(max_nan_bf16, max_nan_half, true)
ONE1(neg_bf16, NEG, true)
ONE1(abs_bf16, ABS, true)

/* ex2 and tanh of halves: from the f32 function, rounded. */
#define EX2(x, bf16)  half_from_float(exp2f(half_to_float(x, bf16)), bf16)
#define TANH(x, bf16) half_from_float(tanhf(half_to_float(x, bf16)), bf16)
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
