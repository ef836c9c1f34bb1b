/* What the files of handlers share. Each is compiled twice, portable and for AVX2 (see the
 * Makefile); SOFTCUDA_ISA is the suffix of everything that it exports.
 *
 * A handler is a loop over 32 lanes that the compiler turns into vector code, once plain for a full
 * warp and once merging by the mask. */
#ifndef SOFTCUDA_OPS_H
#define SOFTCUDA_OPS_H

#include <math.h>
#include <string.h>
#include "host/base/float16.h"
#include "tools/softcuda/forms.h"
#include "tools/softcuda/machine.h"

#define OPS_JOIN_(a, b)  a##_##b
#define OPS_JOIN(a, b)   OPS_JOIN_(a, b)
#define OPS_EXPORT(name) OPS_JOIN(name, SOFTCUDA_ISA)

/* For what handlers share: with the constants of each it becomes a loop of its own. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* A destination may be a source, lane by lane; gcc is told that no other overlap matters. */
#if defined(__clang__)
#define FOR_LANES(l) for (int l = 0; l < WARP_LANES; l++)
#else
#define FOR_LANES(l) _Pragma("GCC ivdep") for (int l = 0; l < WARP_LANES; l++)
#endif

/* A handler for d = expression of x (and y, and z), lane by lane. TD, TX, ...: the types of a lane
 * in the register file: uint32_t, int32_t, float, uint64_t, int64_t, double. */
#define OPS_BODY_(TD, read, expression)                                                            \
    TD *d = DESTINATION(warp, instruction, 0);                                                     \
    if (lanes == ALL_LANES) {                                                                      \
        FOR_LANES(l)                                                                               \
        {                                                                                          \
            read;                                                                                  \
            d[l] = (TD)(expression);                                                               \
        }                                                                                          \
    } else {                                                                                       \
        FOR_LANES(l)                                                                               \
        {                                                                                          \
            read;                                                                                  \
            TD result = (TD)(expression);                                                          \
            d[l] = lanes >> l & 1 ? result : d[l];                                                 \
        }                                                                                          \
    }                                                                                              \
    return NEXT_GO;

#define OP1(name, TD, TX, expression)                                                              \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        const TX *xs = SOURCE(warp, instruction, 0);                                               \
        OPS_BODY_(TD, TX x = xs[l], expression)                                                    \
    }

#define OP2(name, TD, TX, TY, expression)                                                          \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        const TX *xs = SOURCE(warp, instruction, 0);                                               \
        const TY *ys = SOURCE(warp, instruction, 1);                                               \
        OPS_BODY_(TD, TX x = xs[l]; TY y = ys[l], expression)                                      \
    }

#define OP3(name, TD, TX, TY, TZ, expression)                                                      \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        const TX *xs = SOURCE(warp, instruction, 0);                                               \
        const TY *ys = SOURCE(warp, instruction, 1);                                               \
        const TZ *zs = SOURCE(warp, instruction, 2);                                               \
        OPS_BODY_(TD, TX x = xs[l]; TY y = ys[l]; TZ z = zs[l], expression)                        \
    }

/* Source i is a predicate: its lanes, negated where the instruction says so. */
static inline uint32_t predicate_source(const struct warp *warp,
                                        const struct instruction *instruction, int i)
{
    uint32_t value = warp->predicates[instruction->sources[i]];
    return instruction->negated_sources >> i & 1 ? ~value : value;
}

static inline void set_predicate(struct warp *warp, int32_t destination, uint32_t lanes,
                                 uint32_t value)
{
    if (destination >= 0)
        warp->predicates[destination] = (warp->predicates[destination] & ~lanes) | (value & lanes);
}

/* f32 results that are NaN have these bits: the cards keep no payload. */
static inline float canonical(float r)
{
    return r != r ? float_from_bits(0x7FFFFFFFu) : r;
}

/* .ftz: subnormal numbers become zeros of their sign. */
static inline float flush(float x)
{
    uint32_t bits = bits_from_float(x);
    return float_from_bits(bits & 0x7F800000u ? bits : bits & 0x80000000u);
}

static inline uint64_t double_bits(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double double_of(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

#endif
