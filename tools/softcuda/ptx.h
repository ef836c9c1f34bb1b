/* PTX text as a tree: what stands in a module, not yet what it means.
 *
 * The language is that of NVIDIA's "PTX ISA" manual, version 9.0, as far as nvcc emits it for
 * compute_80 and as people write it in asm statements. parser.c makes the tree, decode.c gives it
 * meaning. Everything lives in the caller's arena; the text may go once the tree is made. */
#ifndef SOFTCUDA_PTX_H
#define SOFTCUDA_PTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "host/base/memory.h"
#include "host/base/status.h"

/* ---- types ---------------------------------------------------------------------------------- */

enum ptx_type {
    PTX_NONE,
    PTX_B8,
    PTX_B16,
    PTX_B32,
    PTX_B64,
    PTX_U8,
    PTX_U16,
    PTX_U32,
    PTX_U64,
    PTX_S8,
    PTX_S16,
    PTX_S32,
    PTX_S64,
    PTX_F16,
    PTX_F16X2,
    PTX_BF16,
    PTX_BF16X2,
    PTX_TF32,
    PTX_F32,
    PTX_F64,
    PTX_PRED,
};

/* "f32" -> PTX_F32; PTX_NONE where it is no type. */
enum ptx_type ptx_type_named(const char *name, size_t length);
const char *ptx_type_name(enum ptx_type type); /* "f32" */
int ptx_type_size(enum ptx_type type);         /* bytes; 0 for PTX_NONE and PTX_PRED */

enum ptx_space {
    PTX_GENERIC,
    PTX_GLOBAL,
    PTX_SHARED,
    PTX_LOCAL,
    PTX_CONST,
    PTX_PARAM,
    PTX_REG,
};
const char *ptx_space_name(enum ptx_space space); /* "global", "generic" */

/* ---- places --------------------------------------------------------------------------------- */

/* Where an instruction comes from. file: an index into the module's files, -1 where there is no
 * .loc. Code that was inlined has the place of the innermost function in file and line, and that
 * of the kernel's own source in outer_file and outer_line (the same where nothing was inlined). */
struct ptx_place {
    int file, line;
    int outer_file, outer_line;
    int ptx_line; /* line of the PTX text, from 1 */
};

/* ---- operands ------------------------------------------------------------------------------- */

enum ptx_operand_kind {
    PTX_OPERAND_REGISTER, /* reg; negated for !%p */
    PTX_OPERAND_INTEGER,  /* integer */
    PTX_OPERAND_FLOAT,    /* bits: of a binary32 (0f...) or a binary64 (0d..., and decimals) */
    PTX_OPERAND_SYMBOL,   /* symbol + integer: the address of a variable, a function, %tid.x */
    PTX_OPERAND_LABEL,    /* of a bra: integer is the index of the instruction that it names */
    PTX_OPERAND_ADDRESS,  /* [reg + integer] or [symbol + integer] or [integer] */
    PTX_OPERAND_VECTOR,   /* {a, b, ...}: elements */
    PTX_OPERAND_SINK,     /* _ */
    PTX_OPERAND_LIST,     /* (a, b, ...) of a call, and the labels of a brx.idx: elements */
};

struct ptx_operand {
    enum ptx_operand_kind kind;
    bool negated;       /* !%p */
    bool is_double;     /* FLOAT: bits hold a binary64 */
    int reg;            /* index into the function's registers; -1: none */
    int pair;           /* REGISTER: the p of d|p, an index too; -1: none; -2: the sink */
    const char *symbol; /* NULL: none */
    int variable; /* of a symbol: its index in the function's variables; -1: not one of them */
    int64_t integer;
    uint64_t bits;
    struct ptx_operand *elements; /* VECTOR, LIST */
    int n_elements;
};

/* ---- statements ----------------------------------------------------------------------------- */

#define PTX_PARTS_LARGEST    16
#define PTX_OPERANDS_LARGEST 8

/* An instruction: its opcode cut at the dots, `cp.async.cg.shared.global.L2::128B` into 6 parts. */
struct ptx_instruction {
    const char *text; /* the whole opcode */
    const char *parts[PTX_PARTS_LARGEST];
    int n_parts;
    int guard; /* a predicate register's index; -1: none */
    bool guard_negated;
    struct ptx_operand operands[PTX_OPERANDS_LARGEST];
    int n_operands;
    struct ptx_place place;
};

struct ptx_register {
    const char *name;
    enum ptx_type type;
};

/* A variable: of the module, of a function (shared, local), or a parameter. */
struct ptx_variable {
    const char *name;
    enum ptx_space space;
    enum ptx_type type;
    int align;      /* bytes */
    int64_t size;   /* bytes; of an extern array without bounds 0 */
    bool is_extern; /* dynamic shared memory */
    bool is_array;
    unsigned char *bytes;               /* (size) its initial value, NULL: zeros */
    struct ptx_relocation *relocations; /* addresses in the initial value */
    int n_relocations;
};

struct ptx_relocation {
    int64_t offset; /* of 8 bytes in the variable */
    const char *symbol;
    int64_t addend;
};

struct ptx_function {
    const char *name;
    bool is_entry, is_extern;
    /* First what it returns, then its parameters, then those of its body (shared, local, and the
     * param space of call sequences). Names may repeat: scopes have been resolved. */
    struct ptx_variable *variables;
    int n_returns, n_parameters, n_variables;
    struct ptx_register *registers;
    int n_registers;
    struct ptx_instruction *instructions;
    int n_instructions;
    int max_threads[3]; /* .maxntid; 0: not given */
    int required_threads[3];
    int min_blocks; /* .minnctapersm; 0: not given */
    int ptx_line;
};

struct ptx_module {
    int version_major, version_minor;
    int target;         /* 80 of sm_80 */
    const char **files; /* by the numbers of .file; NULL: a gap */
    int n_files;
    struct ptx_variable *variables; /* global, const, module-scope shared */
    int n_variables;
    struct ptx_function *functions;
    int n_functions;
};

/* text: size bytes (a 0 byte ends it too). name is for messages: "NAME: line N: what is wrong".
 * STATUS_BAD_DATA: not PTX, or a directive that is not known. STATUS_RESOURCE: no memory. */
enum status ptx_parse(struct ptx_module *module, const char *text, size_t size, const char *name,
                      struct arena *arena, struct err *err);

/* The path of a place's file, "?" where there is none. outer: of the kernel's own source. */
const char *ptx_place_file(const struct ptx_module *module, const struct ptx_place *place,
                           bool outer);

#endif
