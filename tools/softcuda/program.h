/* A kernel made ready to run: decoded instructions in one flat array, with calls put in line,
 * registers placed, branches resolved and blocks ordered. decode.c and flow.c make it, execute.c
 * runs it. */
#ifndef SOFTCUDA_PROGRAM_H
#define SOFTCUDA_PROGRAM_H

#include "tools/softcuda/ptx.h"

#define WARP_LANES 32
#define ALL_LANES  UINT32_MAX

struct warp;
struct instruction;

/* What the scheduler does after an instruction. */
enum next {
    NEXT_GO,     /* the instruction behind it */
    NEXT_BRANCH, /* `taken` of the warp holds the lanes that go to instruction->target */
    NEXT_EXIT,   /* the lanes are done */
    NEXT_WAIT,   /* the fragment has been put to wait (execute.h), or elsewhere */
    NEXT_YIELD,  /* on, but let others run first */
    NEXT_STOP,   /* the launch ends: a fault has been reported */
};

/* Runs one instruction for `lanes`, which is not 0: active and let through by the guard. */
typedef enum next op_handler(struct warp *warp, const struct instruction *instruction,
                             uint32_t lanes);

/* How instructions are counted. */
enum op_class {
    CLASS_INTEGER, /* and logic, shifts, selects, moves */
    CLASS_FLOAT32,
    CLASS_FLOAT64,
    CLASS_HALF, /* f16, bf16 and their pairs */
    CLASS_CONVERT,
    CLASS_SPECIAL, /* ex2, rcp, sin: the special function unit */
    CLASS_CONTROL, /* branches, exits, barriers */
    CLASS_LOAD,
    CLASS_STORE,
    CLASS_ATOMIC,
    CLASS_ASYNC,  /* cp.async and its groups */
    CLASS_WARP,   /* shuffles, votes, matches */
    CLASS_MATRIX, /* mma, ldmatrix */
    CLASSES,
};

/* Places in a warp's register file: predicates are bit masks in an array of their own, everything
 * else has 32 lanes of 4 bytes (8 and 16 bits too, in the low part) or of 8. Immediates and special
 * registers have places too, so that a handler need not know what an operand was. */
#define OPERANDS_LARGEST 12

#define STRONG_RELAXED 1 /* volatile too */
#define STRONG_ACQUIRE 2
#define STRONG_RELEASE 4

struct instruction {
    op_handler *run;
    const struct form *form; /* the entry of the table of forms (forms.h); NULL: a branch or call */
    int32_t guard;           /* predicate's index; -1: none */
    bool guard_negated;
    uint8_t n_destinations, n_sources;
    /* Bytes from the start of the register file; of predicates the index. -1: the sink. */
    int32_t destinations[OPERANDS_LARGEST];
    int32_t sources[OPERANDS_LARGEST];
    uint32_t negated_sources; /* bit i: source i is a predicate to be negated */
    uint32_t predicate_sources, predicate_destinations; /* bit i: it is one */
    uint32_t
        constant_sources; /* bit i: source i is a constant; of letter 'r' it has 8 bytes a lane */
    int64_t offset, offset2; /* of the first address, and of the second */
    int32_t target;          /* of a branch: an instruction's index; -1: none */
    const int32_t *targets;  /* of a brx.idx, whose target is -1: such indexes */
    int32_t n_targets;
    uint8_t space;            /* enum ptx_space of a memory operation */
    uint8_t type;             /* enum ptx_type of one element of it */
    uint8_t vector;           /* elements: 1, 2, 4 */
    uint8_t strong;           /* STRONG_..., or-ed: no race with its like */
    uint8_t op_class;         /* enum op_class */
    uint8_t narrow_addresses; /* bit i: the register of address i has 32 bits */
    bool wide_register;       /* of ld, st, cvt: the register has 64 bits; */
    bool half_register;       /* of ld: the register has 16 bits */
    bool wide_source;         /* of cvt: the source's has */
    bool block_start;         /* a branch leads here, or one stands before */
    int32_t order;            /* of its block: lower first (flow.h) */
    int32_t aux;              /* the handler's own: a shape, a mode */
    int32_t aux2;
    struct ptx_place place;
    const char *text; /* the opcode, for reports */
};

/* Where a branch may lead to, apart from the instruction behind it: *n places. */
static inline const int32_t *branch_targets(const struct instruction *instruction, int *n)
{
    *n = instruction->n_targets > 0 ? instruction->n_targets : instruction->target >= 0;
    return instruction->n_targets > 0 ? instruction->targets : &instruction->target;
}

/* A register's place filled at the start of each warp. */
enum fill_kind {
    FILL_CONSTANT, /* value, in every lane */
    FILL_SPECIAL,  /* enum special in `value` */
};
struct fill {
    enum fill_kind kind;
    int32_t place;
    bool wide; /* 8 bytes a lane */
    uint64_t value;
};

enum special {
    SPECIAL_TID_X,
    SPECIAL_TID_Y,
    SPECIAL_TID_Z,
    SPECIAL_NTID_X,
    SPECIAL_NTID_Y,
    SPECIAL_NTID_Z,
    SPECIAL_CTAID_X,
    SPECIAL_CTAID_Y,
    SPECIAL_CTAID_Z,
    SPECIAL_NCTAID_X,
    SPECIAL_NCTAID_Y,
    SPECIAL_NCTAID_Z,
    SPECIAL_LANEID,
    SPECIAL_WARPID,
    SPECIAL_NWARPID,
    SPECIAL_SMID,
    SPECIAL_NSMID,
    SPECIAL_LANEMASK_EQ,
    SPECIAL_LANEMASK_LE,
    SPECIAL_LANEMASK_LT,
    SPECIAL_LANEMASK_GE,
    SPECIAL_LANEMASK_GT,
    SPECIAL_DYNAMIC_SMEM_SIZE,
    SPECIAL_TOTAL_SMEM_SIZE,
    SPECIAL_ENVREG1, /* of the address of the grid's barrier the high half, */
    SPECIAL_ENVREG2, /* and the low one: where cooperative groups look for it */
    SPECIALS,
};

/* A register's place as it was before places were shared (places.h). */
struct placed_register {
    int32_t place;
    bool predicate, wide;
};

struct parameter {
    int32_t offset, size; /* in the parameter buffer */
};

struct program {
    const char *name;
    const struct ptx_module *module; /* for file names */
    struct instruction *instructions;
    int n_instructions;
    size_t register_bytes;
    int n_predicates;
    struct fill *fills;
    int n_fills;
    struct placed_register *registers; /* for places_share alone */
    int n_registers;
    struct parameter *parameters;
    int n_parameters, parameter_bytes;
    int shared_bytes; /* static; the dynamic part follows, at 16 bytes' alignment */
    int local_bytes;  /* of one thread: local variables and the param space of calls */
    int max_threads[3], required_threads[3], min_blocks;
};

#endif
