/* f32 and f64 arithmetic. Results are rounded as the opcode says; a NaN that comes out is the
 * canonical one, as on the cards, which keep no payload in f32. Compiled with -frounding-math,
 * since directed rounding is the processor's own, switched for the one loop. */
#include <fenv.h>
#if defined(__FMA__) && defined(__AVX2__)
#include <immintrin.h>
#endif
#include "tools/softcuda/ops.h"

/* To [0, 1]; NaN gives +0. */
static inline float saturate(float x)
{
    return x > 0 ? (x < 1 ? x : 1) : 0;
}

/* The four forms of an operation: plain, .sat, .ftz, .ftz.sat. */
#define FOUR2(name, expression)                                                                    \
    OP2(name, float, float, float, canonical(expression))                                          \
    OP2(name##_sat, float, float, float, saturate(expression))                                     \
    OP2(name##_ftz, float, float, float,                                                           \
        ((x = flush(x)), (y = flush(y)), flush(canonical(expression))))                            \
    OP2(name##_ftz_sat, float, float, float,                                                       \
        ((x = flush(x)), (y = flush(y)), flush(saturate(expression))))
FOUR2(add_f32, x + y)
FOUR2(sub_f32, x - y)
FOUR2(mul_f32, x *y)
OP2(div_f32, float, float, float, canonical(x / y))
OP2(div_f32_ftz, float, float, float, ((x = flush(x)), (y = flush(y)), flush(canonical(x / y))))
OP2(add_f64, double, double, double, x + y)
OP2(sub_f64, double, double, double, x - y)
OP2(mul_f64, double, double, double, x *y)
OP2(div_f64, double, double, double, x / y)

/* Fused multiply-adds. The compiler makes no vector code of fma() where the rounding mode may
 * change, so that it is spelled out. */
#if defined(__FMA__) && defined(__AVX2__)
static inline void fma_lanes_f32(float *r, const float *x, const float *y, const float *z)
{
    for (int l = 0; l < WARP_LANES; l += 8)
        _mm256_storeu_ps(r + l, _mm256_fmadd_ps(_mm256_loadu_ps(x + l), _mm256_loadu_ps(y + l),
                                                _mm256_loadu_ps(z + l)));
}
static inline void fma_lanes_f64(double *r, const double *x, const double *y, const double *z)
{
    for (int l = 0; l < WARP_LANES; l += 4)
        _mm256_storeu_pd(r + l, _mm256_fmadd_pd(_mm256_loadu_pd(x + l), _mm256_loadu_pd(y + l),
                                                _mm256_loadu_pd(z + l)));
}
#else
static inline void fma_lanes_f32(float *r, const float *x, const float *y, const float *z)
{
    for (int l = 0; l < WARP_LANES; l++)
        r[l] = fmaf(x[l], y[l], z[l]);
}
static inline void fma_lanes_f64(double *r, const double *x, const double *y, const double *z)
{
    for (int l = 0; l < WARP_LANES; l++)
        r[l] = fma(x[l], y[l], z[l]);
}
#endif

#define FMA(name, T, expression)                                                                   \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        T r[WARP_LANES];                                                                           \
        fma_lanes_##T(r, SOURCE(warp, instruction, 0), SOURCE(warp, instruction, 1),               \
                      SOURCE(warp, instruction, 2));                                               \
        OPS_BODY_(T, (void)0, expression)                                                          \
    }
#define FMA_FTZ(name, expression)                                                                  \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        const float *xs = SOURCE(warp, instruction, 0), *ys = SOURCE(warp, instruction, 1);        \
        const float *zs = SOURCE(warp, instruction, 2);                                            \
        float x[WARP_LANES], y[WARP_LANES], z[WARP_LANES], r[WARP_LANES];                          \
        for (int l = 0; l < WARP_LANES; l++)                                                       \
            x[l] = flush(xs[l]), y[l] = flush(ys[l]), z[l] = flush(zs[l]);                         \
        fma_lanes_f32(r, x, y, z);                                                                 \
        OPS_BODY_(float, (void)0, flush(expression))                                               \
    }
typedef float f32;
typedef double f64;
FMA(fma_f32, f32, canonical(r[l]))
FMA(fma_f32_sat, f32, saturate(r[l]))
FMA_FTZ(fma_f32_ftz, canonical(r[l]))
FMA_FTZ(fma_f32_ftz_sat, saturate(r[l]))
FMA(fma_f64, f64, r[l])

/* Directed rounding: the plain handler under another mode of the processor's. */
#define ROUNDED(name, handler, mode)                                                               \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        fesetround(mode);                                                                          \
        enum next next = handler(warp, instruction, lanes);                                        \
        fesetround(FE_TONEAREST);                                                                  \
        return next;                                                                               \
    }
#define ROUNDED3(handler)                                                                          \
    ROUNDED(handler##_rz, handler, FE_TOWARDZERO)                                                  \
    ROUNDED(handler##_rm, handler, FE_DOWNWARD)                                                    \
    ROUNDED(handler##_rp, handler, FE_UPWARD)
ROUNDED3(add_f32)
ROUNDED3(add_f32_ftz)
ROUNDED3(add_f32_sat)
ROUNDED3(add_f32_ftz_sat)
ROUNDED3(sub_f32)
ROUNDED3(sub_f32_ftz)
ROUNDED3(sub_f32_sat)
ROUNDED3(sub_f32_ftz_sat)
ROUNDED3(mul_f32)
ROUNDED3(mul_f32_ftz)
ROUNDED3(mul_f32_sat)
ROUNDED3(mul_f32_ftz_sat)
ROUNDED3(fma_f32)
ROUNDED3(fma_f32_ftz)
ROUNDED3(fma_f32_sat)
ROUNDED3(fma_f32_ftz_sat)
ROUNDED3(div_f32)
ROUNDED3(div_f32_ftz)
ROUNDED3(add_f64)
ROUNDED3(sub_f64)
ROUNDED3(mul_f64)
ROUNDED3(div_f64)
ROUNDED3(fma_f64)

/* Square roots and reciprocals, rounded. */
OP1(sqrt_f32, float, float, canonical(__builtin_sqrtf(x)))
OP1(sqrt_f32_ftz, float, float, ((x = flush(x)), flush(canonical(__builtin_sqrtf(x)))))
OP1(rcp_f32, float, float, canonical(1.0f / x))
OP1(rcp_f32_ftz, float, float, ((x = flush(x)), flush(canonical(1.0f / x))))
OP1(sqrt_f64, double, double, __builtin_sqrt(x))
OP1(rcp_f64, double, double, 1.0 / x)
ROUNDED3(sqrt_f32)
ROUNDED3(sqrt_f32_ftz)
ROUNDED3(rcp_f32)
ROUNDED3(rcp_f32_ftz)
ROUNDED3(sqrt_f64)
ROUNDED3(rcp_f64)

/* min and max: a NaN loses against a number (.NaN: wins), and -0 is below +0. */
#define LESS(x, y) ((x) < (y) || ((x) == (y) && signbit(x) && !signbit(y)))
#define MIN(x, y)  ((x) != (x) ? (y) : (y) != (y) ? (x) : LESS(x, y) ? (x) : (y))
#define MAX(x, y)  ((x) != (x) ? (y) : (y) != (y) ? (x) : LESS(x, y) ? (y) : (x))
#define NAN_OR(r)  ((x) != (x) || (y) != (y) ? float_from_bits(0x7FFFFFFFu) : (r))
OP2(min_f32, float, float, float, canonical(MIN(x, y)))
OP2(max_f32, float, float, float, canonical(MAX(x, y)))
OP2(min_f32_ftz, float, float, float, ((x = flush(x)), (y = flush(y)), canonical(MIN(x, y))))
OP2(max_f32_ftz, float, float, float, ((x = flush(x)), (y = flush(y)), canonical(MAX(x, y))))
OP2(min_nan_f32, float, float, float, NAN_OR(MIN(x, y)))
OP2(max_nan_f32, float, float, float, NAN_OR(MAX(x, y)))
OP2(min_nan_f32_ftz, float, float, float, ((x = flush(x)), (y = flush(y)), NAN_OR(MIN(x, y))))
OP2(max_nan_f32_ftz, float, float, float, ((x = flush(x)), (y = flush(y)), NAN_OR(MAX(x, y))))
OP2(min_f64, double, double, double, MIN(x, y))
OP2(max_f64, double, double, double, MAX(x, y))

/* Signs are bits: a NaN keeps its payload. */
OP1(abs_f32, uint32_t, uint32_t, x & 0x7FFFFFFFu)
OP1(abs_f32_ftz, float, float, float_from_bits(bits_from_float(flush(x)) & 0x7FFFFFFFu))
OP1(neg_f32, uint32_t, uint32_t, x ^ 0x80000000u)
OP1(neg_f32_ftz, float, float, float_from_bits(bits_from_float(flush(x)) ^ 0x80000000u))
OP1(abs_f64, uint64_t, uint64_t, x &INT64_MAX)
OP1(neg_f64, uint64_t, uint64_t, x ^ (uint64_t)1 << 63)
OP2(copysign_f32, uint32_t, uint32_t, uint32_t, (x & 0x80000000u) | (y & 0x7FFFFFFFu))
OP2(copysign_f64, uint64_t, uint64_t, uint64_t, (x & (uint64_t)1 << 63) | (y & INT64_MAX))

/* testp: the class of a number; zeros are normal. */
#define TESTP(name, T, expression)                                                                 \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        const T *xs = SOURCE(warp, instruction, 0);                                                \
        uint32_t result = 0;                                                                       \
        for (int l = 0; l < WARP_LANES; l++) {                                                     \
            T x = xs[l];                                                                           \
            result |= (uint32_t)(expression) << l;                                                 \
        }                                                                                          \
        set_predicate(warp, instruction->destinations[0], lanes, result);                          \
        return NEXT_GO;                                                                            \
    }
TESTP(finite_f32, float, isfinite(x) != 0)
TESTP(infinite_f32, float, isinf(x) != 0)
TESTP(number_f32, float, isnan(x) == 0)
TESTP(notanumber_f32, float, isnan(x) != 0)
TESTP(normal_f32, float, fpclassify(x) == FP_NORMAL || x == 0)
TESTP(subnormal_f32, float, fpclassify(x) == FP_SUBNORMAL)
TESTP(finite_f64, double, isfinite(x) != 0)
TESTP(infinite_f64, double, isinf(x) != 0)
TESTP(number_f64, double, isnan(x) == 0)
TESTP(notanumber_f64, double, isnan(x) != 0)
TESTP(normal_f64, double, fpclassify(x) == FP_NORMAL || x == 0)
TESTP(subnormal_f64, double, fpclassify(x) == FP_SUBNORMAL)

#define F32(opcode, operands, run)                                                                 \
    {                                                                                              \
        opcode, operands, CLASS_FLOAT32, run                                                       \
    }
#define F64(opcode, operands, run)                                                                 \
    {                                                                                              \
        opcode, operands, CLASS_FLOAT64, run                                                       \
    }
#define MODES(opcode, operands, run)                                                               \
    F32(opcode ".f32", operands, run), F32(opcode ".ftz.f32", operands, run##_ftz),                \
        F32(opcode ".sat.f32", operands, run##_sat),                                               \
        F32(opcode ".ftz.sat.f32", operands, run##_ftz_sat)
#define ROUND_MODES(opcode, rounding, operands, run)                                               \
    F32(opcode "." #rounding ".f32", operands, run##_##rounding),                                  \
        F32(opcode "." #rounding ".ftz.f32", operands, run##_ftz_##rounding),                      \
        F32(opcode "." #rounding ".sat.f32", operands, run##_sat_##rounding),                      \
        F32(opcode "." #rounding ".ftz.sat.f32", operands, run##_ftz_sat_##rounding)
/* All of an f32 operation: with .rn, and directed. fma has no form without a rounding; of others
 * that is .rn, which the compiler may fuse. */
#define ARITHMETIC(opcode, operands, run)                                                          \
    MODES(opcode ".rn", operands, run), ROUND_MODES(opcode, rz, operands, run),                    \
        ROUND_MODES(opcode, rm, operands, run), ROUND_MODES(opcode, rp, operands, run)
#define ROUNDED_F32(opcode, operands, run)                                                         \
    F32(opcode ".rn.f32", operands, run), F32(opcode ".rn.ftz.f32", operands, run##_ftz),          \
        F32(opcode ".rz.f32", operands, run##_rz), F32(opcode ".rm.f32", operands, run##_rm),      \
        F32(opcode ".rp.f32", operands, run##_rp),                                                 \
        F32(opcode ".rz.ftz.f32", operands, run##_ftz_rz),                                         \
        F32(opcode ".rm.ftz.f32", operands, run##_ftz_rm),                                         \
        F32(opcode ".rp.ftz.f32", operands, run##_ftz_rp)
#define ROUNDED_F64(opcode, operands, run)                                                         \
    F64(opcode ".rn.f64", operands, run), F64(opcode ".rz.f64", operands, run##_rz),               \
        F64(opcode ".rm.f64", operands, run##_rm), F64(opcode ".rp.f64", operands, run##_rp)
#define TESTPS(class)                                                                              \
    F32("testp." #class ".f32", "p=w", class##_f32), F64("testp." #class ".f64", "p=d", class##_f64)

const struct form OPS_EXPORT(forms_float)[] = {
    MODES("add", "w=ww", add_f32),
    MODES("sub", "w=ww", sub_f32),
    MODES("mul", "w=ww", mul_f32),
    ARITHMETIC("add", "w=ww", add_f32),
    ARITHMETIC("sub", "w=ww", sub_f32),
    ARITHMETIC("mul", "w=ww", mul_f32),
    ARITHMETIC("fma", "w=www", fma_f32),
    ARITHMETIC("mad", "w=www", fma_f32),
    ROUNDED_F32("div", "w=ww", div_f32),
    ROUNDED_F32("sqrt", "w=w", sqrt_f32),
    ROUNDED_F32("rcp", "w=w", rcp_f32),
    F64("add.f64", "d=dd", add_f64),
    F64("sub.f64", "d=dd", sub_f64),
    F64("mul.f64", "d=dd", mul_f64),
    ROUNDED_F64("add", "d=dd", add_f64),
    ROUNDED_F64("sub", "d=dd", sub_f64),
    ROUNDED_F64("mul", "d=dd", mul_f64),
    ROUNDED_F64("fma", "d=ddd", fma_f64),
    ROUNDED_F64("mad", "d=ddd", fma_f64),
    ROUNDED_F64("div", "d=dd", div_f64),
    ROUNDED_F64("sqrt", "d=d", sqrt_f64),
    ROUNDED_F64("rcp", "d=d", rcp_f64),
    F32("min.f32", "w=ww", min_f32),
    F32("max.f32", "w=ww", max_f32),
    F32("min.ftz.f32", "w=ww", min_f32_ftz),
    F32("max.ftz.f32", "w=ww", max_f32_ftz),
    F32("min.NaN.f32", "w=ww", min_nan_f32),
    F32("max.NaN.f32", "w=ww", max_nan_f32),
    F32("min.ftz.NaN.f32", "w=ww", min_nan_f32_ftz),
    F32("max.ftz.NaN.f32", "w=ww", max_nan_f32_ftz),
    F64("min.f64", "d=dd", min_f64),
    F64("max.f64", "d=dd", max_f64),
    F32("abs.f32", "w=w", abs_f32),
    F32("abs.ftz.f32", "w=w", abs_f32_ftz),
    F32("neg.f32", "w=w", neg_f32),
    F32("neg.ftz.f32", "w=w", neg_f32_ftz),
    F64("abs.f64", "d=d", abs_f64),
    F64("neg.f64", "d=d", neg_f64),
    F32("copysign.f32", "w=ww", copysign_f32),
    F64("copysign.f64", "d=dd", copysign_f64),
    TESTPS(finite),
    TESTPS(infinite),
    TESTPS(number),
    TESTPS(notanumber),
    TESTPS(normal),
    TESTPS(subnormal),
    {0},
};
