/* See decode_rules.h. */
#include "tools/softcuda/decode_rules.h"

#include <string.h>

bool type_is_float(enum ptx_type type)
{
    return type == PTX_F16 || type == PTX_BF16 || type == PTX_TF32 || type == PTX_F32 ||
           type == PTX_F64;
}

bool type_is_signed(enum ptx_type type)
{
    return type == PTX_S8 || type == PTX_S16 || type == PTX_S32 || type == PTX_S64;
}

static bool is_unsigned(enum ptx_type type)
{
    return type == PTX_U8 || type == PTX_U16 || type == PTX_U32 || type == PTX_U64;
}

static bool is_pair(enum ptx_type type)
{
    return type == PTX_F16X2 || type == PTX_BF16X2;
}

static bool is_integer(enum ptx_type type)
{
    return type_is_signed(type) || is_unsigned(type);
}

bool rules_convert(enum ptx_type to, enum ptx_type from, enum rounding rounding, int flags)
{
    bool directed = rounding >= ROUND_RN && rounding <= ROUND_RP;
    bool integral = rounding >= ROUND_RNI && rounding <= ROUND_RPI;
    bool to_half = to == PTX_F16 || to == PTX_BF16 || is_pair(to);
    if (to == PTX_TF32)
        return from == PTX_F32 && rounding == ROUND_RNA && (flags & ~CONVERT_SATFINITE) == 0;
    if (rounding == ROUND_RNA || from == PTX_TF32)
        return false;
    int to_finite = CONVERT_RELU | CONVERT_SATFINITE;
    if (flags & to_finite && (!to_half || from != PTX_F32 || flags & ~to_finite ||
                              (rounding != ROUND_RN && rounding != ROUND_RZ)))
        return false;
    if (is_pair(to))
        return from == PTX_F32 && (rounding == ROUND_RN || rounding == ROUND_RZ) &&
               (flags & ~to_finite) == 0;
    if (flags & CONVERT_FTZ && from != PTX_F32 && (to != PTX_F32 || !type_is_float(from)))
        return false;
    if (is_integer(to) && is_integer(from))
        return rounding == ROUND_NONE;
    if (is_integer(to))
        return type_is_float(from) && integral;
    if (!type_is_float(to))
        return false;
    if (is_integer(from))
        return directed;
    if (!type_is_float(from))
        return false;
    if (to == from)
        return integral || rounding == ROUND_NONE;
    return ptx_type_size(to) > ptx_type_size(from) ? rounding == ROUND_NONE : directed;
}

bool rules_compare(enum ptx_type type, enum comparison comparison, bool ftz)
{
    bool is_float = type_is_float(type) || is_pair(type);
    if (ftz && type != PTX_F32 && type != PTX_F16 && type != PTX_F16X2)
        return false;
    if (comparison <= COMPARE_NE)
        return true;
    if (comparison <= COMPARE_GE)
        return is_float || is_integer(type);
    return comparison <= COMPARE_HS ? is_unsigned(type) : is_float;
}

bool rules_atomic(enum atomic_operation operation, enum ptx_type type, bool reduction)
{
    switch (operation) {
    case ATOMIC_ADD:
        return type == PTX_U32 || type == PTX_S32 || type == PTX_U64 || type == PTX_F32 ||
               type == PTX_F64 || type == PTX_F16 || type == PTX_BF16 || is_pair(type);
    case ATOMIC_MIN:
    case ATOMIC_MAX:
        return type == PTX_U32 || type == PTX_S32 || type == PTX_U64 || type == PTX_S64;
    case ATOMIC_INC:
    case ATOMIC_DEC:
        return type == PTX_U32;
    case ATOMIC_AND:
    case ATOMIC_OR:
    case ATOMIC_XOR:
        return type == PTX_B32 || type == PTX_B64;
    case ATOMIC_CAS:
        return !reduction && (type == PTX_B16 || type == PTX_B32 || type == PTX_B64);
    case ATOMIC_EXCH:
        return !reduction && (type == PTX_B32 || type == PTX_B64);
    }
    return false;
}

bool rules_combined(const struct instruction *instruction)
{
    bool combines = (instruction->aux2 & 255) != COMBINE_NONE;
    return strncmp(instruction->form->opcode, "set", 3) != 0 ||
           combines == (instruction->n_sources == 3);
}

bool rules_constants(const struct instruction *instruction)
{
    const char *opcode = instruction->form->opcode;
    int32_t constant = instruction->aux;
    if (strcmp(opcode, "cp.async.wait_group") == 0)
        return constant >= 0;
    if (strcmp(opcode, "cp.async") == 0 || strcmp(opcode, "cp.async.hint") == 0) {
        bool beside_l1 = instruction->aux2 != 0; /* .cg */
        return constant == 16 || (!beside_l1 && (constant == 4 || constant == 8));
    }
    return !strchr(instruction->form->operands, 'i') ||
           (strncmp(opcode, "applypriority", 13) != 0 && strncmp(opcode, "discard", 7) != 0) ||
           constant == 128;
}

/* 'f' for floating point, 'i' for integers, 'b' for bits, which go with both. */
static char type_kind(enum ptx_type type)
{
    switch (type) {
    case PTX_F16:
    case PTX_BF16:
    case PTX_F32:
    case PTX_F64:
        return 'f';
    case PTX_U8:
    case PTX_U16:
    case PTX_U32:
    case PTX_U64:
    case PTX_S8:
    case PTX_S16:
    case PTX_S32:
    case PTX_S64:
        return 'i';
    default:
        return 'b';
    }
}

bool rules_kinds(const struct decoder *decoder, const struct flat *flat,
                 const struct instruction *instruction)
{
    char kind = type_kind((enum ptx_type)instruction->type);
    const char *first = flat->source->parts[0];
    if (kind == 'b' || instruction->form->op_class > CLASS_HALF || strcmp(first, "set") == 0 ||
        strcmp(first, "slct") == 0) /* these have two types */
        return true;
    int size = ptx_type_size((enum ptx_type)instruction->type);
    for (int i = 0; i < flat->source->n_operands; i++) {
        const struct ptx_operand *operand = &flat->source->operands[i];
        if (operand->kind != PTX_OPERAND_REGISTER)
            continue;
        enum ptx_type type = decoder->register_types[flat->instance->first_register + operand->reg];
        if (ptx_type_size(type) == size && type_kind(type) != 'b' && type_kind(type) != kind)
            return false;
    }
    return true;
}

bool rules_widths(const struct decoder *decoder, const struct flat *flat,
                  struct instruction *instruction)
{
    if (!strchr(instruction->form->operands, 'r'))
        return true;
    bool convert = instruction->form->op_class == CLASS_CONVERT;
    bool policy = strstr(instruction->form->opcode, ".hint") != NULL; /* last, and of no type */
    int sizes[2] = {0, 0}; /* of all registers, which a handler takes alike; of cvt's source */
    for (int i = 0; i < flat->source->n_operands - policy; i++) {
        const struct ptx_operand *operand = &flat->source->operands[i];
        bool from = convert && i > 0;
        int n = operand->kind == PTX_OPERAND_VECTOR ? operand->n_elements : 1;
        for (int j = 0; j < n; j++) {
            const struct ptx_operand *element =
                operand->kind == PTX_OPERAND_VECTOR ? &operand->elements[j] : operand;
            if (element->kind != PTX_OPERAND_REGISTER)
                continue;
            int size = ptx_type_size(
                decoder->register_types[flat->instance->first_register + element->reg]);
            enum ptx_type type =
                (enum ptx_type)(from ? convert_source(instruction->aux) : instruction->type);
            if (size < ptx_type_size(type) || (type_is_float(type) && size > ptx_type_size(type)) ||
                (sizes[from] != 0 && sizes[from] != size))
                return false;
            sizes[from] = size;
        }
    }
    instruction->wide_register = sizes[0] == 8;
    instruction->half_register = sizes[0] == 2;
    instruction->wide_source = sizes[1] == 8;
    return true;
}
