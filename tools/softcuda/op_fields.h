/* Fields of instructions whose opcodes have many variable parts: how decode.c packs them into `aux`
 * and handlers take them out. */
#ifndef SOFTCUDA_OP_FIELDS_H
#define SOFTCUDA_OP_FIELDS_H

#include "tools/softcuda/ptx.h"

/* atom, red: aux */
enum atomic_operation {
    ATOMIC_ADD,
    ATOMIC_MIN,
    ATOMIC_MAX,
    ATOMIC_INC,
    ATOMIC_DEC,
    ATOMIC_AND,
    ATOMIC_OR,
    ATOMIC_XOR,
    ATOMIC_CAS,
    ATOMIC_EXCH,
};

/* setp, set: aux; unordered ones are true where an operand is NaN */
enum comparison {
    COMPARE_EQ,
    COMPARE_NE,
    COMPARE_LT,
    COMPARE_LE,
    COMPARE_GT,
    COMPARE_GE,
    COMPARE_LO,
    COMPARE_LS,
    COMPARE_HI,
    COMPARE_HS,
    COMPARE_EQU,
    COMPARE_NEU,
    COMPARE_LTU,
    COMPARE_LEU,
    COMPARE_GTU,
    COMPARE_GEU,
    COMPARE_NUM,
    COMPARE_NAN,
};

/* setp, set: aux2, bit 8 is .ftz */
enum combination {
    COMBINE_NONE,
    COMBINE_AND,
    COMBINE_OR,
    COMBINE_XOR,
};

/* cvt: aux holds destination type, source type, rounding and flags, 8 bits each. */
enum rounding {
    ROUND_NONE,
    ROUND_RN,  /* to nearest even */
    ROUND_RZ,  /* toward zero */
    ROUND_RM,  /* down */
    ROUND_RP,  /* up */
    ROUND_RNI, /* the same to an integral value */
    ROUND_RZI,
    ROUND_RMI,
    ROUND_RPI,
    ROUND_RNA, /* to nearest, ties away from zero */
};
#define CONVERT_FTZ       1
#define CONVERT_SAT       2
#define CONVERT_RELU      4
#define CONVERT_SATFINITE 8

static inline int32_t convert_pack(enum ptx_type to, enum ptx_type from, int rounding, int flags)
{
    return (int32_t)((uint32_t)to | (uint32_t)from << 8 | (uint32_t)rounding << 16 |
                     (uint32_t)flags << 24);
}
static inline enum ptx_type convert_target(int32_t aux)
{
    return (enum ptx_type)(aux & 255);
}
static inline enum ptx_type convert_source(int32_t aux)
{
    return (enum ptx_type)(aux >> 8 & 255);
}
static inline enum rounding convert_rounding(int32_t aux)
{
    return (enum rounding)(aux >> 16 & 255);
}
static inline int convert_flags(int32_t aux)
{
    return aux >> 24 & 255;
}

#endif
