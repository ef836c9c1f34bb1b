/* Tokens to the tree of a module. See ptx.h. A recursive descent over the whole text; the body of a
 * function, with its scopes, is parser_body.c's. */
#include "tools/softcuda/parser.h"

#include <stdio.h>
#include <string.h>

/* ---- names of types and spaces -------------------------------------------------------------- */

static const struct {
    const char *name;
    int size;
} types[] = {
    [PTX_NONE] = {"", 0},     [PTX_B8] = {"b8", 1},         [PTX_B16] = {"b16", 2},
    [PTX_B32] = {"b32", 4},   [PTX_B64] = {"b64", 8},       [PTX_U8] = {"u8", 1},
    [PTX_U16] = {"u16", 2},   [PTX_U32] = {"u32", 4},       [PTX_U64] = {"u64", 8},
    [PTX_S8] = {"s8", 1},     [PTX_S16] = {"s16", 2},       [PTX_S32] = {"s32", 4},
    [PTX_S64] = {"s64", 8},   [PTX_F16] = {"f16", 2},       [PTX_F16X2] = {"f16x2", 4},
    [PTX_BF16] = {"bf16", 2}, [PTX_BF16X2] = {"bf16x2", 4}, [PTX_TF32] = {"tf32", 4},
    [PTX_F32] = {"f32", 4},   [PTX_F64] = {"f64", 8},       [PTX_PRED] = {"pred", 0},
};

enum ptx_type ptx_type_named(const char *name, size_t length)
{
    for (int i = PTX_NONE + 1; i <= PTX_PRED; i++)
        if (strlen(types[i].name) == length && memcmp(types[i].name, name, length) == 0)
            return (enum ptx_type)i;
    return PTX_NONE;
}

const char *ptx_type_name(enum ptx_type type)
{
    return types[type].name;
}

int ptx_type_size(enum ptx_type type)
{
    return types[type].size;
}

const char *ptx_space_name(enum ptx_space space)
{
    static const char *const names[] = {"generic", "global", "shared", "local",
                                        "const",   "param",  "reg"};
    return names[space];
}

const char *ptx_place_file(const struct ptx_module *module, const struct ptx_place *place,
                           bool outer)
{
    int file = outer ? place->outer_file : place->file;
    return file < 0 || file >= module->n_files || !module->files[file] ? "?" : module->files[file];
}

/* ---- small pieces --------------------------------------------------------------------------- */

enum status parse_error(struct parser *parser, const char *what)
{
    const struct token *token = &parser->lexer.token;
    if (token->kind == TOKEN_END)
        return err_set(parser->err, STATUS_BAD_DATA, "%s: line %d: %s, but the text ends here",
                       parser->name, token->line, what);
    return err_set(parser->err, STATUS_BAD_DATA, "%s: line %d: %s, not '%.*s'", parser->name,
                   token->line, what, token->length < 60 ? (int)token->length : 60, token->text);
}

enum status parse_no_memory(struct parser *parser)
{
    return err_no_memory(parser->err, "the tree of a PTX module", parser->arena->total);
}

bool parse_take(struct parser *parser, char character)
{
    if (!token_is_char(&parser->lexer.token, character))
        return false;
    lexer_next(&parser->lexer);
    return true;
}

bool parse_take_name(struct parser *parser, const char *name)
{
    if (!token_is(&parser->lexer.token, name))
        return false;
    lexer_next(&parser->lexer);
    return true;
}

enum status parse_expect(struct parser *parser, char character)
{
    char what[] = "'?' is expected";
    what[1] = character;
    return parse_take(parser, character) ? STATUS_OK : parse_error(parser, what);
}

enum status parse_integer(struct parser *parser, int64_t *value)
{
    bool negative = parse_take(parser, '-');
    if (parser->lexer.token.kind != TOKEN_INTEGER)
        return parse_error(parser, "a whole number is expected");
    *value = parser->lexer.token.integer;
    if (negative)
        *value = (int64_t)(0 - (uint64_t)*value);
    lexer_next(&parser->lexer);
    return STATUS_OK;
}

enum status parse_name(struct parser *parser, const char **name)
{
    const struct token *token = &parser->lexer.token;
    if (token->kind != TOKEN_NAME || token->text[0] == '.')
        return parse_error(parser, "a name is expected");
    *name = arena_text(parser->arena, token->text, token->length);
    if (!*name)
        return parse_no_memory(parser);
    lexer_next(&parser->lexer);
    return STATUS_OK;
}

enum status parse_type(struct parser *parser, enum ptx_type *type)
{
    const struct token *token = &parser->lexer.token;
    *type = PTX_NONE;
    if (token->kind == TOKEN_NAME && token->text[0] == '.')
        *type = ptx_type_named(token->text + 1, token->length - 1);
    if (*type == PTX_NONE)
        return parse_error(parser, "a type is expected");
    lexer_next(&parser->lexer);
    return STATUS_OK;
}

/* ---- variables ------------------------------------------------------------------------------ */

enum ptx_space parse_space(const struct parser *parser)
{
    static const struct {
        const char *name;
        enum ptx_space space;
    } spaces[] = {{".global", PTX_GLOBAL}, {".shared", PTX_SHARED}, {".local", PTX_LOCAL},
                  {".const", PTX_CONST},   {".param", PTX_PARAM},   {".reg", PTX_REG}};
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
        if (token_is(&parser->lexer.token, spaces[i].name))
            return spaces[i].space;
    return PTX_GENERIC;
}

/* Values of an initialiser go one behind the other, whatever the braces. */
struct initialiser {
    struct ptx_variable *variable;
    int64_t offset;
    int relocations_capacity;
};

static enum status put_bits(struct parser *parser, struct initialiser *initialiser, uint64_t bits)
{
    struct ptx_variable *variable = initialiser->variable;
    int size = ptx_type_size(variable->type);
    if (initialiser->offset + size > variable->size)
        return parse_error(parser, "fewer values are expected");
    for (int i = 0; i < size; i++)
        variable->bytes[initialiser->offset + i] = (unsigned char)(bits >> 8 * i);
    initialiser->offset += size;
    return STATUS_OK;
}

static enum status put_symbol(struct parser *parser, struct initialiser *initialiser)
{
    struct ptx_variable *variable = initialiser->variable;
    struct ptx_relocation relocation = {.offset = initialiser->offset};
    bool generic = parse_take_name(parser, "generic");
    if (generic)
        TRY(parse_expect(parser, '('));
    TRY(parse_name(parser, &relocation.symbol));
    if (generic)
        TRY(parse_expect(parser, ')'));
    if (parse_take(parser, '+'))
        TRY(parse_integer(parser, &relocation.addend));
    if (ptx_type_size(variable->type) != 8)
        return parse_error(parser, "an address needs a type of 8 bytes");
    if (!arena_grow(parser->arena, &variable->relocations, variable->n_relocations,
                    &initialiser->relocations_capacity, sizeof relocation))
        return parse_no_memory(parser);
    variable->relocations[variable->n_relocations++] = relocation;
    return put_bits(parser, initialiser, 0);
}

static enum status put_value(struct parser *parser, struct initialiser *initialiser)
{
    const struct token *token = &parser->lexer.token;
    enum ptx_type type = initialiser->variable->type;
    if (token->kind == TOKEN_NAME)
        return put_symbol(parser, initialiser);
    if (token->kind == TOKEN_FLOAT) {
        uint64_t bits = token->bits;
        if (token->is_double && type == PTX_F32) {
            double value;
            memcpy(&value, &bits, sizeof value);
            float narrow = (float)value;
            uint32_t narrow_bits;
            memcpy(&narrow_bits, &narrow, sizeof narrow_bits);
            bits = narrow_bits;
        }
        lexer_next(&parser->lexer);
        return put_bits(parser, initialiser, bits);
    }
    int64_t value;
    TRY(parse_integer(parser, &value));
    return put_bits(parser, initialiser, (uint64_t)value);
}

static enum status parse_values(struct parser *parser, struct initialiser *initialiser, int depth)
{
    if (!parse_take(parser, '{'))
        return put_value(parser, initialiser);
    if (depth == 8)
        return parse_error(parser, "less deep braces are expected");
    while (!token_is_char(&parser->lexer.token, '}')) {
        TRY(parse_values(parser, initialiser, depth + 1));
        if (!parse_take(parser, ','))
            break;
    }
    return parse_expect(parser, '}');
}

/* "name[2][3]": the sizes multiply. */
static enum status parse_bounds(struct parser *parser, struct ptx_variable *variable)
{
    while (parse_take(parser, '[')) {
        int64_t n = 0;
        variable->is_array = true;
        if (!token_is_char(&parser->lexer.token, ']'))
            TRY(parse_integer(parser, &n));
        if (n < 0 || __builtin_mul_overflow(variable->size, n, &variable->size) ||
            variable->size > (int64_t)1 << 40)
            return parse_error(parser, "a sensible number of elements is expected");
        TRY(parse_expect(parser, ']'));
    }
    return STATUS_OK;
}

enum status parse_variable(struct parser *parser, struct ptx_variable *variable,
                           enum ptx_space space)
{
    *variable = (struct ptx_variable){.space = space};
    int64_t align = 0, vector = 1;
    for (;;) {
        if (parse_take_name(parser, ".align"))
            TRY(parse_integer(parser, &align));
        else if (parse_take_name(parser, ".v2"))
            vector = 2;
        else if (parse_take_name(parser, ".v4"))
            vector = 4;
        else if (!parse_take_name(parser, ".ptr") && !parse_take_name(parser, ".global"))
            break; /* .ptr .global: what a pointer parameter points to */
    }
    TRY(parse_type(parser, &variable->type));
    if (parse_take_name(parser, ".ptr")) {
        lexer_next(&parser->lexer); /* the space */
        if (parse_take_name(parser, ".align")) {
            int64_t unused;
            TRY(parse_integer(parser, &unused));
        }
    }
    TRY(parse_name(parser, &variable->name));
    variable->size = ptx_type_size(variable->type) * vector;
    if (align == 0)
        align = variable->size;
    if (align < 1 || align > 1 << 20 || (align & (align - 1)) != 0)
        return parse_error(parser, "an alignment that is a power of two is expected");
    variable->align = (int)align;
    TRY(parse_bounds(parser, variable));
    if (!parse_take(parser, '='))
        return STATUS_OK;
    variable->bytes = arena_alloc(parser->arena, (size_t)variable->size, 1);
    if (!variable->bytes)
        return parse_no_memory(parser);
    memset(variable->bytes, 0, (size_t)variable->size);
    return parse_values(parser, &(struct initialiser){.variable = variable}, 0);
}

/* ---- functions ------------------------------------------------------------------------------ */

enum status parse_add_variable(struct parser *parser, const struct ptx_variable *variable)
{
    struct ptx_function *function = parser->function;
    if (!arena_grow(parser->arena, &function->variables, function->n_variables,
                    &parser->variables_capacity, sizeof *variable))
        return parse_no_memory(parser);
    function->variables[function->n_variables++] = *variable;
    return STATUS_OK;
}

/* "(.param .b32 a, .param .b64 b)"; a function may also take and give registers, which nvcc does
 * not write. */
static enum status parse_parameters(struct parser *parser, int *count)
{
    TRY(parse_expect(parser, '('));
    while (!token_is_char(&parser->lexer.token, ')')) {
        struct ptx_variable variable;
        if (!parse_take_name(parser, ".param"))
            return parse_error(parser, ".param is expected");
        TRY(parse_variable(parser, &variable, PTX_PARAM));
        TRY(parse_add_variable(parser, &variable));
        ++*count;
        if (!parse_take(parser, ','))
            break;
    }
    return parse_expect(parser, ')');
}

static enum status parse_three(struct parser *parser, int out[3])
{
    for (int i = 0; i < 3; i++) {
        int64_t value = 1;
        if (i == 0 || parse_take(parser, ','))
            TRY(parse_integer(parser, &value));
        if (value < 1 || value > 1024)
            return parse_error(parser, "a number of threads is expected");
        out[i] = (int)value;
    }
    return STATUS_OK;
}

/* .maxntid and its like, between the parameters and the body. */
static enum status parse_limits(struct parser *parser, struct ptx_function *function)
{
    for (;;) {
        int64_t value;
        if (parse_take_name(parser, ".maxntid")) {
            TRY(parse_three(parser, function->max_threads));
        } else if (parse_take_name(parser, ".reqntid")) {
            TRY(parse_three(parser, function->required_threads));
        } else if (parse_take_name(parser, ".minnctapersm")) {
            TRY(parse_integer(parser, &value));
            function->min_blocks = (int)value;
        } else if (parse_take_name(parser, ".maxnreg") ||
                   parse_take_name(parser, ".maxnctapersm")) {
            TRY(parse_integer(parser, &value));
        } else if (parse_take_name(parser, ".pragma")) {
            lexer_next(&parser->lexer);
            parse_take(parser, ';');
        } else if (!parse_take_name(parser, ".noreturn")) {
            return STATUS_OK;
        }
    }
}

/* A declaration comes before a definition, perhaps several times: one entry stays. */
static struct ptx_function *find_function(struct ptx_module *module, const char *name)
{
    for (int i = 0; i < module->n_functions; i++)
        if (strcmp(module->functions[i].name, name) == 0)
            return &module->functions[i];
    return NULL;
}

static enum status parse_function(struct parser *parser, bool is_entry, bool is_extern)
{
    struct ptx_function function = {.is_entry = is_entry, .is_extern = is_extern};
    function.ptx_line = parser->lexer.token.line;
    parser->function = &function;
    parser->variables_capacity = 0;
    if (!is_entry && token_is_char(&parser->lexer.token, '('))
        TRY(parse_parameters(parser, &function.n_returns));
    TRY(parse_name(parser, &function.name));
    if (token_is_char(&parser->lexer.token, '('))
        TRY(parse_parameters(parser, &function.n_parameters));
    TRY(parse_limits(parser, &function));
    bool has_body = token_is_char(&parser->lexer.token, '{');
    if (has_body)
        TRY(parse_body(parser));
    else
        TRY(parse_expect(parser, ';'));
    struct ptx_module *module = parser->module;
    struct ptx_function *known = find_function(module, function.name);
    if (known && known->n_instructions > 0 && has_body)
        return err_set(parser->err, STATUS_BAD_DATA, "%s: line %d: %s is defined twice",
                       parser->name, function.ptx_line, function.name);
    if (known) {
        if (has_body)
            *known = function;
        return STATUS_OK;
    }
    if (!arena_grow(parser->arena, &module->functions, module->n_functions,
                    &parser->functions_capacity, sizeof function))
        return parse_no_memory(parser);
    module->functions[module->n_functions++] = function;
    return STATUS_OK;
}

/* ---- the module ----------------------------------------------------------------------------- */

static enum status parse_file(struct parser *parser)
{
    struct ptx_module *module = parser->module;
    int64_t number;
    TRY(parse_integer(parser, &number));
    const struct token *token = &parser->lexer.token;
    if (token->kind != TOKEN_STRING || number < 0 || number > 65535)
        return parse_error(parser, "a file's number and name are expected");
    while (module->n_files <= number) {
        if (!arena_grow(parser->arena, &module->files, module->n_files, &parser->files_capacity,
                        sizeof *module->files))
            return parse_no_memory(parser);
        module->files[module->n_files++] = NULL;
    }
    module->files[number] = arena_text(parser->arena, token->text, token->length);
    if (!module->files[number])
        return parse_no_memory(parser);
    lexer_next(&parser->lexer);
    int64_t unused; /* time and size of the file */
    while (parse_take(parser, ','))
        TRY(parse_integer(parser, &unused));
    return STATUS_OK;
}

/* Debugging sections hold what .loc says better. */
static enum status skip_section(struct parser *parser)
{
    while (parser->lexer.token.kind == TOKEN_NAME)
        lexer_next(&parser->lexer);
    TRY(parse_expect(parser, '{'));
    for (int depth = 1; depth > 0; lexer_next(&parser->lexer)) {
        if (parser->lexer.token.kind == TOKEN_END)
            return parse_error(parser, "'}' is expected");
        depth += token_is_char(&parser->lexer.token, '{');
        depth -= token_is_char(&parser->lexer.token, '}');
    }
    return STATUS_OK;
}

static enum status parse_version(struct parser *parser)
{
    const struct token *token = &parser->lexer.token;
    double value = 0;
    if (token->kind == TOKEN_FLOAT && token->is_double)
        memcpy(&value, &token->bits, sizeof value);
    if (value < 1 || value > 1000)
        return parse_error(parser, "a version such as 8.0 is expected");
    parser->module->version_major = (int)value;
    parser->module->version_minor = (int)((value - (int)value) * 10 + 0.5);
    lexer_next(&parser->lexer);
    return STATUS_OK;
}

/* ".target sm_80, debug" */
static enum status parse_target(struct parser *parser)
{
    do {
        const char *name;
        TRY(parse_name(parser, &name));
        sscanf(name, "sm_%d", &parser->module->target);
    } while (parse_take(parser, ','));
    return parser->module->target ? STATUS_OK : parse_error(parser, "a target is expected");
}

static enum status parse_module_variable(struct parser *parser, enum ptx_space space,
                                         bool is_extern)
{
    struct ptx_module *module = parser->module;
    struct ptx_variable variable;
    if (space != PTX_GLOBAL && space != PTX_CONST && space != PTX_SHARED)
        return parse_error(parser, ".global, .const, .shared, .func or .entry is expected");
    lexer_next(&parser->lexer);
    do {
        TRY(parse_variable(parser, &variable, space));
        variable.is_extern = is_extern;
        for (int i = 0; i < module->n_variables; i++)
            if (!is_extern && !module->variables[i].is_extern &&
                strcmp(module->variables[i].name, variable.name) == 0)
                return err_set(parser->err, STATUS_BAD_DATA, "%s: line %d: '%s' is declared twice",
                               parser->name, parser->lexer.token.line, variable.name);
        if (!arena_grow(parser->arena, &module->variables, module->n_variables,
                        &parser->module_variables_capacity, sizeof variable))
            return parse_no_memory(parser);
        module->variables[module->n_variables++] = variable;
    } while (parse_take(parser, ','));
    return parse_expect(parser, ';');
}

static enum status parse_declaration(struct parser *parser)
{
    bool is_extern = false;
    for (;;) {
        if (parse_take_name(parser, ".extern"))
            is_extern = true;
        else if (!parse_take_name(parser, ".visible") && !parse_take_name(parser, ".weak") &&
                 !parse_take_name(parser, ".common"))
            break;
    }
    if (parse_take_name(parser, ".entry"))
        return parse_function(parser, true, is_extern);
    if (parse_take_name(parser, ".func"))
        return parse_function(parser, false, is_extern);
    return parse_module_variable(parser, parse_space(parser), is_extern);
}

static enum status parse_module(struct parser *parser)
{
    while (parser->lexer.token.kind != TOKEN_END) {
        if (parse_take_name(parser, ".version")) {
            TRY(parse_version(parser));
        } else if (parse_take_name(parser, ".target")) {
            TRY(parse_target(parser));
        } else if (parse_take_name(parser, ".address_size")) {
            int64_t size;
            TRY(parse_integer(parser, &size));
            if (size != 64)
                return err_set(parser->err, STATUS_BAD_DATA,
                               "%s: line %d: addresses of %lld bits; only 64 are run", parser->name,
                               parser->lexer.token.line, (long long)size);
        } else if (parse_take_name(parser, ".file")) {
            TRY(parse_file(parser));
        } else if (parse_take_name(parser, ".section")) {
            TRY(skip_section(parser));
        } else if (!parse_take(parser, ';')) {
            TRY(parse_declaration(parser));
        }
    }
    if (parser->module->version_major == 0)
        return parse_error(parser, ".version is expected: this is no PTX");
    return STATUS_OK;
}

enum status ptx_parse(struct ptx_module *module, const char *text, size_t size, const char *name,
                      struct arena *arena, struct err *err)
{
    struct parser parser = {.module = module, .name = name, .arena = arena, .err = err};
    *module = (struct ptx_module){0};
    lexer_start(&parser.lexer, text, size);
    return parse_module(&parser);
}
