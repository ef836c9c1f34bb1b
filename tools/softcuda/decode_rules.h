/* Which combinations of an opcode's variable parts exist, and which registers go with a type: the
 * tables of the PTX ISA manual that a list of forms does not show. */
#ifndef SOFTCUDA_DECODE_RULES_H
#define SOFTCUDA_DECODE_RULES_H

#include "tools/softcuda/decode.h"
#include "tools/softcuda/op_fields.h"

/* cvt.ROUNDING.FLAGS.TO.FROM */
bool rules_convert(enum ptx_type to, enum ptx_type from, enum rounding rounding, int flags);
/* set and setp with sources of a type. */
bool rules_compare(enum ptx_type type, enum comparison comparison, bool ftz);
/* atom and red. */
bool rules_atomic(enum atomic_operation operation, enum ptx_type type, bool reduction);

/* An arithmetic instruction's registers are of its type's kind: add.f32 does not take .s32. */
bool rules_kinds(const struct decoder *decoder, const struct flat *flat,
                 const struct instruction *instruction);
/* Of ld, st, atom and cvt the register must hold the type, and may be wider than an integer; those
 * of a vector, and of an atomic's result and operands, are all alike. Sets the instruction's fields
 * that say so. */
bool rules_widths(const struct decoder *decoder, const struct flat *flat,
                  struct instruction *instruction);

/* set and setp have a third operand where the opcode says how it is combined, and only there. */
bool rules_combined(const struct instruction *instruction);
/* Constants that an opcode allows: the bytes of a copy or of a line, the groups of a wait. */
bool rules_constants(const struct instruction *instruction);

bool type_is_float(enum ptx_type type);  /* f16, bf16, tf32, f32, f64; no pairs */
bool type_is_signed(enum ptx_type type); /* s8 to s64 */

#endif
