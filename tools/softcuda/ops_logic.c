/* Bits: logic, shifts, permutations, selects and moves. PTX clamps a shift's amount at the width,
 * where C has no answer. */
#include "tools/softcuda/ops.h"

OP2(and_32, uint32_t, uint32_t, uint32_t, x &y)
OP2(and_64, uint64_t, uint64_t, uint64_t, x &y)
OP2(or_32, uint32_t, uint32_t, uint32_t, x | y)
OP2(or_64, uint64_t, uint64_t, uint64_t, x | y)
OP2(xor_32, uint32_t, uint32_t, uint32_t, x ^ y)
OP2(xor_64, uint64_t, uint64_t, uint64_t, x ^ y)
OP1(not_16, uint32_t, uint32_t, ~x & 0xFFFFu)
OP1(not_32, uint32_t, uint32_t, ~x)
OP1(not_64, uint64_t, uint64_t, ~x)
OP1(cnot_16, uint32_t, uint32_t, x == 0)
OP1(cnot_32, uint32_t, uint32_t, x == 0)
OP1(cnot_64, uint64_t, uint64_t, x == 0)

OP2(shl_16, uint32_t, uint32_t, uint32_t, y > 15 ? 0 : x << y & 0xFFFFu)
OP2(shl_32, uint32_t, uint32_t, uint32_t, y > 31 ? 0 : x << (y & 31))
OP2(shl_64, uint64_t, uint64_t, uint32_t, y > 63 ? 0 : x << (y & 63))
OP2(shr_u16, uint32_t, uint32_t, uint32_t, y > 15 ? 0 : x >> (y & 31))
OP2(shr_u32, uint32_t, uint32_t, uint32_t, y > 31 ? 0 : x >> (y & 31))
OP2(shr_u64, uint64_t, uint64_t, uint32_t, y > 63 ? 0 : x >> (y & 63))
OP2(shr_s16, uint32_t, uint32_t, uint32_t,
    (uint32_t)((int32_t)(int16_t)x >> (y > 15 ? 15 : y)) & 0xFFFFu)
OP2(shr_s32, uint32_t, int32_t, uint32_t, x >> (y > 31 ? 31 : y))
OP2(shr_s64, uint64_t, int64_t, uint32_t, x >> (y > 63 ? 63 : y))

/* Funnel shifts of the 64 bits y:x. */
#define PAIR       ((uint64_t)y << 32 | x)
#define CLAMPED(z) ((z) > 32 ? 32 : (z))
OP3(shf_l_wrap, uint32_t, uint32_t, uint32_t, uint32_t, PAIR << (z & 31) >> 32)
OP3(shf_l_clamp, uint32_t, uint32_t, uint32_t, uint32_t, PAIR << CLAMPED(z) >> 32)
OP3(shf_r_wrap, uint32_t, uint32_t, uint32_t, uint32_t, PAIR >> (z & 31))
OP3(shf_r_clamp, uint32_t, uint32_t, uint32_t, uint32_t, PAIR >> CLAMPED(z))

/* The bits reversed. */
static inline uint32_t reverse_32(uint32_t x)
{
    x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
    x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
    x = (x >> 4 & 0x0F0F0F0Fu) | (x & 0x0F0F0F0Fu) << 4;
    return __builtin_bswap32(x);
}
OP1(brev_32, uint32_t, uint32_t, reverse_32(x))
OP1(brev_64, uint64_t, uint64_t,
    (uint64_t)reverse_32((uint32_t)x) << 32 | reverse_32((uint32_t)(x >> 32)))
OP1(popc_32, uint32_t, uint32_t, __builtin_popcount(x))
OP1(popc_64, uint32_t, uint64_t, __builtin_popcountll(x))
OP1(clz_32, uint32_t, uint32_t, x ? __builtin_clz(x) : 32)
OP1(clz_64, uint32_t, uint64_t, x ? __builtin_clzll(x) : 64)

/* The place of the highest bit that is 1 (of a negative signed number: 0); -1: there is none.
 * shiftamt: how far it is from the top. */
#define FIND_32(v)  ((v) ? 31 - __builtin_clz(v) : -1)
#define SHIFT_32(v) ((v) ? __builtin_clz(v) : -1)
#define FIND_64(v)  ((v) ? 63 - __builtin_clzll(v) : -1)
#define SHIFT_64(v) ((v) ? __builtin_clzll(v) : -1)
#define FLIP_32(x)  ((uint32_t)((int32_t)(x) < 0 ? ~(x) : (x)))
#define FLIP_64(x)  ((uint64_t)((int64_t)(x) < 0 ? ~(x) : (x)))
OP1(bfind_u32, uint32_t, uint32_t, FIND_32(x))
OP1(bfind_s32, uint32_t, uint32_t, FIND_32(FLIP_32(x)))
OP1(bfind_u64, uint32_t, uint64_t, FIND_64(x))
OP1(bfind_s64, uint32_t, uint64_t, FIND_64(FLIP_64(x)))
OP1(bfind_shift_u32, uint32_t, uint32_t, SHIFT_32(x))
OP1(bfind_shift_s32, uint32_t, uint32_t, SHIFT_32(FLIP_32(x)))
OP1(bfind_shift_u64, uint32_t, uint64_t, SHIFT_64(x))
OP1(bfind_shift_s64, uint32_t, uint64_t, SHIFT_64(FLIP_64(x)))

/* bfe d, a, position, length: the field; beyond the top a signed one repeats the sign, the sign
 * being that of the field's last bit within the number. position and length count modulo 256. */
static inline uint64_t extract(uint64_t a, uint32_t position, uint32_t length, int bits, bool sign)
{
    position &= 255, length &= 255;
    if (length == 0)
        return 0;
    uint32_t last =
        position + length - 1 < (uint32_t)bits - 1 ? position + length - 1 : (uint32_t)bits - 1;
    uint64_t fill = sign && a >> last & 1 ? UINT64_MAX : 0;
    uint64_t field = position >= (uint32_t)bits ? fill : a >> position;
    if (position < (uint32_t)bits) {
        uint32_t there = (uint32_t)bits - position < length ? (uint32_t)bits - position : length;
        uint64_t mask = there > 63 ? UINT64_MAX : ((uint64_t)1 << there) - 1;
        field = (field & mask) | (fill & ~mask);
    }
    return field;
}
OP3(bfe_u32, uint32_t, uint32_t, uint32_t, uint32_t, extract(x, y, z, 32, false))
OP3(bfe_s32, uint32_t, uint32_t, uint32_t, uint32_t, extract(x, y, z, 32, true))
OP3(bfe_u64, uint64_t, uint64_t, uint32_t, uint32_t, extract(x, y, z, 64, false))
OP3(bfe_s64, uint64_t, uint64_t, uint32_t, uint32_t, extract(x, y, z, 64, true))

/* bfi f, a, b, position, length: a's low bits into b. */
static inline uint64_t insert(uint64_t a, uint64_t b, uint32_t position, uint32_t length, int bits)
{
    position &= 255, length &= 255;
    if (length == 0 || position >= (uint32_t)bits)
        return b;
    uint64_t mask = length > 63 ? UINT64_MAX : ((uint64_t)1 << length) - 1;
    mask <<= position;
    return (b & ~mask) | (a << position & mask);
}

#define BFI(name, T, bits)                                                                         \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        const T *xs = SOURCE(warp, instruction, 0), *ys = SOURCE(warp, instruction, 1);            \
        const uint32_t *zs = SOURCE(warp, instruction, 2), *us = SOURCE(warp, instruction, 3);     \
        OPS_BODY_(T, (void)0, insert(xs[l], ys[l], zs[l], us[l], bits))                            \
    }
BFI(bfi_32, uint32_t, 32)
BFI(bfi_64, uint64_t, 64)

/* prmt: each selector nibble names one of the eight bytes y:x, bit 3 asks for its sign instead. */
static inline uint32_t permute(uint32_t x, uint32_t y, uint32_t selector)
{
    uint64_t bytes = (uint64_t)y << 32 | x;
    uint32_t result = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t nibble = selector >> 4 * i & 15;
        uint32_t byte = (uint32_t)(bytes >> 8 * (nibble & 7)) & 0xFF;
        if (nibble & 8)
            byte = byte & 0x80 ? 0xFF : 0;
        result |= byte << 8 * i;
    }
    return result;
}
/* The modes take the selector's low two bits: forward 4, backward 4, replicate 8, edge clamps, 16.
 */
static inline uint32_t prmt_selector(int mode, uint32_t control)
{
    static const uint16_t selectors[6][4] = {
        {0x3210, 0x4321, 0x5432, 0x6543}, /* f4e */
        {0x5670, 0x6701, 0x7012, 0x0123}, /* b4e */
        {0x0000, 0x1111, 0x2222, 0x3333}, /* rc8 */
        {0x3210, 0x3211, 0x3222, 0x3333}, /* ecl */
        {0x0000, 0x1110, 0x2210, 0x3210}, /* ecr */
        {0x1010, 0x3232, 0x1010, 0x3232}, /* rc16 */
    };
    return selectors[mode][control & 3];
}
OP3(prmt, uint32_t, uint32_t, uint32_t, uint32_t, permute(x, y, z))
OP3(prmt_f4e, uint32_t, uint32_t, uint32_t, uint32_t, permute(x, y, prmt_selector(0, z)))
OP3(prmt_b4e, uint32_t, uint32_t, uint32_t, uint32_t, permute(x, y, prmt_selector(1, z)))
OP3(prmt_rc8, uint32_t, uint32_t, uint32_t, uint32_t, permute(x, y, prmt_selector(2, z)))
OP3(prmt_ecl, uint32_t, uint32_t, uint32_t, uint32_t, permute(x, y, prmt_selector(3, z)))
OP3(prmt_ecr, uint32_t, uint32_t, uint32_t, uint32_t, permute(x, y, prmt_selector(4, z)))
OP3(prmt_rc16, uint32_t, uint32_t, uint32_t, uint32_t, permute(x, y, prmt_selector(5, z)))

/* lop3: bit by bit, the table entry that the three bits name; `aux` is the table. */
static enum next lop3(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    const uint32_t *xs = SOURCE(warp, instruction, 0), *ys = SOURCE(warp, instruction, 1);
    const uint32_t *zs = SOURCE(warp, instruction, 2);
    uint32_t terms[8];
    for (int i = 0; i < 8; i++)
        terms[i] = instruction->aux >> i & 1 ? UINT32_MAX : 0;
    OPS_BODY_(uint32_t, uint32_t x = xs[l]; uint32_t y = ys[l];
              uint32_t z = zs[l], (terms[0] & ~x & ~y & ~z) | (terms[1] & ~x & ~y & z) |
                                      (terms[2] & ~x & y & ~z) | (terms[3] & ~x & y & z) |
                                      (terms[4] & x & ~y & ~z) | (terms[5] & x & ~y & z) |
                                      (terms[6] & x & y & ~z) | (terms[7] & x & y & z))
}

/* d = lop3 and p = (d != 0) or q, and q: q is the last source. */
#define LOP3_PRED(name, combine)                                                                   \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        const uint32_t *xs = SOURCE(warp, instruction, 0), *ys = SOURCE(warp, instruction, 1);     \
        const uint32_t *zs = SOURCE(warp, instruction, 2);                                         \
        uint32_t q = predicate_source(warp, instruction, 3), some = 0, results[WARP_LANES];        \
        for (int l = 0; l < WARP_LANES; l++) {                                                     \
            results[l] = lop3_word(xs[l], ys[l], zs[l], instruction->aux);                         \
            some |= (uint32_t)(results[l] != 0) << l;                                              \
        }                                                                                          \
        uint32_t *d = DESTINATION(warp, instruction, 0);                                           \
        for (uint32_t left = lanes; left && instruction->destinations[0] >= 0; left &= left - 1)   \
            d[__builtin_ctz(left)] = results[__builtin_ctz(left)];                                 \
        set_predicate(warp, instruction->destinations[1], lanes, some combine q);                  \
        return NEXT_GO;                                                                            \
    }
static inline uint32_t lop3_word(uint32_t x, uint32_t y, uint32_t z, int32_t table)
{
    uint32_t result = 0;
    for (int i = 0; i < 8; i++)
        if (table >> i & 1)
            result |= (i & 4 ? x : ~x) & (i & 2 ? y : ~y) & (i & 1 ? z : ~z);
    return result;
}
LOP3_PRED(lop3_or, |)
LOP3_PRED(lop3_and, &)

/* bmsk: `width` ones from bit `position` on, cut at the top. */
static inline uint32_t bit_mask(uint32_t position, uint32_t width, bool clamp)
{
    if (clamp && position > 31)
        return 0;
    uint32_t from = UINT32_MAX << (position & 31), end = (position & 31) + (width & 31);
    return end > 31 || (clamp && width > 31) ? from : from & ~(UINT32_MAX << end);
}
OP2(bmsk_clamp, uint32_t, uint32_t, uint32_t, bit_mask(x, y, true))
OP2(bmsk_wrap, uint32_t, uint32_t, uint32_t, bit_mask(x, y, false))

/* szext: the low `width` bits as a number; none of them is 0, more than 31 are all. */
static inline uint32_t extend_low(uint32_t x, uint32_t width, bool clamp, bool is_signed)
{
    if (clamp && width > 31)
        return x;
    uint32_t above = UINT32_MAX << (width & 31), top = x >> ((width - 1) & 31) & 1;
    return is_signed && (width & 31) != 0 && top ? x | above : x & ~above;
}
OP2(szext_clamp_u32, uint32_t, uint32_t, uint32_t, extend_low(x, y, true, false))
OP2(szext_clamp_s32, uint32_t, uint32_t, uint32_t, extend_low(x, y, true, true))
OP2(szext_wrap_u32, uint32_t, uint32_t, uint32_t, extend_low(x, y, false, false))
OP2(szext_wrap_s32, uint32_t, uint32_t, uint32_t, extend_low(x, y, false, true))

/* fns: the place of the n-th bit that is 1, from `base` on upward, or downward where n is negative;
 * n = 0: `base` itself. All ones: there is none. */
static inline uint32_t find_nth(uint32_t mask, uint32_t base, int32_t n)
{
    if (n == 0)
        return base < 32 && mask >> base & 1 ? base : UINT32_MAX;
    uint32_t left = n < 0 ? 0 - (uint32_t)n : (uint32_t)n, step = n < 0 ? UINT32_MAX : 1;
    for (uint32_t at = base; at < 32; at += step)
        if (mask >> at & 1 && --left == 0)
            return at;
    return UINT32_MAX;
}
OP3(fns, uint32_t, uint32_t, uint32_t, int32_t, find_nth(x, y, z))

/* ---- moves ---------------------------------------------------------------------------------- */

OP1(mov_32, uint32_t, uint32_t, x)
OP1(mov_64, uint64_t, uint64_t, x)

/* Packing and unpacking: {h, h} and w, {w, w} and d, {h, h, h, h} and d. */
OP2(pack_hh, uint32_t, uint32_t, uint32_t, (x & 0xFFFFu) | y << 16)
OP2(pack_ww, uint64_t, uint32_t, uint32_t, x | (uint64_t)y << 32)

static enum next pack_hhhh(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    const uint32_t *xs = SOURCE(warp, instruction, 0), *ys = SOURCE(warp, instruction, 1);
    const uint32_t *zs = SOURCE(warp, instruction, 2), *us = SOURCE(warp, instruction, 3);
    OPS_BODY_(uint64_t, (void)0,
              (uint64_t)(xs[l] & 0xFFFFu) | (uint64_t)(ys[l] & 0xFFFFu) << 16 |
                  (uint64_t)(zs[l] & 0xFFFFu) << 32 | (uint64_t)us[l] << 48)
}

/* Each part of a lane to its own register; a sink is left out. */
#define UNPACK(name, T, parts, bits)                                                               \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        T from[WARP_LANES]; /* a destination may be the source */                                  \
        memcpy(from, SOURCE(warp, instruction, 0), sizeof from);                                   \
        for (int part = 0; part < (parts); part++) {                                               \
            if (instruction->destinations[part] < 0)                                               \
                continue;                                                                          \
            uint32_t *d = DESTINATION(warp, instruction, part);                                    \
            FOR_LANES(l)                                                                           \
            {                                                                                      \
                uint32_t value = (uint32_t)(from[l] >> (bits)*part);                               \
                value = (bits) == 16 ? value & 0xFFFFu : value;                                    \
                d[l] = lanes >> l & 1 ? value : d[l];                                              \
            }                                                                                      \
        }                                                                                          \
        return NEXT_GO;                                                                            \
    }
UNPACK(unpack_hh, uint32_t, 2, 16)
UNPACK(unpack_ww, uint64_t, 2, 32)
UNPACK(unpack_hhhh, uint64_t, 4, 16)

/* selp d, a, b, p */
#define SELP(name, T)                                                                              \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        const T *xs = SOURCE(warp, instruction, 0), *ys = SOURCE(warp, instruction, 1);            \
        uint32_t chosen = predicate_source(warp, instruction, 2);                                  \
        OPS_BODY_(T, T x = xs[l]; T y = ys[l], chosen >> l & 1 ? x : y)                            \
    }
SELP(selp_32, uint32_t)
SELP(selp_64, uint64_t)

/* slct d, a, b, c: a where c >= 0. .ftz: a subnormal c is a zero. */
#define FLUSHED_ZERO(z) ((bits_from_float(z) & 0x7F800000u) == 0)
OP3(slct_32_s32, uint32_t, uint32_t, uint32_t, int32_t, z >= 0 ? x : y)
OP3(slct_64_s32, uint64_t, uint64_t, uint64_t, int32_t, z >= 0 ? x : y)
OP3(slct_32_f32, uint32_t, uint32_t, uint32_t, float, z >= 0 ? x : y)
OP3(slct_64_f32, uint64_t, uint64_t, uint64_t, float, z >= 0 ? x : y)
OP3(slct_32_ftz, uint32_t, uint32_t, uint32_t, float, z >= 0 || FLUSHED_ZERO(z) ? x : y)
OP3(slct_64_ftz, uint64_t, uint64_t, uint64_t, float, z >= 0 || FLUSHED_ZERO(z) ? x : y)

/* ---- predicates ----------------------------------------------------------------------------- */

#define PREDICATE_OP(name, expression)                                                             \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        uint32_t x = predicate_source(warp, instruction, 0);                                       \
        uint32_t y = instruction->n_sources > 1 ? predicate_source(warp, instruction, 1) : 0;      \
        (void)y;                                                                                   \
        set_predicate(warp, instruction->destinations[0], lanes, expression);                      \
        return NEXT_GO;                                                                            \
    }
PREDICATE_OP(and_pred, x &y)
PREDICATE_OP(or_pred, x | y)
PREDICATE_OP(xor_pred, x ^ y)
PREDICATE_OP(not_pred, ~x)
PREDICATE_OP(mov_pred, x)

/* mov.pred p, 1 */
static enum next mov_pred_constant(struct warp *warp, const struct instruction *instruction,
                                   uint32_t lanes)
{
    set_predicate(warp, instruction->destinations[0], lanes, instruction->aux ? ALL_LANES : 0);
    return NEXT_GO;
}

#define FORM(opcode, operands, run)                                                                \
    {                                                                                              \
        opcode, operands, CLASS_INTEGER, run                                                       \
    }
#define THREE(opcode, operator)                                                                    \
    FORM(opcode ".b16", "h=hh", operator##_32), FORM(opcode ".b32", "w=ww", operator##_32),        \
        FORM(opcode ".b64", "d=dd", operator##_64), FORM(opcode ".pred", "p=pp", operator##_pred)
/* All types of 16, 32 and 64 bits but .b32 and .b64. */
#define TYPED(opcode, operands16, operands32, operands64, run32, run64)                            \
    FORM(opcode ".b16", operands16, run32), FORM(opcode ".u16", operands16, run32),                \
        FORM(opcode ".s16", operands16, run32), FORM(opcode ".f16", operands16, run32),            \
        FORM(opcode ".bf16", operands16, run32), FORM(opcode ".u32", operands32, run32),           \
        FORM(opcode ".s32", operands32, run32), FORM(opcode ".f32", operands32, run32),            \
        FORM(opcode ".u64", operands64, run64), FORM(opcode ".s64", operands64, run64),            \
        FORM(opcode ".f64", operands64, run64)
#define SLCT(type, operands, run)                                                                  \
    FORM("slct." type ".s32", operands, run##_s32),                                                \
        FORM("slct." type ".f32", operands, run##_f32),                                            \
        FORM("slct.ftz." type ".f32", operands, run##_ftz)

const struct form OPS_EXPORT(forms_logic)[] = {
    THREE("and", and),
    THREE("or", or),
    THREE("xor", xor),
    FORM("not.b16", "h=h", not_16),
    FORM("not.b32", "w=w", not_32),
    FORM("not.b64", "d=d", not_64),
    FORM("not.pred", "p=p", not_pred),
    FORM("cnot.b16", "h=h", cnot_16),
    FORM("cnot.b32", "w=w", cnot_32),
    FORM("cnot.b64", "d=d", cnot_64),
    FORM("shl.b16", "h=hw", shl_16),
    FORM("shl.b32", "w=ww", shl_32),
    FORM("shl.b64", "d=dw", shl_64),
    FORM("shr.u16", "h=hw", shr_u16),
    FORM("shr.b16", "h=hw", shr_u16),
    FORM("shr.s16", "h=hw", shr_s16),
    FORM("shr.u32", "w=ww", shr_u32),
    FORM("shr.b32", "w=ww", shr_u32),
    FORM("shr.s32", "w=ww", shr_s32),
    FORM("shr.u64", "d=dw", shr_u64),
    FORM("shr.b64", "d=dw", shr_u64),
    FORM("shr.s64", "d=dw", shr_s64),
    FORM("shf.l.wrap.b32", "w=www", shf_l_wrap),
    FORM("shf.l.clamp.b32", "w=www", shf_l_clamp),
    FORM("shf.r.wrap.b32", "w=www", shf_r_wrap),
    FORM("shf.r.clamp.b32", "w=www", shf_r_clamp),
    FORM("brev.b32", "w=w", brev_32),
    FORM("brev.b64", "d=d", brev_64),
    FORM("popc.b32", "w=w", popc_32),
    FORM("popc.b64", "w=d", popc_64),
    FORM("clz.b32", "w=w", clz_32),
    FORM("clz.b64", "w=d", clz_64),
    FORM("bfind.u32", "w=w", bfind_u32),
    FORM("bfind.s32", "w=w", bfind_s32),
    FORM("bfind.u64", "w=d", bfind_u64),
    FORM("bfind.s64", "w=d", bfind_s64),
    FORM("bfind.shiftamt.u32", "w=w", bfind_shift_u32),
    FORM("bfind.shiftamt.s32", "w=w", bfind_shift_s32),
    FORM("bfind.shiftamt.u64", "w=d", bfind_shift_u64),
    FORM("bfind.shiftamt.s64", "w=d", bfind_shift_s64),
    FORM("bfe.u32", "w=www", bfe_u32),
    FORM("bfe.s32", "w=www", bfe_s32),
    FORM("bfe.u64", "d=dww", bfe_u64),
    FORM("bfe.s64", "d=dww", bfe_s64),
    FORM("bfi.b32", "w=wwww", bfi_32),
    FORM("bfi.b64", "d=ddww", bfi_64),
    FORM("prmt.b32", "w=www", prmt),
    FORM("prmt.b32.f4e", "w=www", prmt_f4e),
    FORM("prmt.b32.b4e", "w=www", prmt_b4e),
    FORM("prmt.b32.rc8", "w=www", prmt_rc8),
    FORM("prmt.b32.ecl", "w=www", prmt_ecl),
    FORM("prmt.b32.ecr", "w=www", prmt_ecr),
    FORM("prmt.b32.rc16", "w=www", prmt_rc16),
    FORM("lop3.b32", "w=wwwi", lop3),
    FORM("lop3.or.b32", "Dwp=wwwip", lop3_or),
    FORM("lop3.and.b32", "Dwp=wwwip", lop3_and),
    FORM("bmsk.clamp.b32", "w=ww", bmsk_clamp),
    FORM("bmsk.wrap.b32", "w=ww", bmsk_wrap),
    FORM("szext.clamp.u32", "w=ww", szext_clamp_u32),
    FORM("szext.clamp.s32", "w=ww", szext_clamp_s32),
    FORM("szext.wrap.u32", "w=ww", szext_wrap_u32),
    FORM("szext.wrap.s32", "w=ww", szext_wrap_s32),
    FORM("fns.b32", "w=www", fns),
    TYPED("mov", "h=h", "w=w", "d=d", mov_32, mov_64),
    FORM("mov.b32", "w=w", mov_32),
    FORM("mov.b32", "w=2h", pack_hh),
    FORM("mov.b32", "2h=w", unpack_hh),
    FORM("mov.b64", "d=d", mov_64),
    FORM("mov.b64", "d=2w", pack_ww),
    FORM("mov.b64", "d=4h", pack_hhhh),
    FORM("mov.b64", "2w=d", unpack_ww),
    FORM("mov.b64", "4h=d", unpack_hhhh),
    FORM("mov.pred", "p=p", mov_pred),
    FORM("mov.pred", "p=i", mov_pred_constant),
    TYPED("selp", "h=hhp", "w=wwp", "d=ddp", selp_32, selp_64),
    FORM("selp.b32", "w=wwp", selp_32),
    FORM("selp.b64", "d=ddp", selp_64),
    SLCT("b16", "h=hhw", slct_32),
    SLCT("u16", "h=hhw", slct_32),
    SLCT("s16", "h=hhw", slct_32),
    SLCT("b32", "w=www", slct_32),
    SLCT("u32", "w=www", slct_32),
    SLCT("s32", "w=www", slct_32),
    SLCT("f32", "w=www", slct_32),
    SLCT("b64", "d=ddw", slct_64),
    SLCT("u64", "d=ddw", slct_64),
    SLCT("s64", "d=ddw", slct_64),
    SLCT("f64", "d=ddw", slct_64),
    {0},
};
