/* Instructions of the tree to instructions that run. See decode.h. */
#include "tools/softcuda/decode.h"

#include <stdio.h>
#include <string.h>
#include "tools/softcuda/decode_fields.h"
#include "tools/softcuda/decode_rules.h"
#include "tools/softcuda/flow.h"
#include "tools/softcuda/op_fields.h"
#include "tools/softcuda/places.h"

enum status decode_error(struct decoder *decoder, const char *what)
{
    const struct ptx_instruction *source = decoder->at->source;
    const struct ptx_place *place = &source->place;
    const char *name = decoder->settings->module_name;
    if (place->outer_file < 0) /* no .loc */
        return err_set(decoder->err, STATUS_BAD_DATA, "%s: line %d: '%s': %s", name,
                       place->ptx_line, source->text, what);
    return err_set(decoder->err, STATUS_BAD_DATA, "%s: line %d (%s:%d): '%s': %s", name,
                   place->ptx_line, ptx_place_file(decoder->module, place, true), place->outer_line,
                   source->text, what);
}

enum status decode_size(struct decoder *decoder, const char *what, int64_t bytes, int64_t most)
{
    if (bytes <= most)
        return STATUS_OK;
    return err_set(decoder->err, STATUS_BAD_DATA, "%s: %s has %lld bytes of %s, and %lld is most",
                   decoder->settings->module_name, decoder->kernel->name, (long long)bytes, what,
                   (long long)most);
}

static bool is(const char *part, const char *name)
{
    return strcmp(part, name) == 0;
}

/* ---- one instruction ------------------------------------------------------------------------ */

/* Loads and stores have a form for each length of vector. */
static bool length_fits(const struct form *form, const struct instruction *instruction)
{
    const char *digit = strpbrk(form->operands, "24");
    return (form->op_class != CLASS_LOAD && form->op_class != CLASS_STORE) ||
           !strchr(form->operands, 'r') || (digit ? *digit - '0' : 1) == instruction->vector;
}

/* Takes the first of n forms whose operands fit. */
static enum status try_forms(struct decoder *decoder, struct instruction *instruction,
                             const struct flat *flat, const struct form *form, int n, bool *fits,
                             const char **why)
{
    *fits = false;
    for (int i = 0; i < n && !*fits; i++) {
        if (!length_fits(&form[i], instruction))
            continue;
        TRY(decode_operands(decoder, instruction, flat, form[i].operands, fits, why));
        instruction->form = &form[i];
        instruction->run = form[i].run;
        instruction->op_class = (uint8_t)form[i].op_class;
    }
    return STATUS_OK;
}

static enum status look_up(struct decoder *decoder, struct instruction *instruction,
                           const struct flat *flat)
{
    char key[FORM_KEY_SIZE];
    const struct ptx_instruction *source = flat->source;
    if (!decode_fields(source, instruction, key))
        return decode_error(decoder, "this variant cannot be run");
    int n;
    bool fits = false;
    const char *why = "";
    const struct form *form = forms_find(decoder->settings->forms, key, &n);
    if (!form)
        return decode_error(decoder, "this opcode cannot be run");
    /* The param space of anything but the kernel's own parameters is the thread's local frame. */
    if (instruction->space == PTX_PARAM && source->n_operands > 0) {
        for (int i = 0; i < source->n_operands; i++) {
            const struct ptx_operand *operand = &source->operands[i];
            const struct ptx_function *function = flat->instance->function;
            if (operand->kind == PTX_OPERAND_ADDRESS && operand->variable >= 0 &&
                (flat->instance->caller ||
                 operand->variable >= function->n_returns + function->n_parameters))
                instruction->space = PTX_LOCAL;
        }
    }
    if (is(source->parts[0], "cvt")) { /* those of inner loops have forms of their own */
        int n_own;
        const struct form *own = forms_find(decoder->settings->forms, source->text, &n_own);
        if (own)
            TRY(try_forms(decoder, instruction, flat, own, n_own, &fits, &why));
    }
    if (!fits)
        TRY(try_forms(decoder, instruction, flat, form, n, &fits, &why));
    if (!fits)
        return decode_error(decoder, why);
    if (!rules_kinds(decoder, flat, instruction) || !rules_widths(decoder, flat, instruction))
        return decode_error(decoder, "a register of another kind, or too narrow");
    if (!rules_combined(instruction))
        return decode_error(decoder, "a predicate to combine goes with .and, .or or .xor");
    if (!rules_constants(instruction))
        return decode_error(decoder, "a number that this opcode does not take");
    return STATUS_OK;
}

/* A jump, an exit, or the end of a callee. */
static enum status special_form(struct decoder *decoder, struct instruction *instruction,
                                const char *key)
{
    int n;
    const struct form *form = forms_find(decoder->settings->forms, key, &n);
    if (!form)
        return decode_error(decoder, "this opcode cannot be run");
    instruction->form = form;
    instruction->run = form->run;
    instruction->op_class = (uint8_t)form->op_class;
    return STATUS_OK;
}

/* vprintf(format, arguments), which gives a number, and __assertfail(message, file, line, function,
 * size): the places of what they are given in the thread's local frame, where others would have
 * registers. */
static enum status system_call(struct decoder *decoder, struct instruction *instruction,
                               const struct flat *flat)
{
    static const int sizes[] = {8, 8, 4, 8, 8}, result_size = 4;
    const struct ptx_operand *list = NULL, *results = NULL;
    const struct ptx_variable *passed;
    const char *name = NULL;
    for (int i = 0; i < flat->source->n_operands; i++) {
        const struct ptx_operand *operand = &flat->source->operands[i];
        if (operand->kind == PTX_OPERAND_SYMBOL)
            name = operand->symbol;
        else if (operand->kind == PTX_OPERAND_LIST)
            *(name ? &list : &results) = operand;
    }
    bool print = is(name, "vprintf");
    if (!print && !is(name, "__assertfail"))
        return decode_error(decoder, "a function without a body cannot be called");
    if (!list || list->n_elements != (print ? 2 : 5) ||
        (results ? results->n_elements : 0) != (print ? 1 : 0))
        return decode_error(decoder, "a call with another number of parameters than its function");
    for (int i = 0; i < list->n_elements; i++) {
        const struct ptx_operand *operand = &list->elements[i];
        passed = decode_passed(flat->instance, operand);
        if (!passed || passed->size < sizes[i])
            return decode_error(decoder, "only variables of the param space can be passed");
        instruction->sources[i] = (int32_t)flat->instance->offsets[operand->variable];
    }
    if (print) {
        passed = decode_passed(flat->instance, &results->elements[0]);
        if (!passed || passed->size < result_size)
            return decode_error(decoder, "only variables of the param space can be passed");
        instruction->offset2 = flat->instance->offsets[results->elements[0].variable];
    }
    return special_form(decoder, instruction, print ? "call.vprintf" : "call.__assertfail");
}

/* mov.u32 d, %clock: the value is read anew each time, so that it is an instruction of its own. */
static bool reads_clock(const struct ptx_instruction *source, char *key)
{
    const struct ptx_operand *from = &source->operands[1];
    if (!is(source->parts[0], "mov") || source->n_operands != 2 || source->n_parts != 2 ||
        from->kind != PTX_OPERAND_SYMBOL ||
        (strncmp(from->symbol, "%clock", 6) != 0 && strncmp(from->symbol, "%globaltimer", 12) != 0))
        return false;
    const char *type = source->parts[1];
    snprintf(key, FORM_KEY_SIZE, "%s.%s", from->symbol + 1,
             is(type, "s32") || is(type, "b32")   ? "u32"
             : is(type, "s64") || is(type, "b64") ? "u64"
                                                  : type);
    return true;
}

static enum status decode_clock(struct decoder *decoder, struct instruction *instruction,
                                const struct flat *flat, const char *key)
{
    struct ptx_instruction shorter = *flat->source;
    struct flat changed = {.source = &shorter, .instance = flat->instance};
    bool fits;
    const char *why;
    shorter.n_operands = 1;
    TRY(special_form(decoder, instruction, key));
    TRY(decode_operands(decoder, instruction, &changed, instruction->form->operands, &fits, &why));
    return fits ? STATUS_OK : decode_error(decoder, why);
}

static enum status decode_one(struct decoder *decoder, struct instruction *instruction,
                              const struct flat *flat)
{
    const struct ptx_instruction *source = flat->source;
    const char *first = source->parts[0];
    decoder->at = flat;
    *instruction = (struct instruction){
        .guard = source->guard < 0
                     ? -1
                     : decoder->places[flat->instance->first_register + source->guard],
        .guard_negated = source->guard_negated,
        .target = flat->target,
        .targets = flat->targets,
        .n_targets = flat->n_targets,
        .place = source->place,
        .text = source->text,
    };
    if (is(first, "call") && flat->target >= 0) { /* round a guarded call that was put in line */
        instruction->guard_negated = !instruction->guard_negated;
        return special_form(decoder, instruction, "bra");
    }
    if (is(first, "call"))
        return system_call(decoder, instruction, flat);
    if (is(first, "bra") || (is(first, "ret") && flat->target >= 0))
        return special_form(decoder, instruction, "bra");
    if (is(first, "ret") || is(first, "exit"))
        return special_form(decoder, instruction, "exit");
    if (is(first, "brx")) { /* the list is in place already */
        struct ptx_instruction shorter = *source;
        struct flat changed = *flat;
        shorter.n_operands = 1;
        changed.source = &shorter;
        return look_up(decoder, instruction, &changed);
    }
    char key[FORM_KEY_SIZE];
    if (reads_clock(source, key))
        return decode_clock(decoder, instruction, flat, key);
    return look_up(decoder, instruction, flat);
}

/* ---- the whole ------------------------------------------------------------------------------ */

static enum status place_registers(struct decoder *decoder)
{
    struct program *program = decoder->program;
    decoder->places =
        arena_alloc(decoder->arena, (size_t)decoder->n_registers, sizeof *decoder->places);
    program->registers =
        arena_alloc(decoder->arena, (size_t)decoder->n_registers + 1, sizeof *program->registers);
    if (!decoder->places || !program->registers)
        return err_no_memory(decoder->err, "a program", 0);
    program->n_registers = decoder->n_registers + 1;
    decoder->carry = program->n_predicates++;
    program->registers[decoder->n_registers] =
        (struct placed_register){decoder->carry, true, false};
    for (int i = 0; i < decoder->n_registers; i++) {
        enum ptx_type type = decoder->register_types[i];
        bool wide = ptx_type_size(type) == 8;
        program->registers[i] = (struct placed_register){
            type == PTX_PRED ? program->n_predicates : (int32_t)program->register_bytes,
            type == PTX_PRED, wide};
        if (type == PTX_PRED) {
            decoder->places[i] = program->n_predicates++;
            continue;
        }
        decoder->places[i] = (int32_t)program->register_bytes;
        program->register_bytes += (size_t)WARP_LANES * (ptx_type_size(type) == 8 ? 8 : 4);
    }
    return STATUS_OK;
}

/* Shared variables of the module that are used must have places before the size is known. */
static enum status place_module_shared(struct decoder *decoder)
{
    for (int i = 0; i < decoder->n_flat; i++) {
        const struct ptx_instruction *source = decoder->flat[i].source;
        for (int j = 0; source && j < source->n_operands; j++) {
            const struct ptx_operand *operand = &source->operands[j];
            bool found;
            int64_t offset;
            if (operand->symbol && operand->variable < 0)
                TRY(decode_shared_offset(decoder, operand->symbol, &found, &offset));
        }
    }
    return STATUS_OK;
}

static enum status fill_parameters(struct decoder *decoder)
{
    struct program *program = decoder->program;
    const struct ptx_function *kernel = decoder->kernel;
    program->n_parameters = kernel->n_parameters;
    program->parameters =
        arena_alloc(decoder->arena, (size_t)kernel->n_parameters, sizeof *program->parameters);
    if (!program->parameters)
        return err_no_memory(decoder->err, "a program", 0);
    int64_t offset = 0;
    for (int i = 0; i < kernel->n_parameters; i++) {
        const struct ptx_variable *parameter = &kernel->variables[kernel->n_returns + i];
        offset = (offset + parameter->align - 1) / parameter->align * parameter->align;
        program->parameters[i] = (struct parameter){(int32_t)offset, (int32_t)parameter->size};
        offset += parameter->size;
    }
    return STATUS_OK;
}

enum status decode_kernel(struct program *program, const struct ptx_module *module,
                          const struct ptx_function *kernel, const struct decode_settings *settings,
                          struct arena *arena, struct err *err)
{
    struct decoder decoder = {
        .settings = settings,
        .module = module,
        .kernel = kernel,
        .program = program,
        .arena = arena,
        .err = err,
    };
    *program =
        (struct program){.name = kernel->name, .module = module, .min_blocks = kernel->min_blocks};
    if (kernel->n_instructions == 0)
        return err_set(err, STATUS_BAD_DATA, "%s: line %d: %s is declared, and has no body",
                       settings->module_name, kernel->ptx_line, kernel->name);
    memcpy(program->max_threads, kernel->max_threads, sizeof program->max_threads);
    memcpy(program->required_threads, kernel->required_threads, sizeof program->required_threads);
    TRY(decode_flatten(&decoder));
    TRY(fill_parameters(&decoder));
    TRY(place_module_shared(&decoder));
    TRY(decode_size(&decoder, "static shared memory", decoder.shared_bytes, SHARED_LARGEST));
    TRY(decode_size(&decoder, "local memory", decoder.frame_bytes, FRAME_LARGEST));
    program->shared_bytes = (int)((decoder.shared_bytes + 15) / 16 * 16);
    program->local_bytes = (int)((decoder.frame_bytes + 15) / 16 * 16);
    TRY(place_registers(&decoder));
    program->n_instructions = decoder.n_flat;
    program->instructions =
        arena_alloc(arena, (size_t)decoder.n_flat, sizeof *program->instructions);
    if (!program->instructions)
        return err_no_memory(err, "a program", (size_t)decoder.n_flat * sizeof(struct instruction));
    for (int i = 0; i < decoder.n_flat; i++)
        TRY(decode_one(&decoder, &program->instructions[i], &decoder.flat[i]));
    TRY(flow_order(program, arena, err));
    return settings->own_places ? STATUS_OK : places_share(program, err);
}
