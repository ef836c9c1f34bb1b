/* setp and set: two values compared, perhaps combined with a predicate. */
#include "tools/softcuda/half.h"
#include "tools/softcuda/op_fields.h"
#include "tools/softcuda/ops.h"

/* A comparison's lanes as bits. Ordered ones are false where an operand is NaN; `unordered` says
 * which are. */
#define COMPARE_LANES(T, operator)                                                                 \
    for (int l = 0; l < WARP_LANES; l++)                                                           \
    result |= (uint32_t)(x[l] operator y[l]) << l

#define COMPARE(name, T)                                                                           \
    static uint32_t name(const T *x, const T *y, int comparison)                                   \
    {                                                                                              \
        uint32_t result = 0, unordered = 0;                                                        \
        for (int l = 0; l < WARP_LANES; l++)                                                       \
            unordered |= (uint32_t)(x[l] != x[l] || y[l] != y[l]) << l;                            \
        switch (comparison) {                                                                      \
        case COMPARE_EQ:                                                                           \
        case COMPARE_EQU:                                                                          \
            COMPARE_LANES(T, ==);                                                                  \
            break;                                                                                 \
        case COMPARE_NE:                                                                           \
            COMPARE_LANES(T, !=);                                                                  \
            return result & ~unordered;                                                            \
        case COMPARE_NEU:                                                                          \
            COMPARE_LANES(T, !=);                                                                  \
            return result;                                                                         \
        case COMPARE_LT:                                                                           \
        case COMPARE_LTU:                                                                          \
        case COMPARE_LO:                                                                           \
            COMPARE_LANES(T, <);                                                                   \
            break;                                                                                 \
        case COMPARE_LE:                                                                           \
        case COMPARE_LEU:                                                                          \
        case COMPARE_LS:                                                                           \
            COMPARE_LANES(T, <=);                                                                  \
            break;                                                                                 \
        case COMPARE_GT:                                                                           \
        case COMPARE_GTU:                                                                          \
        case COMPARE_HI:                                                                           \
            COMPARE_LANES(T, >);                                                                   \
            break;                                                                                 \
        case COMPARE_GE:                                                                           \
        case COMPARE_GEU:                                                                          \
        case COMPARE_HS:                                                                           \
            COMPARE_LANES(T, >=);                                                                  \
            break;                                                                                 \
        case COMPARE_NUM:                                                                          \
            return ~unordered;                                                                     \
        case COMPARE_NAN:                                                                          \
            return unordered;                                                                      \
        }                                                                                          \
        return comparison >= COMPARE_EQU ? result | unordered : result;                            \
    }
COMPARE(compare_s32, int32_t)
COMPARE(compare_u32, uint32_t)
COMPARE(compare_s64, int64_t)
COMPARE(compare_u64, uint64_t)
COMPARE(compare_f32, float)
COMPARE(compare_f64, double)

/* .ftz: subnormal numbers are zeros of their sign. */
static uint32_t flushed(uint32_t bits, const struct instruction *instruction)
{
    bool keep = !(instruction->aux2 >> 8) || (bits & 0x7F800000u);
    return keep ? bits : bits & 0x80000000u;
}
static float half_source(uint32_t bits, const struct instruction *instruction, bool bf16)
{
    if (instruction->aux2 >> 8 && !(bits & 0x7C00u))
        bits &= 0x8000u;
    return half_to_float((uint16_t)bits, bf16);
}

/* The sources as the type says, compared. */
static uint32_t compare(const struct warp *warp, const struct instruction *instruction,
                        enum ptx_type type)
{
    const void *x = SOURCE(warp, instruction, 0), *y = SOURCE(warp, instruction, 1);
    int comparison = instruction->aux;
    uint32_t a[WARP_LANES], b[WARP_LANES];
    float fa[WARP_LANES], fb[WARP_LANES];
    memcpy(a, x, sizeof a);
    memcpy(b, y, sizeof b);
    switch (type) {
    case PTX_S16:
        for (int l = 0; l < WARP_LANES; l++)
            a[l] = (uint32_t)(int16_t)a[l], b[l] = (uint32_t)(int16_t)b[l];
        return compare_s32((const int32_t *)a, (const int32_t *)b, comparison);
    case PTX_F16:
    case PTX_BF16:
        for (int l = 0; l < WARP_LANES; l++) {
            fa[l] = half_source(a[l], instruction, type == PTX_BF16);
            fb[l] = half_source(b[l], instruction, type == PTX_BF16);
        }
        return compare_f32(fa, fb, comparison);
    case PTX_F32:
        for (int l = 0; l < WARP_LANES; l++)
            a[l] = flushed(a[l], instruction), b[l] = flushed(b[l], instruction);
        memcpy(fa, a, sizeof fa);
        memcpy(fb, b, sizeof fb);
        return compare_f32(fa, fb, comparison);
    case PTX_F64:
        return compare_f64(x, y, comparison);
    case PTX_S32:
        return compare_s32(x, y, comparison);
    case PTX_S64:
        return compare_s64(x, y, comparison);
    case PTX_B64:
    case PTX_U64:
        return compare_u64(x, y, comparison);
    default:
        return compare_u32(a, b, comparison);
    }
}

static uint32_t combine(const struct warp *warp, const struct instruction *instruction,
                        uint32_t result)
{
    if (instruction->n_sources < 3)
        return result;
    uint32_t third = predicate_source(warp, instruction, 2);
    switch (instruction->aux2 & 255) {
    case COMBINE_AND:
        return result & third;
    case COMBINE_OR:
        return result | third;
    case COMBINE_XOR:
        return result ^ third;
    default:
        return result;
    }
}

static enum next setp(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    uint32_t result = compare(warp, instruction, (enum ptx_type)instruction->type);
    /* The second result is the comparison's opposite, combined alike. */
    uint32_t second = combine(warp, instruction, ~result);
    set_predicate(warp, instruction->destinations[0], lanes, combine(warp, instruction, result));
    set_predicate(warp, instruction->destinations[1], lanes, second);
    return NEXT_GO;
}

/* true: all ones in an integer type, 1.0 in f32. */
static uint32_t yes_value(enum ptx_type type)
{
    switch (type) {
    case PTX_F32:
        return 0x3F800000u;
    case PTX_F16:
        return 0x3C00u;
    case PTX_BF16:
        return 0x3F80u;
    default:
        return ptx_type_size(type) == 2 ? 0xFFFFu : UINT32_MAX;
    }
}

#define SET(name, source_type)                                                                     \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        uint32_t true_lanes = combine(warp, instruction, compare(warp, instruction, source_type)); \
        uint32_t yes = yes_value((enum ptx_type)instruction->type);                                \
        OPS_BODY_(uint32_t, (void)0, true_lanes >> l & 1 ? yes : 0)                                \
    }
SET(set_u32, PTX_U32)
SET(set_s32, PTX_S32)
SET(set_u64, PTX_U64)
SET(set_s64, PTX_S64)
SET(set_u16, PTX_U16)
SET(set_s16, PTX_S16)
SET(set_f32, PTX_F32)
SET(set_f64, PTX_F64)
SET(set_f16, PTX_F16)
SET(set_bf16, PTX_BF16)

/* Pairs: each half on its own. */
static uint32_t compare_halves(const struct warp *warp, const struct instruction *instruction,
                               int shift, bool bf16)
{
    const uint32_t *x = SOURCE(warp, instruction, 0), *y = SOURCE(warp, instruction, 1);
    float a[WARP_LANES], b[WARP_LANES];
    for (int l = 0; l < WARP_LANES; l++) {
        a[l] = half_source(x[l] >> shift & 0xFFFFu, instruction, bf16);
        b[l] = half_source(y[l] >> shift & 0xFFFFu, instruction, bf16);
    }
    return compare_f32(a, b, instruction->aux);
}

/* setp.lt.f16x2 p|q: the low halves give p, the high ones q. */
static enum next setp_x2(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    bool bf16 = instruction->type == PTX_BF16X2;
    /* Both before either is set: p may be the predicate that they are combined with. */
    uint32_t low = combine(warp, instruction, compare_halves(warp, instruction, 0, bf16));
    uint32_t high = combine(warp, instruction, compare_halves(warp, instruction, 16, bf16));
    set_predicate(warp, instruction->destinations[0], lanes, low);
    set_predicate(warp, instruction->destinations[1], lanes, high);
    return NEXT_GO;
}

/* 1.0 in each half, or all of its bits where the result is an integer. */
static uint32_t yes_half(enum ptx_type type)
{
    return type == PTX_F16X2 ? 0x3C00u : type == PTX_BF16X2 ? 0x3F80u : 0xFFFFu;
}

#define SET_X2(name, bf16)                                                                         \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        uint32_t yes = yes_half((enum ptx_type)instruction->type);                                 \
        uint32_t low = combine(warp, instruction, compare_halves(warp, instruction, 0, bf16));     \
        uint32_t high = combine(warp, instruction, compare_halves(warp, instruction, 16, bf16));   \
        OPS_BODY_(uint32_t, (void)0, (low >> l & 1 ? yes : 0) | (high >> l & 1 ? yes << 16 : 0))   \
    }
SET_X2(set_f16x2, false)
SET_X2(set_bf16x2, true)

#define SETP(type, operands)                                                                       \
    {                                                                                              \
        "setp." type, "Dpp=" operands "?p", CLASS_INTEGER, setp                                    \
    }
#define SET_FORM(to, type, operands, run)                                                          \
    {                                                                                              \
        "set." to "." type, operands, CLASS_INTEGER, run                                           \
    }
#define SETS(type, operands, run)                                                                  \
    SET_FORM("u32", type, "w=" operands "?p", run),                                                \
        SET_FORM("s32", type, "w=" operands "?p", run),                                            \
        SET_FORM("f32", type, "w=" operands "?p", run),                                            \
        SET_FORM("f16", type, "h=" operands "?p", run),                                            \
        SET_FORM("bf16", type, "h=" operands "?p", run)
/* Of halves to integers of their own width too. */
#define SET_HALVES(type, run)                                                                      \
    SETS(type, "hh", run), SET_FORM("u16", type, "h=hh?p", run),                                   \
        SET_FORM("s16", type, "h=hh?p", run), SET_FORM("u32", type "x2", "w=ww?p", run##x2),       \
        SET_FORM("s32", type "x2", "w=ww?p", run##x2),                                             \
        SET_FORM(type "x2", type "x2", "w=ww?p", run##x2)

const struct form OPS_EXPORT(forms_compare)[] = {
    SETP("b16", "hh"),
    SETP("u16", "hh"),
    SETP("s16", "hh"),
    SETP("b32", "ww"),
    SETP("u32", "ww"),
    SETP("s32", "ww"),
    SETP("b64", "dd"),
    SETP("u64", "dd"),
    SETP("s64", "dd"),
    SETP("f32", "ww"),
    SETP("f64", "dd"),
    SETP("f16", "hh"),
    SETP("bf16", "hh"),
    {"setp.f16x2", "Dpp=ww?p", CLASS_HALF, setp_x2},
    {"setp.bf16x2", "Dpp=ww?p", CLASS_HALF, setp_x2},
    SETS("b16", "hh", set_u16),
    SETS("u16", "hh", set_u16),
    SETS("s16", "hh", set_s16),
    SETS("b32", "ww", set_u32),
    SETS("u32", "ww", set_u32),
    SETS("s32", "ww", set_s32),
    SETS("b64", "dd", set_u64),
    SETS("u64", "dd", set_u64),
    SETS("s64", "dd", set_s64),
    SETS("f32", "ww", set_f32),
    SETS("f64", "dd", set_f64),
    SET_HALVES("f16", set_f16),
    SET_HALVES("bf16", set_bf16),
    {0},
};
