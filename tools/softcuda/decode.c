/* Instructions of the tree to instructions that run. See decode.h. Most opcodes are looked up as
 * they stand; those with many variable parts (memory, conversions, comparisons, barriers) have
 * their parts put into fields first. */
#include "tools/softcuda/decode.h"

#include <stdio.h>
#include <string.h>
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

/* ---- parts of an opcode --------------------------------------------------------------------- */

static bool is(const char *part, const char *name)
{
    return strcmp(part, name) == 0;
}

/* The index of part in names, or -1. */
static int index_of(const char *part, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        if (names[i] && is(part, names[i]))
            return i;
    return -1;
}

/* What says how to cache, or whose order counts, and changes no result. */
static bool is_neutral(const char *part)
{
    static const char *const names[] = {"weak", "ca", "cg",  "cs",  "lu",  "cv",      "wb",
                                        "wt",   "nc", "cta", "gpu", "sys", "cluster", "noftz"};
    return index_of(part, names, sizeof names / sizeof *names) >= 0 ||
           strncmp(part, "L1::", 4) == 0 || strncmp(part, "L2::", 4) == 0;
}

/* STRONG_..., 0: none of them. */
static int strength(const char *part)
{
    static const char *const names[] = {"volatile", "relaxed", "acquire", "release", "acq_rel"};
    static const int strengths[] = {STRONG_RELAXED, STRONG_RELAXED, STRONG_ACQUIRE, STRONG_RELEASE,
                                    STRONG_ACQUIRE | STRONG_RELEASE};
    int found = index_of(part, names, sizeof names / sizeof *names);
    return found < 0 ? 0 : strengths[found];
}

static bool take_space(struct instruction *instruction, const char *part)
{
    static const char *const names[] = {[PTX_GLOBAL] = "global",
                                        [PTX_SHARED] = "shared",
                                        [PTX_LOCAL] = "local",
                                        [PTX_CONST] = "const",
                                        [PTX_PARAM] = "param"};
    char name[16];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(part, ":"), part);
    int space = index_of(name, names, sizeof names / sizeof *names);
    if (space >= 0)
        instruction->space = (uint8_t)space;
    return space >= 0;
}

/* ---- families ------------------------------------------------------------------------------- */

/* Each sets fields of the instruction and writes the opcode to look up into `key`; false: a part
 * that it does not know. */
#define KEY_SIZE 128

static bool memory_fields(const struct ptx_instruction *source, struct instruction *instruction,
                          char *key)
{
    static const char *const atomics[] = {
        [ATOMIC_ADD] = "add", [ATOMIC_MIN] = "min",   [ATOMIC_MAX] = "max", [ATOMIC_INC] = "inc",
        [ATOMIC_DEC] = "dec", [ATOMIC_AND] = "and",   [ATOMIC_OR] = "or",   [ATOMIC_XOR] = "xor",
        [ATOMIC_CAS] = "cas", [ATOMIC_EXCH] = "exch",
    };
    bool atomic = is(source->parts[0], "atom") || is(source->parts[0], "red");
    instruction->vector = 1;
    instruction->space = PTX_GENERIC;
    instruction->aux = -1;
    for (int i = 1; i < source->n_parts; i++) {
        const char *part = source->parts[i];
        enum ptx_type type = ptx_type_named(part, strlen(part));
        int operation = atomic ? index_of(part, atomics, sizeof atomics / sizeof *atomics) : -1;
        if (type != PTX_NONE)
            instruction->type = (uint8_t)type;
        else if (is(part, "v2") || is(part, "v4"))
            instruction->vector = (uint8_t)(part[1] - '0');
        else if (strength(part))
            instruction->strong = (uint8_t)strength(part);
        else if (operation >= 0)
            instruction->aux = operation;
        else if (!is_neutral(part) && !take_space(instruction, part))
            return false;
    }
    snprintf(key, KEY_SIZE, "%s%s", is(source->parts[0], "ldu") ? "ld" : source->parts[0],
             instruction->aux == ATOMIC_CAS ? ".cas" : "");
    if (atomic && (instruction->aux < 0 || instruction->vector > 1 ||
                   !rules_atomic((enum atomic_operation)instruction->aux,
                                 (enum ptx_type)instruction->type, is(source->parts[0], "red"))))
        return false;
    return instruction->type != PTX_NONE && instruction->type != PTX_PRED &&
           instruction->vector * ptx_type_size((enum ptx_type)instruction->type) <= 16;
}

/* cvt: two types, a rounding, flags. cvta: its direction and space. */
static bool convert_fields(const struct ptx_instruction *source, struct instruction *instruction,
                           char *key)
{
    static const char *const roundings[] = {
        [ROUND_NONE] = "",   [ROUND_RN] = "rn",   [ROUND_RZ] = "rz",   [ROUND_RM] = "rm",
        [ROUND_RP] = "rp",   [ROUND_RNI] = "rni", [ROUND_RZI] = "rzi", [ROUND_RMI] = "rmi",
        [ROUND_RPI] = "rpi", [ROUND_RNA] = "rna",
    };
    int rounding = ROUND_NONE, flags = 0, n_types = 0;
    enum ptx_type types[2] = {PTX_NONE, PTX_NONE};
    for (int i = 1; i < source->n_parts; i++) {
        const char *part = source->parts[i];
        enum ptx_type type = ptx_type_named(part, strlen(part));
        int found = index_of(part, roundings, sizeof roundings / sizeof *roundings);
        if (type != PTX_NONE && n_types < 2)
            types[n_types++] = type;
        else if (found >= 0)
            rounding = found;
        else if (is(part, "ftz"))
            flags |= CONVERT_FTZ;
        else if (is(part, "sat"))
            flags |= CONVERT_SAT;
        else if (is(part, "relu"))
            flags |= CONVERT_RELU;
        else
            return false;
    }
    if (n_types != 2 || !rules_convert(types[0], types[1], (enum rounding)rounding, flags))
        return false;
    instruction->aux = convert_pack(types[0], types[1], rounding, flags);
    instruction->type = (uint8_t)types[0];
    snprintf(key, KEY_SIZE, "cvt%s", types[0] == PTX_F16X2 || types[0] == PTX_BF16X2 ? ".x2" : "");
    return true;
}

static bool compare_fields(const struct ptx_instruction *source, struct instruction *instruction,
                           char *key)
{
    static const char *const comparisons[] = {
        [COMPARE_EQ] = "eq",   [COMPARE_NE] = "ne",   [COMPARE_LT] = "lt",   [COMPARE_LE] = "le",
        [COMPARE_GT] = "gt",   [COMPARE_GE] = "ge",   [COMPARE_LO] = "lo",   [COMPARE_LS] = "ls",
        [COMPARE_HI] = "hi",   [COMPARE_HS] = "hs",   [COMPARE_EQU] = "equ", [COMPARE_NEU] = "neu",
        [COMPARE_LTU] = "ltu", [COMPARE_LEU] = "leu", [COMPARE_GTU] = "gtu", [COMPARE_GEU] = "geu",
        [COMPARE_NUM] = "num", [COMPARE_NAN] = "nan",
    };
    static const char *const combinations[] = {
        [COMBINE_NONE] = "", [COMBINE_AND] = "and", [COMBINE_OR] = "or", [COMBINE_XOR] = "xor"};
    enum ptx_type types[2] = {PTX_NONE, PTX_NONE};
    int n_types = 0, comparison = -1, combination = COMBINE_NONE, ftz = 0;
    for (int i = 1; i < source->n_parts; i++) {
        const char *part = source->parts[i];
        enum ptx_type type = ptx_type_named(part, strlen(part));
        int found = index_of(part, comparisons, sizeof comparisons / sizeof *comparisons);
        if (type != PTX_NONE && n_types < 2)
            types[n_types++] = type;
        else if (found >= 0 && comparison < 0)
            comparison = found;
        else if (index_of(part, combinations, 4) > 0)
            combination = index_of(part, combinations, 4);
        else if (is(part, "ftz"))
            ftz = 1;
        else
            return false;
    }
    bool set = is(source->parts[0], "set");
    if (comparison < 0 || n_types != (set ? 2 : 1) ||
        !rules_compare(types[n_types - 1], (enum comparison)comparison, ftz))
        return false;
    instruction->aux = comparison;
    instruction->aux2 = combination | ftz << 8;
    instruction->type = (uint8_t)types[0];
    snprintf(key, KEY_SIZE, set ? "set.%s.%s" : "setp.%s", ptx_type_name(types[0]),
             ptx_type_name(types[n_types - 1]));
    return true;
}

/* bar and barrier are one thing; `bar` is always aligned. */
static bool barrier_fields(const struct ptx_instruction *source, struct instruction *instruction,
                           char *key)
{
    bool aligned = is(source->parts[0], "bar") && !is(source->parts[1], "warp");
    snprintf(key, KEY_SIZE, "bar");
    for (int i = 1; i < source->n_parts; i++) {
        aligned |= is(source->parts[i], "aligned");
        if (!is(source->parts[i], "aligned") && !is(source->parts[i], "cta"))
            snprintf(key + strlen(key), KEY_SIZE - strlen(key), ".%s", source->parts[i]);
    }
    instruction->aux2 = aligned;
    return source->n_parts > 1;
}

/* membar.gl, fence.acq_rel.gpu: the widest scope that is named. */
static bool fence_fields(const struct ptx_instruction *source, struct instruction *instruction,
                         char *key)
{
    instruction->aux = 0;
    for (int i = 1; i < source->n_parts; i++)
        if (is(source->parts[i], "gl") || is(source->parts[i], "gpu") ||
            is(source->parts[i], "sys"))
            instruction->aux = 1;
        else if (is(source->parts[i], "proxy") || is(source->parts[i], "mbarrier_init"))
            return false;
    snprintf(key, KEY_SIZE, "membar");
    return true;
}

static bool async_fields(const struct ptx_instruction *source, struct instruction *instruction,
                         char *key)
{
    instruction->space = PTX_SHARED;
    snprintf(key, KEY_SIZE, "cp.async");
    for (int i = 2; i < source->n_parts; i++) {
        const char *part = source->parts[i];
        if (is(part, "commit_group") || is(part, "wait_group") || is(part, "wait_all"))
            snprintf(key + strlen(key), KEY_SIZE - strlen(key), ".%s", part);
        else if (is(part, "cg"))
            instruction->aux2 = 1; /* beside the L1 cache */
        else if (!is_neutral(part) && !take_space(instruction, part))
            return false;
    }
    instruction->space = PTX_SHARED;
    return is(source->parts[1], "async");
}

/* Everything else: the opcode as it stands, without what is neutral. */
static bool plain_fields(const struct ptx_instruction *source, struct instruction *instruction,
                         char *key)
{
    bool matrix = is(source->parts[0], "mma") || is(source->parts[0], "ldmatrix");
    key[0] = '\0';
    for (int i = 0; i < source->n_parts; i++) {
        const char *part = source->parts[i];
        bool vote = is(source->parts[0], "vote"); /* whose .uni is an operation */
        if ((is(part, "uni") && !vote) || (matrix && is(part, "aligned")))
            continue;
        bool space = matrix && strncmp(part, "shared", 6) == 0;
        snprintf(key + strlen(key), KEY_SIZE - strlen(key), "%s%s", i > 0 ? "." : "",
                 space ? "shared" : part);
    }
    instruction->space = PTX_SHARED; /* of ldmatrix */
    instruction->type = (uint8_t)ptx_type_named(source->parts[source->n_parts - 1],
                                                strlen(source->parts[source->n_parts - 1]));
    return true;
}

typedef bool field_reader(const struct ptx_instruction *source, struct instruction *instruction,
                          char *key);

static field_reader *reader_of(const char *first)
{
    static const struct {
        const char *name;
        field_reader *read;
    } families[] = {
        {"ld", memory_fields},       {"ldu", memory_fields},   {"st", memory_fields},
        {"atom", memory_fields},     {"red", memory_fields},   {"cvt", convert_fields},
        {"setp", compare_fields},    {"set", compare_fields},  {"bar", barrier_fields},
        {"barrier", barrier_fields}, {"membar", fence_fields}, {"fence", fence_fields},
        {"cp", async_fields},
    };
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (is(first, families[i].name))
            return families[i].read;
    return plain_fields;
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
    char key[KEY_SIZE];
    const struct ptx_instruction *source = flat->source;
    if (!reader_of(source->parts[0])(source, instruction, key))
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

/* vprintf(format, arguments) and __assertfail(message, file, line, function, size): the places of
 * what they are given in the thread's local frame. */
static enum status system_call(struct decoder *decoder, struct instruction *instruction,
                               const struct flat *flat)
{
    const struct ptx_operand *list = NULL;
    const char *name = NULL;
    for (int i = 0; i < flat->source->n_operands; i++) {
        const struct ptx_operand *operand = &flat->source->operands[i];
        if (operand->kind == PTX_OPERAND_SYMBOL)
            name = operand->symbol;
        else if (operand->kind == PTX_OPERAND_LIST && name)
            list = operand;
        else if (operand->kind == PTX_OPERAND_LIST && operand->n_elements == 1 &&
                 operand->elements[0].variable >= 0)
            instruction->offset2 = flat->instance->offsets[operand->elements[0].variable];
    }
    bool print = is(name, "vprintf");
    if ((!print && !is(name, "__assertfail")) || !list || list->n_elements < 2 ||
        list->n_elements > OPERANDS_LARGEST)
        return decode_error(decoder, "a function without a body cannot be called");
    for (int i = 0; i < list->n_elements; i++) {
        if (list->elements[i].variable < 0)
            return decode_error(decoder, "only variables of the param space can be passed");
        /* No places in the register file: offsets in the frame. */
        instruction->sources[i] = (int32_t)flat->instance->offsets[list->elements[i].variable];
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
    snprintf(key, KEY_SIZE, "%s.%s", from->symbol + 1,
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
    char key[KEY_SIZE];
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
        arena_alloc(decoder->arena, (size_t)decoder->n_registers, sizeof *program->registers);
    if (!decoder->places || !program->registers)
        return err_no_memory(decoder->err, "a program", 0);
    program->n_registers = decoder->n_registers;
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
    memcpy(program->max_threads, kernel->max_threads, sizeof program->max_threads);
    memcpy(program->required_threads, kernel->required_threads, sizeof program->required_threads);
    TRY(decode_flatten(&decoder));
    TRY(fill_parameters(&decoder));
    TRY(place_module_shared(&decoder));
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
