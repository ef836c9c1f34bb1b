/* The table of forms: each opcode that can be run, written as PTX writes it, with what its operands
 * are and the handler that runs it. Decoding looks here and nowhere else, so that the table is the
 * list of what softcuda knows; tests/softcuda walks it too. */
#ifndef SOFTCUDA_FORMS_H
#define SOFTCUDA_FORMS_H

#include "tools/softcuda/program.h"

/* opcode: "add.s32". Parts that change nothing here (.uni, cache hints) are dropped before it is
 * looked up; memory operations, conversions and comparisons keep their variable parts in fields of
 * the instruction and stand under their first word ("ld", "cvt").
 *
 * operands: results, '=', sources, one letter each:
 *   p  predicate            a  address in brackets
 *   h  16 bits              i  a whole number known at load, into `aux`
 *   w  32 bits              r  a register of any width (ld, st, cvt: the type says how much of it)
 *   d  64 bits              D  a pair d|p: two letters follow, the second may be absent
 *   c  the carry flag of the thread, a predicate that the text does not name
 * "2w" is a vector {a, b}; "?" before a letter: the operand may be absent.
 *
 * Several forms may share an opcode and differ in operands: the first that fits is taken. */
struct form {
    const char *opcode;
    const char *operands;
    enum op_class op_class;
    op_handler *run;
};

/* One table for each file of handlers, in each instruction set; the last entry's opcode is NULL. */
struct form_set {
    const struct form *const *tables; /* NULL at the end */
};
extern const struct form_set forms_portable, forms_avx2;

/* The instruction set that runs here; portable where the processor lacks AVX2, FMA or F16C. */
const struct form_set *forms_choose(bool portable);

/* The forms of an opcode stand together: the first one, or NULL. *n: how many. */
const struct form *forms_find(const struct form_set *set, const char *opcode, int *n);

#endif
