/* Integer arithmetic of many words: add.cc and its like put a carry, or a borrow, into the thread's
 * flag CC.CF, addc and its like take it in. The flag is a predicate that no name reaches; the
 * letter 'c' of a form stands for it (forms.h). */
#include "tools/softcuda/ops.h"

/* The flag before the instruction as 0 or 1. It is the last source, and the last destination. */
#define CARRY(name, T, sources, read, in, value, overflow)                                         \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        sources uint32_t flags = (in) ? predicate_source(warp, instruction, (in)) : 0,             \
                         carries = 0;                                                              \
        T results[WARP_LANES];                                                                     \
        for (int l = 0; l < WARP_LANES; l++) {                                                     \
            read;                                                                                  \
            T carry = (T)(flags >> l & 1), result = (T)(value);                                    \
            results[l] = result;                                                                   \
            carries |= (uint32_t)(overflow) << l;                                                  \
        }                                                                                          \
        T *d = DESTINATION(warp, instruction, 0);                                                  \
        for (uint32_t left = lanes; left && instruction->destinations[0] >= 0; left &= left - 1)   \
            d[__builtin_ctz(left)] = results[__builtin_ctz(left)];                                 \
        if (instruction->n_destinations > 1)                                                       \
            set_predicate(warp, instruction->destinations[1], lanes, carries);                     \
        return NEXT_GO;                                                                            \
    }
#define TWO(T) const T *xs = SOURCE(warp, instruction, 0), *ys = SOURCE(warp, instruction, 1);
#define THREE(T)                                                                                   \
    TWO(T)                                                                                         \
    const T *zs = SOURCE(warp, instruction, 2);

/* x + y + carry goes over where it is less than x, or as much with a carry. */
#define OVER(x) (result < (x) || (carry && result == (x)))
#define ADD(name, T, in)                                                                           \
    CARRY(name, T, TWO(T), T x = xs[l]; T y = ys[l], in, x + y + carry, OVER(x))
/* x - y - borrow. */
#define SUB(name, T, in)                                                                           \
    CARRY(name, T, TWO(T), T x = xs[l]; T y = ys[l], in, x - y - carry, x < y || (carry && x == y))
/* A half of x * y, then z + carry added. */
#define MAD(name, T, in, half)                                                                     \
    CARRY(name, T, THREE(T), T x = xs[l]; T y = ys[l];                                             \
          T product = (T)(half), in, product + zs[l] + carry, OVER(product))
#define HIGH_U32 ((uint64_t)x * y >> 32)
#define HIGH_S32 ((uint64_t)((int64_t)(int32_t)x * (int32_t)y) >> 32)
#define HIGH_U64 ((unsigned __int128)x * y >> 64)
#define HIGH_S64 ((unsigned __int128)((__int128)(int64_t)x * (int64_t)y) >> 64)

ADD(add_32, uint32_t, 0)
ADD(add_64, uint64_t, 0)
ADD(addc_32, uint32_t, 2)
ADD(addc_64, uint64_t, 2)
SUB(sub_32, uint32_t, 0)
SUB(sub_64, uint64_t, 0)
SUB(subc_32, uint32_t, 2)
SUB(subc_64, uint64_t, 2)
MAD(mad_lo_32, uint32_t, 0, x *y)
MAD(mad_lo_64, uint64_t, 0, x *y)
MAD(madc_lo_32, uint32_t, 3, x *y)
MAD(madc_lo_64, uint64_t, 3, x *y)
MAD(mad_hi_u32, uint32_t, 0, HIGH_U32)
MAD(mad_hi_s32, uint32_t, 0, HIGH_S32)
MAD(mad_hi_u64, uint64_t, 0, HIGH_U64)
MAD(mad_hi_s64, uint64_t, 0, HIGH_S64)
MAD(madc_hi_u32, uint32_t, 3, HIGH_U32)
MAD(madc_hi_s32, uint32_t, 3, HIGH_S32)
MAD(madc_hi_u64, uint64_t, 3, HIGH_U64)
MAD(madc_hi_s64, uint64_t, 3, HIGH_S64)

#define FORM(opcode, operands, run)                                                                \
    {                                                                                              \
        opcode, operands, CLASS_INTEGER, run                                                       \
    }
/* That which puts a carry, that which takes one, that which does both. */
#define TRIO(base, part, type, letters, result, run_out, run_in)                                   \
    FORM(base part ".cc." type, result "c=" letters, run_out),                                     \
        FORM(base "c" part "." type, result "=" letters "c", run_in),                              \
        FORM(base "c" part ".cc." type, result "c=" letters "c", run_in)

const struct form OPS_EXPORT(forms_carry)[] = {
    TRIO("add", "", "u32", "ww", "w", add_32, addc_32),
    TRIO("add", "", "s32", "ww", "w", add_32, addc_32),
    TRIO("add", "", "u64", "dd", "d", add_64, addc_64),
    TRIO("add", "", "s64", "dd", "d", add_64, addc_64),
    TRIO("sub", "", "u32", "ww", "w", sub_32, subc_32),
    TRIO("sub", "", "s32", "ww", "w", sub_32, subc_32),
    TRIO("sub", "", "u64", "dd", "d", sub_64, subc_64),
    TRIO("sub", "", "s64", "dd", "d", sub_64, subc_64),
    TRIO("mad", ".lo", "u32", "www", "w", mad_lo_32, madc_lo_32),
    TRIO("mad", ".lo", "s32", "www", "w", mad_lo_32, madc_lo_32),
    TRIO("mad", ".lo", "u64", "ddd", "d", mad_lo_64, madc_lo_64),
    TRIO("mad", ".lo", "s64", "ddd", "d", mad_lo_64, madc_lo_64),
    TRIO("mad", ".hi", "u32", "www", "w", mad_hi_u32, madc_hi_u32),
    TRIO("mad", ".hi", "s32", "www", "w", mad_hi_s32, madc_hi_s32),
    TRIO("mad", ".hi", "u64", "ddd", "d", mad_hi_u64, madc_hi_u64),
    TRIO("mad", ".hi", "s64", "ddd", "d", mad_hi_s64, madc_hi_s64),
    {0},
};
