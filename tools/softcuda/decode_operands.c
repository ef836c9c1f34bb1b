/* Operands of the tree to places in the register file, by the letters of a form. See forms.h. */
#include <stdio.h>
#include <string.h>
#include "tools/softcuda/decode.h"
#include "tools/softcuda/op_fields.h"

/* ---- places that are filled at the start ---------------------------------------------------- */

static enum status add_fill(struct decoder *decoder, struct fill fill, int32_t *place)
{
    struct program *program = decoder->program;
    for (int i = 0; i < program->n_fills; i++) {
        const struct fill *known = &program->fills[i];
        if (known->kind == fill.kind && known->wide == fill.wide && known->value == fill.value) {
            *place = known->place;
            return STATUS_OK;
        }
    }
    if (program->register_bytes > INT32_MAX - WARP_LANES * 8)
        return decode_error(decoder, "the kernel has too many constants");
    if (!arena_grow(decoder->arena, &program->fills, program->n_fills, &decoder->fills_capacity,
                    sizeof fill))
        return err_no_memory(decoder->err, "a program", sizeof fill);
    fill.place = (int32_t)program->register_bytes;
    program->register_bytes += WARP_LANES * (fill.wide ? 8 : 4);
    program->fills[program->n_fills++] = fill;
    *place = fill.place;
    return STATUS_OK;
}

enum status decode_constant(struct decoder *decoder, uint64_t value, bool wide, int32_t *place)
{
    struct fill fill = {
        .kind = FILL_CONSTANT, .wide = wide, .value = wide ? value : (uint32_t)value};
    return add_fill(decoder, fill, place);
}

static int find_special(const char *name)
{
    static const char *const names[SPECIALS] = {
        [SPECIAL_TID_X] = "%tid.x",
        [SPECIAL_TID_Y] = "%tid.y",
        [SPECIAL_TID_Z] = "%tid.z",
        [SPECIAL_NTID_X] = "%ntid.x",
        [SPECIAL_NTID_Y] = "%ntid.y",
        [SPECIAL_NTID_Z] = "%ntid.z",
        [SPECIAL_CTAID_X] = "%ctaid.x",
        [SPECIAL_CTAID_Y] = "%ctaid.y",
        [SPECIAL_CTAID_Z] = "%ctaid.z",
        [SPECIAL_NCTAID_X] = "%nctaid.x",
        [SPECIAL_NCTAID_Y] = "%nctaid.y",
        [SPECIAL_NCTAID_Z] = "%nctaid.z",
        [SPECIAL_LANEID] = "%laneid",
        [SPECIAL_WARPID] = "%warpid",
        [SPECIAL_NWARPID] = "%nwarpid",
        [SPECIAL_SMID] = "%smid",
        [SPECIAL_NSMID] = "%nsmid",
        [SPECIAL_LANEMASK_EQ] = "%lanemask_eq",
        [SPECIAL_LANEMASK_LE] = "%lanemask_le",
        [SPECIAL_LANEMASK_LT] = "%lanemask_lt",
        [SPECIAL_LANEMASK_GE] = "%lanemask_ge",
        [SPECIAL_LANEMASK_GT] = "%lanemask_gt",
        [SPECIAL_DYNAMIC_SMEM_SIZE] = "%dynamic_smem_size",
        [SPECIAL_TOTAL_SMEM_SIZE] = "%total_smem_size",
        [SPECIAL_ENVREG1] = "%envreg1",
        [SPECIAL_ENVREG2] = "%envreg2",
    };
    for (int i = 0; i < SPECIALS; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

/* ---- one operand ---------------------------------------------------------------------------- */

struct placing {
    struct decoder *decoder;
    const struct flat *flat;
    const char *why;
    int n_addresses;
};

static enum status unfit(struct placing *placing, bool *fits, const char *why)
{
    placing->why = why;
    *fits = false;
    return STATUS_OK;
}

/* The address of a variable in its own space: shared and param offsets, global addresses. */
static enum status symbol_value(struct placing *placing, const struct ptx_operand *operand,
                                uint64_t *value, bool *fits)
{
    struct decoder *decoder = placing->decoder;
    int64_t offset = 0;
    bool found = true;
    if (operand->variable >= 0) {
        const struct instance *instance = placing->flat->instance;
        const struct ptx_variable *variable = &instance->function->variables[operand->variable];
        offset = instance->offsets[operand->variable];
        if (variable->space == PTX_SHARED && variable->is_extern)
            offset = decoder->program->shared_bytes;
    } else {
        TRY(decode_shared_offset(decoder, operand->symbol, &found, &offset));
        if (found && offset < 0)
            offset = decoder->program->shared_bytes;
        uint64_t address = 0;
        if (!found) {
            found =
                decoder->settings->address(decoder->settings->context, operand->symbol, &address);
            offset = (int64_t)address;
        }
    }
    if (!found)
        return unfit(placing, fits, "a name that is no variable, or a function's address");
    *value = (uint64_t)offset + (uint64_t)operand->integer;
    return STATUS_OK;
}

static enum status place_register(struct placing *placing, const struct ptx_operand *operand,
                                  char letter, int32_t *place, bool *fits)
{
    struct decoder *decoder = placing->decoder;
    int number = placing->flat->instance->first_register + operand->reg;
    enum ptx_type type = decoder->register_types[number];
    int size = ptx_type_size(type);
    bool good = letter == 'p'   ? type == PTX_PRED
                : letter == 'h' ? size == 2
                : letter == 'w' ? size == 4
                : letter == 'd' ? size == 8
                                : size > 0;
    if (!good)
        return unfit(placing, fits, "a register of another width or kind");
    *place = decoder->places[number];
    return STATUS_OK;
}

/* A constant of 'r' is as wide as the instruction's type says. */
static bool is_wide_type(const struct placing *placing, const struct instruction *instruction)
{
    bool convert = strcmp(placing->flat->source->parts[0], "cvt") == 0;
    return ptx_type_size(convert ? convert_source(instruction->aux)
                                 : (enum ptx_type)instruction->type) == 8;
}

static enum status place_source(struct placing *placing, const struct instruction *instruction,
                                const struct ptx_operand *operand, char letter, int32_t *place,
                                bool *fits)
{
    struct decoder *decoder = placing->decoder;
    uint64_t value = 0;
    if (operand->kind == PTX_OPERAND_REGISTER) {
        if (operand->pair != -1)
            return unfit(placing, fits, "a pair of registers");
        return place_register(placing, operand, letter, place, fits);
    }
    if (letter == 'p')
        return unfit(placing, fits, "a predicate is expected");
    bool wide = letter == 'd' || letter == 'r'; /* of 'r' the handler reads what it needs */
    if (operand->kind == PTX_OPERAND_SYMBOL && operand->symbol[0] == '%') {
        int special = find_special(operand->symbol);
        if (special < 0 || letter == 'h') {
            snprintf(decoder->unknown, sizeof decoder->unknown,
                     "a special register that is not known: %.40s", operand->symbol);
            return unfit(placing, fits, decoder->unknown);
        }
        return add_fill(decoder, (struct fill){FILL_SPECIAL, 0, wide, (uint64_t)special}, place);
    }
    if (operand->kind == PTX_OPERAND_SYMBOL && strcmp(operand->symbol, "WARP_SZ") == 0)
        value = WARP_LANES;
    else if (operand->kind == PTX_OPERAND_SYMBOL)
        TRY(symbol_value(placing, operand, &value, fits));
    else if (operand->kind == PTX_OPERAND_INTEGER)
        value = (uint64_t)operand->integer;
    else if (operand->kind == PTX_OPERAND_FLOAT)
        value = operand->bits;
    else
        return unfit(placing, fits, "a register or a constant is expected");
    bool wide_float = letter == 'r' ? is_wide_type(placing, instruction) : wide;
    if (operand->kind == PTX_OPERAND_FLOAT && operand->is_double != wide_float) {
        if (wide_float)
            return unfit(placing, fits, "a constant of 32 bits");
        double number;
        memcpy(&number, &value, sizeof number);
        float narrow = (float)number;
        uint32_t bits;
        memcpy(&bits, &narrow, sizeof bits);
        value = bits;
    }
    if (letter == 'h')
        value &= 0xFFFF;
    return decode_constant(decoder, value, wide, place);
}

static enum status place_destination(struct placing *placing, const struct ptx_operand *operand,
                                     char letter, int32_t *place, bool *fits)
{
    if (operand->kind == PTX_OPERAND_SINK) {
        *place = -1;
        return STATUS_OK;
    }
    if (operand->kind != PTX_OPERAND_REGISTER)
        return unfit(placing, fits, "a register is expected as the result");
    return place_register(placing, operand, letter, place, fits);
}

/* [register + offset], [variable + offset], [number]: a place of 8 bytes a lane, and the offset. */
static enum status place_address(struct placing *placing, struct instruction *instruction,
                                 const struct ptx_operand *operand, bool *fits)
{
    struct decoder *decoder = placing->decoder;
    int32_t *place = &instruction->sources[instruction->n_sources++];
    int64_t *offset = placing->n_addresses == 0 ? &instruction->offset : &instruction->offset2;
    int number = placing->n_addresses++;
    if (operand->kind != PTX_OPERAND_ADDRESS)
        return unfit(placing, fits, "an address in brackets is expected");
    if (operand->reg >= 0) {
        enum ptx_type type =
            decoder->register_types[placing->flat->instance->first_register + operand->reg];
        bool narrow = ptx_type_size(type) == 4;
        if (narrow &&
            (number > 0 || (instruction->space != PTX_SHARED && instruction->space != PTX_LOCAL)))
            return unfit(placing, fits, "an address of 32 bits outside shared and local memory");
        *offset = operand->integer;
        instruction->narrow_addresses |= (uint8_t)(narrow << number);
        return place_register(placing, operand, narrow ? 'w' : 'd', place, fits);
    }
    uint64_t value = (uint64_t)operand->integer;
    if (operand->symbol)
        TRY(symbol_value(placing, operand, &value, fits));
    *offset = (int64_t)value;
    return decode_constant(decoder, 0, true, place);
}

/* ---- all of them ---------------------------------------------------------------------------- */

static enum status place_one(struct placing *placing, struct instruction *instruction,
                             const struct ptx_operand *operand, char letter, bool result,
                             bool *fits)
{
    if (instruction->n_sources == OPERANDS_LARGEST ||
        instruction->n_destinations == OPERANDS_LARGEST)
        return unfit(placing, fits, "too many operands");
    if (letter == 'a')
        return place_address(placing, instruction, operand, fits);
    if (letter == 'i') {
        if (operand->kind != PTX_OPERAND_INTEGER || operand->integer != (int32_t)operand->integer)
            return unfit(placing, fits, "a whole number is expected");
        instruction->aux = (int32_t)operand->integer;
        return STATUS_OK;
    }
    if (letter == 'p' && result)
        instruction->predicate_destinations |= 1u << instruction->n_destinations;
    else if (letter == 'p')
        instruction->predicate_sources |= 1u << instruction->n_sources;
    if (result)
        return place_destination(placing, operand, letter,
                                 &instruction->destinations[instruction->n_destinations++], fits);
    if (operand->negated)
        instruction->negated_sources |= 1u << instruction->n_sources;
    if (operand->kind != PTX_OPERAND_REGISTER)
        instruction->constant_sources |= 1u << instruction->n_sources;
    if (operand->negated && letter != 'p')
        return unfit(placing, fits, "'!' before what is no predicate");
    return place_source(placing, instruction, operand, letter,
                        &instruction->sources[instruction->n_sources++], fits);
}

static enum status place_vector(struct placing *placing, struct instruction *instruction,
                                const struct ptx_operand *operand, int n, char letter, bool result,
                                bool *fits)
{
    if (n == 1 && operand->kind == PTX_OPERAND_REGISTER) /* {a} and a are the same */
        return place_one(placing, instruction, operand, letter, result, fits);
    if (operand->kind != PTX_OPERAND_VECTOR || operand->n_elements != n)
        return unfit(placing, fits, "a vector of another length is expected");
    for (int i = 0; i < n && *fits; i++)
        TRY(place_one(placing, instruction, &operand->elements[i], letter, result, fits));
    return STATUS_OK;
}

/* "D" and two letters: d|p, of which p may be absent. */
static enum status place_pair(struct placing *placing, struct instruction *instruction,
                              const struct ptx_operand *operand, const char *letters, bool *fits)
{
    struct ptx_operand first = *operand, second = *operand;
    first.pair = -1;
    second.kind = operand->pair >= 0 ? PTX_OPERAND_REGISTER : PTX_OPERAND_SINK;
    second.reg = operand->pair;
    TRY(place_one(placing, instruction, &first, letters[0], true, fits));
    return *fits ? place_one(placing, instruction, &second, letters[1], true, fits) : STATUS_OK;
}

static void place_carry(const struct decoder *decoder, struct instruction *instruction, bool result)
{
    uint8_t *n = result ? &instruction->n_destinations : &instruction->n_sources;
    *(result ? &instruction->predicate_destinations : &instruction->predicate_sources) |= 1u << *n;
    (result ? instruction->destinations : instruction->sources)[(*n)++] = decoder->carry;
}

enum status decode_operands(struct decoder *decoder, struct instruction *instruction,
                            const struct flat *flat, const char *operands, bool *fits,
                            const char **why)
{
    struct placing placing = {.decoder = decoder, .flat = flat, .why = ""};
    const struct ptx_instruction *source = flat->source;
    bool result = strchr(operands, '=') != NULL;
    int i = 0;
    *fits = true;
    instruction->n_sources = instruction->n_destinations = 0;
    instruction->negated_sources = instruction->constant_sources = 0;
    instruction->predicate_sources = instruction->predicate_destinations = 0;
    instruction->narrow_addresses = 0;
    for (const char *letter = operands; *letter && *fits; letter++) {
        if (*letter == '=') {
            result = false;
            continue;
        }
        if (*letter == 'c') {
            place_carry(decoder, instruction, result);
            continue;
        }
        bool optional = *letter == '?';
        letter += optional;
        if (i == source->n_operands) {
            if (!optional)
                TRY(unfit(&placing, fits, "an operand is missing"));
            continue;
        }
        const struct ptx_operand *operand = &source->operands[i++];
        if (*letter == 'D') {
            TRY(place_pair(&placing, instruction, operand, letter + 1, fits));
            letter += 2;
        } else if (*letter >= '1' && *letter <= '8') {
            TRY(place_vector(&placing, instruction, operand, *letter - '0', letter[1], result,
                             fits));
            letter++;
        } else if (operand->kind == PTX_OPERAND_REGISTER && operand->pair != -1) {
            TRY(unfit(&placing, fits, "a pair of registers"));
        } else {
            TRY(place_one(&placing, instruction, operand, *letter, result, fits));
        }
    }
    if (*fits && i < source->n_operands)
        TRY(unfit(&placing, fits, "too many operands"));
    *why = placing.why;
    return STATUS_OK;
}
