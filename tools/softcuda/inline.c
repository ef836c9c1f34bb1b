/* Calls put in line: a kernel and all that it calls become one flat list of instructions, each with
 * the instance of the function that it belongs to. See decode.h. */
#include <string.h>
#include "tools/softcuda/decode.h"

#define DEPTH_LARGEST 32
#define FLAT_LARGEST  (1 << 22)
/* Of a kernel with all that it calls. ptxas knows no such number: a kernel of nvcc's has some
 * thousands. */
#define REGISTERS_LARGEST (1 << 20)

/* A shared variable has one place, however often its function is put in line. */
struct shared_variable {
    const struct ptx_variable *variable;
    int64_t offset;
};

static enum status no_memory(struct decoder *decoder)
{
    return err_no_memory(decoder->err, "a program", decoder->arena->total);
}

static int64_t align_up(int64_t value, int64_t align)
{
    return (value + align - 1) / align * align;
}

static enum status place_shared(struct decoder *decoder, const struct ptx_variable *variable,
                                int64_t *offset)
{
    for (int i = 0; i < decoder->n_shared; i++)
        if (decoder->shared[i].variable == variable) {
            *offset = decoder->shared[i].offset;
            return STATUS_OK;
        }
    *offset = -1; /* extern: behind the static ones, whose size is not known yet */
    if (!variable->is_extern) {
        *offset = align_up(decoder->shared_bytes, variable->align);
        decoder->shared_bytes = *offset + variable->size;
    }
    if (!arena_grow(decoder->arena, &decoder->shared, decoder->n_shared, &decoder->shared_capacity,
                    sizeof *decoder->shared))
        return no_memory(decoder);
    decoder->shared[decoder->n_shared++] = (struct shared_variable){variable, *offset};
    return STATUS_OK;
}

/* Module-scope shared variables are placed on their first use. */
enum status decode_shared_offset(struct decoder *decoder, const char *name, bool *found,
                                 int64_t *offset)
{
    *found = false;
    for (int i = 0; i < decoder->module->n_variables; i++) {
        const struct ptx_variable *variable = &decoder->module->variables[i];
        if (variable->space != PTX_SHARED || strcmp(variable->name, name) != 0)
            continue;
        *found = true;
        return place_shared(decoder, variable, offset);
    }
    return STATUS_OK;
}

static enum status new_instance(struct decoder *decoder, const struct ptx_function *function,
                                const struct instance *caller, struct instance **out)
{
    if (decoder->n_registers > REGISTERS_LARGEST - function->n_registers)
        return err_set(decoder->err, STATUS_BAD_DATA,
                       "%s: %s and what it calls have more than %d registers",
                       decoder->settings->module_name, decoder->kernel->name, REGISTERS_LARGEST);
    struct instance *instance = arena_alloc(decoder->arena, 1, sizeof *instance);
    int64_t *offsets = arena_alloc(decoder->arena, (size_t)function->n_variables, sizeof *offsets);
    if (!instance || !offsets)
        return no_memory(decoder);
    *instance = (struct instance){
        .function = function,
        .caller = caller,
        .first_register = decoder->n_registers,
        .offsets = offsets,
        .depth = caller ? caller->depth + 1 : 0,
    };
    int of_call = function->n_returns + function->n_parameters;
    for (int i = 0; i < function->n_variables; i++) {
        const struct ptx_variable *variable = &function->variables[i];
        if (variable->space == PTX_SHARED) {
            TRY(place_shared(decoder, variable, &offsets[i]));
        } else if (i >= of_call) {
            offsets[i] = align_up(decoder->frame_bytes, variable->align);
            decoder->frame_bytes = offsets[i] + variable->size;
        }
    }
    for (int i = 0; i < function->n_registers; i++) {
        if (!arena_grow(decoder->arena, &decoder->register_types, decoder->n_registers,
                        &decoder->registers_capacity, sizeof *decoder->register_types))
            return no_memory(decoder);
        decoder->register_types[decoder->n_registers++] = function->registers[i].type;
    }
    *out = instance;
    return STATUS_OK;
}

static enum status add_flat(struct decoder *decoder, struct flat flat)
{
    if (decoder->n_flat == FLAT_LARGEST)
        return decode_error(decoder, "the kernel with what it calls is too long");
    if (!arena_grow(decoder->arena, &decoder->flat, decoder->n_flat, &decoder->flat_capacity,
                    sizeof flat))
        return no_memory(decoder);
    decoder->flat[decoder->n_flat++] = flat;
    return STATUS_OK;
}

static const struct ptx_function *find_function(const struct ptx_module *module, const char *name)
{
    for (int i = 0; i < module->n_functions; i++)
        if (strcmp(module->functions[i].name, name) == 0)
            return &module->functions[i];
    return NULL;
}

/* The operands of "call (returns), name, (parameters)": either list may be absent. */
static void call_parts(const struct ptx_instruction *call, const struct ptx_operand **returns,
                       const char **name, const struct ptx_operand **parameters)
{
    *returns = *parameters = NULL;
    *name = NULL;
    for (int i = 0; i < call->n_operands; i++) {
        const struct ptx_operand *operand = &call->operands[i];
        if (operand->kind == PTX_OPERAND_SYMBOL && !*name)
            *name = operand->symbol;
        else if (operand->kind == PTX_OPERAND_LIST && !*name)
            *returns = operand;
        else if (operand->kind == PTX_OPERAND_LIST)
            *parameters = operand;
    }
}

const struct ptx_variable *decode_passed(const struct instance *caller,
                                         const struct ptx_operand *operand)
{
    const struct ptx_function *function = caller->function;
    int of_call = function->n_returns + function->n_parameters;
    if (operand->kind != PTX_OPERAND_SYMBOL || operand->variable < 0 || operand->integer != 0 ||
        (!caller->caller && operand->variable < of_call)) /* a kernel's own lie elsewhere */
        return NULL;
    const struct ptx_variable *variable = &function->variables[operand->variable];
    return variable->space == PTX_PARAM ? variable : NULL;
}

/* The callee's variables first .. first + n share the places of the caller's. */
static enum status bind(struct decoder *decoder, struct instance *callee, int first, int n,
                        const struct ptx_operand *list, const struct instance *caller)
{
    if ((list ? list->n_elements : 0) != n)
        return decode_error(decoder, "a call with another number of parameters than its function");
    for (int i = 0; i < n; i++) {
        const struct ptx_operand *operand = &list->elements[i];
        const struct ptx_variable *passed = decode_passed(caller, operand);
        if (!passed)
            return decode_error(decoder, "only variables of the param space can be passed");
        if (passed->size < callee->function->variables[first + i].size)
            return decode_error(decoder, "a variable that is smaller than the parameter");
        callee->offsets[first + i] = caller->offsets[operand->variable];
    }
    return STATUS_OK;
}

static enum status flatten(struct decoder *decoder, struct instance *instance);

static enum status flatten_call(struct decoder *decoder, struct instance *caller,
                                const struct ptx_instruction *call)
{
    const struct ptx_operand *returns, *parameters;
    const char *name;
    call_parts(call, &returns, &name, &parameters);
    const struct ptx_function *function = name ? find_function(decoder->module, name) : NULL;
    if (!function)
        return decode_error(decoder, "a call through a pointer cannot be run: name the function");
    if (function->n_instructions == 0) { /* vprintf, __assertfail: decode.c knows them */
        TRY(add_flat(decoder, (struct flat){.source = call, .instance = caller, .target = -1}));
        return STATUS_OK;
    }
    for (const struct instance *at = caller; at; at = at->caller)
        if (at->function == function)
            return decode_error(decoder, "recursion cannot be run");
    if (caller->depth + 1 >= DEPTH_LARGEST)
        return decode_error(decoder, "calls this deep cannot be run");
    struct instance *callee;
    TRY(new_instance(decoder, function, caller, &callee));
    TRY(bind(decoder, callee, 0, function->n_returns, returns, caller));
    TRY(bind(decoder, callee, function->n_returns, function->n_parameters, parameters, caller));
    if (call->guard < 0)
        return flatten(decoder, callee);
    /* @p call: a jump round it. */
    int jump = decoder->n_flat;
    TRY(add_flat(decoder, (struct flat){.source = call, .instance = caller, .target = -1}));
    TRY(flatten(decoder, callee));
    decoder->flat[jump].target = decoder->n_flat;
    return STATUS_OK;
}

static bool is_opcode(const struct ptx_instruction *instruction, const char *name)
{
    return strcmp(instruction->parts[0], name) == 0;
}

static enum status flatten_targets(struct decoder *decoder, struct flat *flat, const int *places)
{
    const struct ptx_operand *list = &flat->source->operands[1];
    int32_t *targets = arena_alloc(decoder->arena, (size_t)list->n_elements, sizeof *targets);
    if (!targets)
        return no_memory(decoder);
    for (int i = 0; i < list->n_elements; i++)
        targets[i] = places[list->elements[i].integer];
    flat->targets = targets;
    flat->n_targets = list->n_elements;
    return STATUS_OK;
}

/* Appends an instance's instructions. Branches name instructions of the function: they are resolved
 * when all of it is there. A `ret` of a callee jumps behind its last instruction. */
static enum status flatten(struct decoder *decoder, struct instance *instance)
{
    const struct ptx_function *function = instance->function;
    int first = decoder->n_flat;
    int *places = arena_alloc(decoder->arena, (size_t)function->n_instructions + 1, sizeof *places);
    if (!places)
        return no_memory(decoder);
    for (int i = 0; i < function->n_instructions; i++) {
        const struct ptx_instruction *source = &function->instructions[i];
        struct flat flat = {.source = source, .instance = instance, .target = -1};
        places[i] = decoder->n_flat;
        decoder->at = &flat;
        if (is_opcode(source, "call"))
            TRY(flatten_call(decoder, instance, source));
        else
            TRY(add_flat(decoder, flat));
    }
    int end = decoder->n_flat;
    for (int i = first; i < end; i++) {
        struct flat *flat = &decoder->flat[i];
        if (flat->instance != instance || !flat->source)
            continue;
        if (is_opcode(flat->source, "bra"))
            flat->target = places[flat->source->operands[flat->source->n_operands - 1].integer];
        else if (is_opcode(flat->source, "brx"))
            TRY(flatten_targets(decoder, flat, places));
        else if (is_opcode(flat->source, "ret") && instance->caller)
            flat->target = end;
    }
    return STATUS_OK;
}

enum status decode_flatten(struct decoder *decoder)
{
    struct instance *instance;
    TRY(new_instance(decoder, decoder->kernel, NULL, &instance));
    int64_t offset = 0;
    for (int i = 0; i < decoder->kernel->n_parameters; i++) {
        const struct ptx_variable *parameter =
            &decoder->kernel->variables[decoder->kernel->n_returns + i];
        offset = align_up(offset, parameter->align);
        instance->offsets[decoder->kernel->n_returns + i] = offset;
        offset += parameter->size;
    }
    TRY(decode_size(decoder, "parameters", offset, PARAMETERS_LARGEST));
    decoder->program->parameter_bytes = (int)offset;
    TRY(flatten(decoder, instance));
    /* The last instruction of a kernel is the `ret` that the parser put there: a jump behind a
     * callee's end always lands on something. */
    return STATUS_OK;
}
