/* The special function unit: ex2, lg2, rcp, rsqrt, sqrt, sin, cos, tanh, div.approx. The manual
 * gives bounds on their errors, not bits; here they are computed in binary64 and rounded, which is
 * within all of the bounds. The special cases are the manual's. */
#include "tools/softcuda/ops.h"

/* 2^x, within 2 units in the last place: by whole octaves, and a Taylor polynomial of degree 8 in
 * binary64, written so that it vectorises. */
static inline float exp2_lane(float x)
{
    float clamped = x < -160 ? -160 : x > 130 ? 130 : x;
    double whole = (double)(int32_t)(clamped + (clamped < 0 ? -0.5f : 0.5f));
    double f = (double)clamped - whole; /* |f| <= 0.5 */
    /* exp2 by its Taylor series in f * ln 2: the ninth term is below 2^-35. */
    double t = f * 0.69314718055994530942;
    double p =
        1 + t * (1 + t * (0.5 + t * (1.0 / 6 +
                                     t * (1.0 / 24 +
                                          t * (1.0 / 120 +
                                               t * (1.0 / 720 + t * (1.0 / 5040 + t / 40320)))))));
    uint64_t scale_bits = (uint64_t)(1023 + (int64_t)whole) << 52;
    double scale;
    memcpy(&scale, &scale_bits, sizeof scale);
    float result = (float)(p * scale);
    return x != x ? float_from_bits(0x7FFFFFFFu) : result;
}
OP1(ex2, float, float, exp2_lane(x))
OP1(ex2_ftz, float, float, flush(exp2_lane(flush(x))))

#define DOUBLE(f) ((float)(f))
OP1(lg2, float, float, canonical(DOUBLE(log2((double)x))))
OP1(lg2_ftz, float, float, ((x = flush(x)), canonical(DOUBLE(log2((double)x)))))
OP1(rcp, float, float, canonical(1.0f / x))
OP1(rcp_ftz, float, float, ((x = flush(x)), flush(canonical(1.0f / x))))
OP1(rsqrt, float, float, canonical(DOUBLE(1.0 / __builtin_sqrt((double)x))))
OP1(rsqrt_ftz, float, float,
    ((x = flush(x)), flush(canonical(DOUBLE(1.0 / __builtin_sqrt((double)x))))))
OP1(sqrt_approx, float, float, canonical(__builtin_sqrtf(x)))
OP1(sqrt_approx_ftz, float, float, ((x = flush(x)), flush(canonical(__builtin_sqrtf(x)))))
OP1(sine, float, float, canonical(DOUBLE(sin((double)x))))
OP1(sine_ftz, float, float, ((x = flush(x)), flush(canonical(DOUBLE(sin((double)x))))))
OP1(cosine, float, float, canonical(DOUBLE(cos((double)x))))
OP1(cosine_ftz, float, float, ((x = flush(x)), flush(canonical(DOUBLE(cos((double)x))))))
OP1(tanh_approx, float, float, canonical(DOUBLE(tanh((double)x))))
/* div.approx is x times the reciprocal of y: between 2^126 and 2^128 that reciprocal is flushed,
 * and so is the quotient; div.full has the range of the true one. */
#define DIV_APPROX(x, y)                                                                           \
    (fabsf(y) > 0x1p126f && fabsf(y) < INFINITY                                                    \
         ? (isinf(x) ? float_from_bits(0x7FFFFFFFu) : (x)*0.0f * (y > 0 ? 1 : -1))                 \
         : (x) / (y))
OP2(div_approx, float, float, float, canonical(DIV_APPROX(x, y)))
OP2(div_approx_ftz, float, float, float,
    ((x = flush(x)), (y = flush(y)), flush(canonical(DIV_APPROX(x, y)))))
OP2(div_full, float, float, float, canonical(x / y))
OP2(div_full_ftz, float, float, float, ((x = flush(x)), (y = flush(y)), flush(canonical(x / y))))

/* Those with .ftz look at the upper word and give one: 20 bits of a significand; the lower word is
 * 0. */
#define UPPER_WORD(value) (double_of(double_bits(value) & 0xFFFFFFFF00000000u))
static inline double flush_f64(double x)
{
    uint64_t bits = double_bits(x);
    return double_of(bits & (uint64_t)0x7FF << 52 ? bits : bits & (uint64_t)1 << 63);
}
static inline double upper_result(double r)
{
    return r != r ? double_of(0x7FFFFFFF00000000u) : flush_f64(UPPER_WORD(r));
}
OP1(rcp_ftz_f64, double, double, upper_result(1.0 / flush_f64(UPPER_WORD(x))))
OP1(rsqrt_ftz_f64, double, double, upper_result(1.0 / __builtin_sqrt(flush_f64(UPPER_WORD(x)))))
/* What nvcc makes of rsqrt(): within a unit in the last place. */
OP1(rsqrt_f64, double, double, (double)(1.0L / sqrtl((long double)x)))

#define FORM(opcode, operands, run)                                                                \
    {                                                                                              \
        opcode, operands, CLASS_SPECIAL, run                                                       \
    }
#define WITH_FTZ(opcode, operands, run)                                                            \
    FORM(opcode ".f32", operands, run), FORM(opcode ".ftz.f32", operands, run##_ftz)

const struct form OPS_EXPORT(forms_special)[] = {
    WITH_FTZ("ex2.approx", "w=w", ex2),
    WITH_FTZ("lg2.approx", "w=w", lg2),
    WITH_FTZ("rcp.approx", "w=w", rcp),
    WITH_FTZ("rsqrt.approx", "w=w", rsqrt),
    WITH_FTZ("sqrt.approx", "w=w", sqrt_approx),
    WITH_FTZ("sin.approx", "w=w", sine),
    WITH_FTZ("cos.approx", "w=w", cosine),
    FORM("tanh.approx.f32", "w=w", tanh_approx),
    WITH_FTZ("div.approx", "w=ww", div_approx),
    WITH_FTZ("div.full", "w=ww", div_full),
    FORM("rcp.approx.ftz.f64", "d=d", rcp_ftz_f64),
    FORM("rsqrt.approx.ftz.f64", "d=d", rsqrt_ftz_f64),
    FORM("rsqrt.approx.f64", "d=d", rsqrt_f64),
    {0},
};
