/* From the tree of a module to a program that runs. */
#ifndef SOFTCUDA_DECODE_H
#define SOFTCUDA_DECODE_H

#include "tools/softcuda/forms.h"
#include "tools/softcuda/ptx.h"

/* Where a module's variables lie: the device address of `name`, false where there is none. */
typedef bool symbol_address(void *context, const char *name, uint64_t *address);

struct decode_settings {
    const char *module_name; /* for messages */
    const struct form_set *forms;
    symbol_address *address;
    void *context;
    bool own_places; /* each register keeps a place of its own (places.h): for comparison */
};

/* kernel: an entry of module. Calls are put in line (recursion and calls through pointers are
 * refused); vprintf and __assertfail become instructions of their own. Everything is in the arena;
 * module must outlive the program. STATUS_BAD_DATA: "MODULE: line N (FILE:LINE): what cannot be
 * run": an opcode, type, width or operand that is unknown or does not fit; N counts lines of the
 * PTX, and (FILE:LINE) is left out where no .loc stands before. */
enum status decode_kernel(struct program *program, const struct ptx_module *module,
                          const struct ptx_function *kernel, const struct decode_settings *settings,
                          struct arena *arena, struct err *err);

/* ---- what decode.c shares with decode_operands.c and inline.c ------------------------------- */

/* One call of a function, put in line: its registers and variables have numbers of their own. */
struct instance {
    const struct ptx_function *function;
    const struct instance *caller;
    int first_register; /* number of its register 0 among all */
    int64_t *offsets;   /* of each variable, in its space: shared, or the thread's local frame */
    int depth;
};

/* An instruction of the tree within an instance, before operands are placed. */
struct flat {
    const struct ptx_instruction *source; /* NULL: a jump to `target` that leaves a call */
    const struct instance *instance;
    int target;             /* of a bra: index among the flat ones */
    const int32_t *targets; /* of a brx.idx: such indexes */
    int n_targets;
};

/* Bytes of a kernel on any card (CUDA C++ Programming Guide, "Compute Capabilities"; PTX ISA,
 * "Kernel Function Parameters"). */
#define SHARED_LARGEST     (227 << 10)
#define FRAME_LARGEST      (512 << 10)
#define PARAMETERS_LARGEST 32764

struct decoder {
    const struct decode_settings *settings;
    const struct ptx_module *module;
    const struct ptx_function *kernel;
    struct program *program;
    struct arena *arena;
    struct err *err;
    struct flat *flat;
    int n_flat, flat_capacity;
    enum ptx_type *register_types; /* of all instances' registers */
    int n_registers, registers_capacity;
    int64_t frame_bytes, shared_bytes;
    struct shared_variable *shared; /* those that have a place already */
    int fills_capacity, n_shared, shared_capacity;
    int32_t *places;       /* of each register: in the register file, or among predicates */
    int32_t carry;         /* the predicate that is CC.CF */
    const struct flat *at; /* for messages */
    char unknown[96];      /* such a one */
};

/* Makes decoder->flat from the kernel and what it calls. (inline.c) */
enum status decode_flatten(struct decoder *decoder);

/* Sets sources, destinations, offset and aux of an instruction by a form's operands. *fits is false
 * where they do not fit it; *why then says why, in text of the decoder's. (decode_operands.c) */
enum status decode_operands(struct decoder *decoder, struct instruction *instruction,
                            const struct flat *flat, const char *operands, bool *fits,
                            const char **why);

/* The variable that a call passes, of the thread's own frame; NULL: the operand is none. (inline.c)
 */
const struct ptx_variable *decode_passed(const struct instance *caller,
                                         const struct ptx_operand *operand);

/* Where a shared variable of the module lies; *found is false where none has that name. (inline.c)
 */
enum status decode_shared_offset(struct decoder *decoder, const char *name, bool *found,
                                 int64_t *offset);

/* The place of a constant in every lane. */
enum status decode_constant(struct decoder *decoder, uint64_t value, bool wide, int32_t *place);

/* "MODULE: line N (FILE:LINE): 'OPCODE': WHAT" with STATUS_BAD_DATA, as decode_kernel's. */
enum status decode_error(struct decoder *decoder, const char *what);

/* STATUS_BAD_DATA where the kernel needs more than `most` bytes of `what`. */
enum status decode_size(struct decoder *decoder, const char *what, int64_t bytes, int64_t most);

#endif
