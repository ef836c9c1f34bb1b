/* Property tests of instructions: a table of opcode variants, each with a scalar reference written
 * from the PTX ISA manual, and what runs a table's entries over edge values and random ones, with
 * full warps and with lanes switched off. To add an opcode, add a line to a family's file
 * (alu_integer.c and its neighbours); test_softcuda_coverage.c fails until one is there. */
#ifndef MIDASHI_TESTS_SOFTCUDA_ALU_H
#define MIDASHI_TESTS_SOFTCUDA_ALU_H

#include "tests/softcuda/exact.h"
#include "tests/softcuda/rig.h"

#define ALU_SOURCES 4
#define ALU_RESULTS 4

struct alu_case;

/* x: the sources as their registers hold them, zero-extended; predicates 0 or 1. out: the results,
 * of which the register keeps its width. */
typedef void alu_reference(const struct alu_case *alu, const uint64_t *x, uint64_t *out);
/* Is `got` right where `want` is the reference's? index: of the result. */
typedef bool alu_check(const struct alu_case *alu, const uint64_t *x, int index, uint64_t got,
                       uint64_t want);
/* The text of a module with one kernel that runs the case's opcode; written for cases that the
 * common runner cannot run (loads, stores, atomics), whose programs run them themselves. */
typedef void alu_writer(const struct alu_case *alu, char *text, size_t size);

struct alu_case {
    char opcode[64]; /* as PTX writes it */
    /* Registers: results, '=', sources; h, w, d of 16, 32, 64 bits, p a predicate, n a negated one.
     * "2h" is a vector {a, b}, "D" before two letters the pair a|b, '_' a sink, 'i' the number
     * `aux`, 'c' the carry flag, which the opcode does not name. */
    char operands[16];
    /* For each source what its edge values are: i integer of the register's width, s a shift's
     * amount, n a count of either sign, h f16, b bf16, H and B pairs of them, f f32, e f64, p
     * predicate, x all of 16 bits, u f32 around all f16, v f32 around all bf16. */
    char values[8];
    alu_reference *reference;
    alu_check *check;    /* NULL: bit by bit */
    alu_writer *written; /* NULL: the common runner */
    int aux;
    bool few; /* crosses of core values alone: one of many cases that take the same way */
    /* Read off the opcode. */
    int bits;       /* of its last type */
    bool is_signed; /* that type is s.. */
    int from_bits;  /* of the type before it, 0: there is none */
    bool from_signed;
    enum exact_mode rounding;
    bool ftz, sat, relu, nan;
    const struct exact_format *format; /* of the last type; NULL: an integer */
};

struct alu_list {
    struct alu_case *cases;
    int n, capacity;
};

/* Adds a case; the last fields are read off its opcode. The answer is valid until the next one. */
struct alu_case *alu_add(struct alu_list *list, const char *opcode, const char *operands,
                         const char *values, alu_reference *reference);
/* The same with a check of its own. */
struct alu_case *alu_add_checked(struct alu_list *list, const char *opcode, const char *operands,
                                 const char *values, alu_reference *reference, alu_check *check);
/* Opcodes of printf's kind. */
void alu_opcode(char *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void alu_free(struct alu_list *list);

/* ---- the families --------------------------------------------------------------------------- */

void alu_integer(struct alu_list *list);
void alu_carry(struct alu_list *list);
void alu_logic(struct alu_list *list);
void alu_floating(struct alu_list *list);
void alu_half(struct alu_list *list);
void alu_compare(struct alu_list *list);
void alu_convert(struct alu_list *list);
void alu_special(struct alu_list *list);
void alu_memory(struct alu_list *list); /* cases that are written */
void alu_atomic(struct alu_list *list); /* the same */
void alu_all(struct alu_list *list);

/* ---- running -------------------------------------------------------------------------------- */

/* A module with the case's kernel: parameters p0 inputs, p1 old results, p2 guards, p3 results, p4
 * flags; n items of 8 bytes in each. immediate: the last source as a constant, NULL: a register. */
void alu_write(const struct alu_case *alu, int n, const char *immediate, char *text, size_t size);

/* Runs all cases of the list that are not `written`, with the portable handlers or the others;
 * fails the test with up to 20 lines of what is wrong. */
void alu_run(const struct alu_list *list, bool portable);

/* Edge values of a kind for a register's width, and their number; *core: how many come first that
 * make up crosses of three. */
int alu_edges(char kind, int bits, const uint64_t **values, int *core);
/* A random one: half of them near edges. */
uint64_t alu_random(char kind, int bits, uint64_t *state);

#endif
