/* cvt. The conversions of inner loops are in ops_convert_loops.c; all others go lane by lane
 * through one function, which takes the value apart into a number of binary64 (exact for all but
 * 64-bit integers) and rounds it to the target once. */
#include "tools/softcuda/decode_rules.h"
#include "tools/softcuda/half.h"
#include "tools/softcuda/ops.h"

/* ---- integers to integers ------------------------------------------------------------------- */

static uint64_t narrow_to(uint64_t value, enum ptx_type type)
{
    switch (ptx_type_size(type)) {
    case 1:
        return type_is_signed(type) ? (uint64_t)(int64_t)(int8_t)value : (uint8_t)value;
    case 2:
        return type_is_signed(type) ? (uint64_t)(int64_t)(int16_t)value : (uint16_t)value;
    case 4:
        return type_is_signed(type) ? (uint64_t)(int64_t)(int32_t)value : (uint32_t)value;
    default:
        return value;
    }
}

/* Limits of an integer type. */
static int64_t lowest(enum ptx_type type)
{
    return type_is_signed(type) ? (int64_t)(~(uint64_t)0 << (8 * ptx_type_size(type) - 1)) : 0;
}
static uint64_t highest(enum ptx_type type)
{
    int bits = 8 * ptx_type_size(type) - type_is_signed(type);
    return bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
}

static uint64_t integer_to_integer(uint64_t value, enum ptx_type to, enum ptx_type from, bool sat)
{
    value = narrow_to(value, from);
    if (sat) {
        bool negative = type_is_signed(from) && (int64_t)value < 0;
        if (negative)
            value = (int64_t)value < lowest(to) ? (uint64_t)lowest(to) : value;
        else
            value = value > highest(to) ? highest(to) : value;
    }
    return narrow_to(value, to);
}

/* ---- floating point ------------------------------------------------------------------------- */

static double read_float(uint64_t bits, enum ptx_type type)
{
    switch (type) {
    case PTX_F16:
    case PTX_BF16:
        return (double)half_to_float((uint16_t)bits, type == PTX_BF16);
    case PTX_F64:
        return double_of(bits);
    default:
        return (double)float_from_bits((uint32_t)bits);
    }
}

static double round_integral(double x, enum rounding rounding)
{
    switch (rounding) {
    case ROUND_RZI:
    case ROUND_RZ:
        return trunc(x);
    case ROUND_RMI:
    case ROUND_RM:
        return floor(x);
    case ROUND_RPI:
    case ROUND_RP:
        return ceil(x);
    default:
        return nearbyint(x);
    }
}

/* Values beyond the target's limits give the limits; NaN gives 0, or the highest bit where either
 * type has 64 bits. */
static uint64_t float_to_integer(double x, enum ptx_type to, enum ptx_type from,
                                 enum rounding rounding)
{
    if (x != x) {
        bool wide = from == PTX_F64 || ptx_type_size(to) == 8;
        return wide ? narrow_to((uint64_t)1 << (8 * ptx_type_size(to) - 1), to) : 0;
    }
    x = round_integral(x, rounding);
    if (x <= (double)lowest(to))
        return (uint64_t)lowest(to);
    if (x >= (double)highest(to))
        return highest(to);
    return type_is_signed(to) ? (uint64_t)(int64_t)x : (uint64_t)x;
}

/* A magnitude of up to 64 bits times 2^exponent, to `bits` of precision: what is lost is kept as a
 * last odd bit, so that a later rounding to fewer bits is right. */
static double integer_to_double_odd(uint64_t magnitude, bool negative)
{
    uint64_t kept = magnitude;
    int shift = 0;
    while (kept >> 53) {
        kept = kept >> 1 | (kept & 1);
        shift++;
    }
    double value = ldexp((double)kept, shift);
    return negative ? -value : value;
}

static enum half_rounding direction(enum rounding rounding)
{
    return rounding == ROUND_RZ   ? HALF_ZERO
           : rounding == ROUND_RM ? HALF_DOWN
           : rounding == ROUND_RP ? HALF_UP
                                  : HALF_NEAREST;
}

static double integer_to_double(uint64_t magnitude, bool negative, enum rounding rounding)
{
    int shift = magnitude >> 53 ? 11 - __builtin_clzll(magnitude) : 0;
    if (shift > 0)
        magnitude = round_off(magnitude, shift, negative, direction(rounding));
    double value = ldexp((double)magnitude, shift);
    return negative ? -value : value;
}

/* A binary64 to a binary32 in any direction. */
static uint32_t float_from_double(double x, enum rounding rounding)
{
    if (x != x)
        return 0x7FFFFFFFu;
    float nearest = (float)x;
    double back = (double)nearest;
    if (back == x || isinf(x))
        return bits_from_float(nearest);
    bool above = back > x; /* nearest lies above x */
    bool want_below = rounding == ROUND_RM || (rounding == ROUND_RZ && x > 0);
    bool want_above = rounding == ROUND_RP || (rounding == ROUND_RZ && x < 0);
    if (above && want_below)
        nearest = nextafterf(nearest, -INFINITY);
    else if (!above && want_above)
        nearest = nextafterf(nearest, INFINITY);
    return bits_from_float(nearest);
}

/* To tf32: 10 bits of fraction, ties away from zero; the low 13 bits are 0. */
static uint32_t tf32_from_float(float x)
{
    uint32_t bits = bits_from_float(x);
    if (x != x)
        return 0x7FFFFFFFu;
    if ((bits & 0x7F800000u) == 0x7F800000u)
        return bits;
    return (bits + 0x1000u) & ~0x1FFFu;
}

static uint64_t write_float(double x, enum ptx_type to, enum rounding rounding)
{
    switch (to) {
    case PTX_F16:
    case PTX_BF16:
        return half_from_double(x, to == PTX_BF16, direction(rounding));
    case PTX_F64:
        return double_bits(x);
    case PTX_TF32:
        return tf32_from_float((float)x);
    default:
        return float_from_double(x, rounding);
    }
}

/* .satfinite: what is beyond the largest number becomes it; NaN stays. */
static uint64_t keep_finite(uint64_t bits, enum ptx_type to)
{
    bool word = to == PTX_TF32;
    uint64_t infinity = word ? 0x7F800000u : to == PTX_BF16 ? 0x7F80u : 0x7C00u;
    uint64_t sign = word ? 0x80000000u : 0x8000u;
    uint64_t largest = infinity - (word ? 0x2000u : 1u); /* tf32 lacks the low 13 bits */
    return (bits & ~sign) == infinity ? (bits & sign) | largest : bits;
}

static double flush_double(double x)
{
    return fabs(x) < 0x1p-126 ? copysign(0, x) : x;
}

static uint64_t to_float(double x, int32_t aux)
{
    enum ptx_type to = convert_target(aux), from = convert_source(aux);
    enum rounding rounding = convert_rounding(aux);
    int flags = convert_flags(aux);
    if (flags & CONVERT_FTZ && from == PTX_F32)
        x = flush_double(x);
    if (rounding >= ROUND_RNI && rounding <= ROUND_RPI)
        x = x != x ? x : copysign(round_integral(x, rounding), x);
    if (flags & CONVERT_SAT)
        x = x > 0 ? (x < 1 ? x : 1) : 0;
    if (flags & CONVERT_RELU && x <= 0)
        x = 0;
    uint64_t bits = write_float(x, to, rounding);
    if (flags & CONVERT_FTZ && to == PTX_F32 && (bits & 0x7F800000u) == 0)
        bits &= 0x80000000u;
    return flags & CONVERT_SATFINITE ? keep_finite(bits, to) : bits;
}

static uint64_t convert(uint64_t bits, int32_t aux)
{
    enum ptx_type to = convert_target(aux), from = convert_source(aux);
    int flags = convert_flags(aux);
    if (type_is_float(from) && type_is_float(to))
        return to_float(read_float(bits, from), aux);
    if (type_is_float(from)) {
        double x = read_float(bits, from);
        return float_to_integer(flags & CONVERT_FTZ ? flush_double(x) : x, to, from,
                                convert_rounding(aux));
    }
    if (!type_is_float(to))
        return integer_to_integer(bits, to, from, flags & CONVERT_SAT);
    uint64_t value = narrow_to(bits, from);
    bool negative = type_is_signed(from) && (int64_t)value < 0;
    uint64_t magnitude = negative ? 0 - value : value;
    if (to == PTX_F64 && !(flags & CONVERT_SAT))
        return double_bits(integer_to_double(magnitude, negative, convert_rounding(aux)));
    return to_float(integer_to_double_odd(magnitude, negative), aux);
}

/* Registers of 16 bits keep the upper half of their lane 0; others are filled by the type's sign.
 */
static enum next cvt(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    const unsigned char *from = SOURCE(warp, instruction, 0);
    enum ptx_type to = (enum ptx_type)instruction->type;
    bool wide_source = instruction->wide_source || instruction->constant_sources & 1;
    for (uint32_t left = lanes; left; left &= left - 1) {
        int l = __builtin_ctz(left);
        uint64_t bits = 0;
        memcpy(&bits, from + l * (wide_source ? 8 : 4), wide_source ? 8 : 4);
        uint64_t result = convert(bits, instruction->aux);
        if (instruction->half_register)
            result &= 0xFFFF;
        if (instruction->wide_register)
            ((uint64_t *)DESTINATION(warp, instruction, 0))[l] =
                type_is_float(to) ? result : narrow_to(result, to);
        else
            ((uint32_t *)DESTINATION(warp, instruction, 0))[l] = (uint32_t)result;
    }
    return NEXT_GO;
}

/* cvt.rn.bf16x2.f32 d, a, b: a into the upper half. */
static enum next cvt_x2(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    const uint32_t *xs = SOURCE(warp, instruction, 0), *ys = SOURCE(warp, instruction, 1);
    uint32_t *d = DESTINATION(warp, instruction, 0);
    enum ptx_type half = instruction->type == PTX_BF16X2 ? PTX_BF16 : PTX_F16;
    int32_t aux = convert_pack(half, PTX_F32, (int)convert_rounding(instruction->aux),
                               convert_flags(instruction->aux));
    for (uint32_t left = lanes; left; left &= left - 1) {
        int l = __builtin_ctz(left);
        d[l] = (uint32_t)convert(ys[l], aux) | (uint32_t)convert(xs[l], aux) << 16;
    }
    return NEXT_GO;
}

/* ---- cvt.pack ------------------------------------------------------------------------------- */

/* Clamped to an integer of `bits` bits, and cut to them. */
static inline uint32_t clamp_bits(int32_t x, int bits, bool is_signed)
{
    int32_t low = is_signed ? -(1 << (bits - 1)) : 0, high = (1 << (bits - is_signed)) - 1;
    return (uint32_t)(x < low ? low : x > high ? high : x) & ((1u << bits) - 1);
}

/* cvt.pack d, a, b: b into the low bits, a above it; with c: c above them. */
#define PACK(name, bits, is_signed)                                                                \
    OP2(pack_##name, uint32_t, int32_t, int32_t,                                                   \
        clamp_bits(y, bits, is_signed) | clamp_bits(x, bits, is_signed) << (bits))
#define PACK_ON(name, bits, is_signed)                                                             \
    OP3(pack_##name, uint32_t, int32_t, int32_t, uint32_t,                                         \
        clamp_bits(y, bits, is_signed) | clamp_bits(x, bits, is_signed) << (bits) |                \
            z << 2 * (bits))
PACK(u16, 16, false)
PACK(s16, 16, true)
PACK_ON(u8, 8, false)
PACK_ON(s8, 8, true)
PACK_ON(u4, 4, false)
PACK_ON(s4, 4, true)
PACK_ON(u2, 2, false)
PACK_ON(s2, 2, true)

#define PACK_FORM(type, c, operands, run)                                                          \
    {                                                                                              \
        "cvt.pack.sat." type ".s32" c, operands, CLASS_CONVERT, run                                \
    }

const struct form OPS_EXPORT(forms_convert)[] = {
    {"cvt", "r=r", CLASS_CONVERT, cvt},
    {"cvt.x2", "w=ww", CLASS_CONVERT, cvt_x2},
    PACK_FORM("u16", "", "w=ww", pack_u16),
    PACK_FORM("s16", "", "w=ww", pack_s16),
    PACK_FORM("u8", ".b32", "w=www", pack_u8),
    PACK_FORM("s8", ".b32", "w=www", pack_s8),
    PACK_FORM("u4", ".b32", "w=www", pack_u4),
    PACK_FORM("s4", ".b32", "w=www", pack_s4),
    PACK_FORM("u2", ".b32", "w=www", pack_u2),
    PACK_FORM("s2", ".b32", "w=www", pack_s2),
    {0},
};
