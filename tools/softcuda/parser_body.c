/* The body of a function: registers, variables, labels and instructions, with the scopes that asm
 * statements and call sequences open. Names are resolved here, so that a function comes out flat.
 * See ptx.h. */
#include <stdio.h>
#include <string.h>
#include "tools/softcuda/parser.h"

/* ---- names and scopes ----------------------------------------------------------------------- */

enum name_kind {
    NAME_REGISTER, /* number: index */
    NAME_VARIABLE, /* number: index */
    NAME_LABEL,    /* number: the instruction behind it */
};

struct name {
    const char *text;
    size_t length;
    enum name_kind kind;
    int number, scope;
    int next; /* in the bucket; -1: the end */
};

/* A name that was used before its scope ended: labels may come later. */
struct use {
    int instruction, operand, scope;
};

/* "NAME: .branchtargets LABEL, ...;": where a brx.idx that names it may lead. */
struct targets {
    const char *name, **labels;
    int scope, n;
};

#define BUCKETS 4096

struct body {
    struct parser *parser;
    struct name *names; /* never removed: a scope is left, its number not used again */
    int n_names, names_capacity;
    int buckets[BUCKETS];
    int *parents; /* of each scope; -1 for the function's own */
    int n_scopes, scopes_capacity, scope;
    struct use *uses;
    int n_uses, uses_capacity;
    struct targets *targets;
    int n_targets, targets_capacity;
    int registers_capacity, instructions_capacity;
    struct ptx_place place;
};

static uint32_t hash_name(const char *text, size_t length)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return (hash ^ hash >> 15) % BUCKETS;
}

static const struct name *find_name(const struct body *body, const char *text, size_t length,
                                    bool label, int scope);

static enum status add_name(struct body *body, const char *text, size_t length, enum name_kind kind,
                            int number)
{
    const struct name *twice = find_name(body, text, length, kind == NAME_LABEL, body->scope);
    if (twice && twice->scope == body->scope)
        return err_set(body->parser->err, STATUS_BAD_DATA, "%s: line %d: '%.*s' is declared twice",
                       body->parser->name, body->parser->lexer.token.line,
                       length < 60 ? (int)length : 60, text);
    if (!arena_grow(body->parser->arena, &body->names, body->n_names, &body->names_capacity,
                    sizeof *body->names))
        return parse_no_memory(body->parser);
    int *bucket = &body->buckets[hash_name(text, length)];
    body->names[body->n_names] = (struct name){text, length, kind, number, body->scope, *bucket};
    *bucket = body->n_names++;
    return STATUS_OK;
}

static bool encloses(const struct body *body, int outer, int inner)
{
    while (inner > outer)
        inner = body->parents[inner];
    return inner == outer;
}

/* The innermost one that `scope` sees. */
static const struct name *find_name(const struct body *body, const char *text, size_t length,
                                    bool label, int scope)
{
    const struct name *best = NULL;
    for (int i = body->buckets[hash_name(text, length)]; i >= 0; i = body->names[i].next) {
        const struct name *name = &body->names[i];
        if (name->length == length && memcmp(name->text, text, length) == 0 &&
            (name->kind == NAME_LABEL) == label && encloses(body, name->scope, scope) &&
            (!best || name->scope > best->scope))
            best = name;
    }
    return best;
}

static enum status open_scope(struct body *body)
{
    if (!arena_grow(body->parser->arena, &body->parents, body->n_scopes, &body->scopes_capacity,
                    sizeof *body->parents))
        return parse_no_memory(body->parser);
    body->parents[body->n_scopes] = body->scope;
    body->scope = body->n_scopes++;
    return STATUS_OK;
}

/* ---- declarations --------------------------------------------------------------------------- */

static enum status add_register(struct body *body, const char *text, size_t length,
                                enum ptx_type type)
{
    struct ptx_function *function = body->parser->function;
    if (!arena_grow(body->parser->arena, &function->registers, function->n_registers,
                    &body->registers_capacity, sizeof *function->registers))
        return parse_no_memory(body->parser);
    function->registers[function->n_registers] = (struct ptx_register){text, type};
    return add_name(body, text, length, NAME_REGISTER, function->n_registers++);
}

/* ".reg .b32 %r<60>, a, b;" */
static enum status parse_registers(struct body *body)
{
    struct parser *parser = body->parser;
    enum ptx_type type;
    TRY(parse_type(parser, &type));
    do {
        const char *name;
        TRY(parse_name(parser, &name));
        if (!parse_take(parser, '<')) {
            TRY(add_register(body, name, strlen(name), type));
            continue;
        }
        int64_t count;
        TRY(parse_integer(parser, &count));
        TRY(parse_expect(parser, '>'));
        if (count < 0 || count > 1 << 20)
            return parse_error(parser, "a sensible number of registers is expected");
        for (int64_t i = 0; i < count; i++) {
            char text[128];
            int length = snprintf(text, sizeof text, "%.100s%lld", name, (long long)i);
            const char *copy = arena_text(parser->arena, text, (size_t)length);
            if (!copy)
                return parse_no_memory(parser);
            TRY(add_register(body, copy, (size_t)length, type));
        }
    } while (parse_take(parser, ','));
    return parse_expect(parser, ';');
}

static enum status parse_local_variable(struct body *body, enum ptx_space space)
{
    struct parser *parser = body->parser;
    struct ptx_variable variable;
    do {
        TRY(parse_variable(parser, &variable, space));
        TRY(add_name(body, variable.name, strlen(variable.name), NAME_VARIABLE,
                     parser->function->n_variables));
        TRY(parse_add_variable(parser, &variable));
    } while (parse_take(parser, ','));
    return parse_expect(parser, ';');
}

/* ---- places --------------------------------------------------------------------------------- */

/* ".loc 2 266 1, function_name NAME, inlined_at 1 6 2". Where the place that inlined it was itself
 * inlined, an instruction of that place came before with its own inlined_at; the chain of files
 * and lines is kept in the module's own table, found again by a walk from the newest. */
static enum status parse_loc(struct body *body)
{
    struct parser *parser = body->parser;
    int64_t file, line, column, at_file = -1, at_line = 0, at_column;
    TRY(parse_integer(parser, &file));
    TRY(parse_integer(parser, &line));
    TRY(parse_integer(parser, &column));
    while (parse_take(parser, ',')) {
        if (parse_take_name(parser, "function_name")) {
            lexer_next(&parser->lexer);
            if (parse_take(parser, '+'))
                TRY(parse_integer(parser, &at_column));
        } else if (parse_take_name(parser, "inlined_at")) {
            TRY(parse_integer(parser, &at_file));
            TRY(parse_integer(parser, &at_line));
            TRY(parse_integer(parser, &at_column));
        } else {
            return parse_error(parser, "function_name or inlined_at is expected");
        }
    }
    if (line == 0) /* "no line": the place before holds on */
        return STATUS_OK;
    struct ptx_place place = {.file = (int)file, .line = (int)line};
    place.outer_file = at_file < 0 ? (int)file : (int)at_file;
    place.outer_line = at_file < 0 ? (int)line : (int)at_line;
    /* Inlined at the very place that the .loc before names: that one's outer place is ours. */
    if (at_file >= 0 && body->place.file == at_file && body->place.line == at_line) {
        place.outer_file = body->place.outer_file;
        place.outer_line = body->place.outer_line;
    }
    body->place = place;
    return STATUS_OK;
}

/* ---- operands ------------------------------------------------------------------------------- */

static enum status parse_operand(struct body *body, struct ptx_operand *operand, int depth);

static enum status parse_list(struct body *body, struct ptx_operand *operand, char end, int depth)
{
    struct parser *parser = body->parser;
    struct ptx_operand elements[64];
    int n = 0;
    while (!token_is_char(&parser->lexer.token, end)) {
        if (n == 64 || depth > 1)
            return parse_error(parser, "a shorter list is expected");
        TRY(parse_operand(body, &elements[n++], depth + 1));
        if (!parse_take(parser, ','))
            break;
    }
    operand->elements = arena_alloc(parser->arena, (size_t)n, sizeof *elements);
    if (!operand->elements)
        return parse_no_memory(parser);
    memcpy(operand->elements, elements, (size_t)n * sizeof *elements);
    operand->n_elements = n;
    return parse_expect(parser, end);
}

/* The token at hand is a name: of a register, a variable, a special register such as %tid.x, or one
 * of the module's. */
static enum status parse_named(struct body *body, struct ptx_operand *operand)
{
    struct parser *parser = body->parser;
    struct token token = parser->lexer.token;
    if (token_is(&token, "_")) {
        operand->kind = PTX_OPERAND_SINK;
        lexer_next(&parser->lexer);
        return STATUS_OK;
    }
    const struct name *name = find_name(body, token.text, token.length, false, body->scope);
    if (name && name->kind == NAME_REGISTER) {
        operand->kind = PTX_OPERAND_REGISTER;
        operand->reg = name->number;
        lexer_next(&parser->lexer);
        return STATUS_OK;
    }
    operand->kind = PTX_OPERAND_SYMBOL;
    operand->variable = name ? name->number : -1;
    if (token.text[0] == '%') { /* the suffix belongs to it */
        lexer_take_opcode(&parser->lexer);
        token = parser->lexer.token;
    }
    return parse_name(parser, &operand->symbol);
}

static enum status parse_offset(struct parser *parser, int64_t *offset)
{
    int64_t more;
    while (token_is_char(&parser->lexer.token, '+') || token_is_char(&parser->lexer.token, '-')) {
        parse_take(parser, '+');
        TRY(parse_integer(parser, &more));
        *offset = (int64_t)((uint64_t)*offset + (uint64_t)more);
    }
    return STATUS_OK;
}

static enum status parse_address(struct body *body, struct ptx_operand *operand)
{
    struct parser *parser = body->parser;
    if (parser->lexer.token.kind == TOKEN_NAME)
        TRY(parse_named(body, operand));
    else
        TRY(parse_integer(parser, &operand->integer));
    TRY(parse_offset(parser, &operand->integer));
    operand->kind = PTX_OPERAND_ADDRESS;
    return parse_expect(parser, ']');
}

/* "d|p": the second result. */
static enum status parse_pair(struct body *body, struct ptx_operand *operand)
{
    struct ptx_operand second;
    if (!parse_take(body->parser, '|'))
        return STATUS_OK;
    TRY(parse_operand(body, &second, 1));
    if (second.kind != PTX_OPERAND_REGISTER && second.kind != PTX_OPERAND_SINK)
        return parse_error(body->parser, "a register is expected behind '|'");
    operand->pair = second.kind == PTX_OPERAND_SINK ? -2 : second.reg;
    return STATUS_OK;
}

static enum status parse_operand(struct body *body, struct ptx_operand *operand, int depth)
{
    struct parser *parser = body->parser;
    *operand =
        (struct ptx_operand){.kind = PTX_OPERAND_INTEGER, .reg = -1, .pair = -1, .variable = -1};
    if (parse_take(parser, '[')) {
        return parse_address(body, operand);
    } else if (parse_take(parser, '{')) {
        operand->kind = PTX_OPERAND_VECTOR;
        return parse_list(body, operand, '}', depth);
    } else if (parse_take(parser, '(')) {
        operand->kind = PTX_OPERAND_LIST;
        return parse_list(body, operand, ')', depth);
    } else if (parse_take(parser, '!')) {
        operand->negated = true;
        if (parser->lexer.token.kind == TOKEN_NAME)
            TRY(parse_named(body, operand));
        return operand->kind == PTX_OPERAND_REGISTER
                   ? STATUS_OK
                   : parse_error(parser, "a predicate is expected behind '!'");
    } else if (parser->lexer.token.kind == TOKEN_NAME) {
        TRY(parse_named(body, operand));
        if (operand->kind == PTX_OPERAND_SYMBOL)
            return parse_offset(parser, &operand->integer);
        return parse_pair(body, operand);
    }
    bool negative = parse_take(parser, '-');
    if (parser->lexer.token.kind == TOKEN_FLOAT) {
        operand->kind = PTX_OPERAND_FLOAT;
        operand->is_double = parser->lexer.token.is_double;
        operand->bits = parser->lexer.token.bits;
        if (negative)
            operand->bits ^= operand->is_double ? (uint64_t)1 << 63 : (uint64_t)1 << 31;
        lexer_next(&parser->lexer);
        return STATUS_OK;
    }
    operand->kind = PTX_OPERAND_INTEGER;
    TRY(parse_integer(parser, &operand->integer));
    if (negative)
        operand->integer = (int64_t)(0 - (uint64_t)operand->integer);
    return STATUS_OK;
}

/* ---- instructions --------------------------------------------------------------------------- */

static enum status cut_opcode(struct parser *parser, struct ptx_instruction *instruction)
{
    const struct token *token = &parser->lexer.token;
    char *text = arena_text(parser->arena, token->text, token->length);
    char *parts = arena_text(parser->arena, token->text, token->length);
    if (!text || !parts)
        return parse_no_memory(parser);
    instruction->text = text;
    for (char *part = parts; part; instruction->n_parts++) {
        if (instruction->n_parts == PTX_PARTS_LARGEST)
            return parse_error(parser, "an opcode with fewer dots is expected");
        instruction->parts[instruction->n_parts] = part;
        part = strchr(part, '.');
        if (part)
            *part++ = '\0';
    }
    return STATUS_OK;
}

static enum status parse_guard(struct body *body, struct ptx_instruction *instruction)
{
    struct parser *parser = body->parser;
    struct ptx_operand guard = {.reg = -1, .pair = -1, .variable = -1};
    instruction->guard = -1;
    if (!parse_take(parser, '@'))
        return STATUS_OK;
    instruction->guard_negated = parse_take(parser, '!');
    if (parser->lexer.token.kind == TOKEN_NAME)
        TRY(parse_named(body, &guard));
    if (guard.kind != PTX_OPERAND_REGISTER || guard.reg < 0 ||
        parser->function->registers[guard.reg].type != PTX_PRED)
        return parse_error(parser, "a predicate is expected behind '@'");
    instruction->guard = guard.reg;
    return STATUS_OK;
}

static enum status parse_instruction(struct body *body)
{
    struct parser *parser = body->parser;
    struct ptx_function *function = parser->function;
    struct ptx_instruction instruction = {.place = body->place};
    TRY(parse_guard(body, &instruction));
    instruction.place.ptx_line = parser->lexer.token.line;
    if (parser->lexer.token.kind != TOKEN_NAME || parser->lexer.token.text[0] == '.')
        return parse_error(parser, "an instruction is expected");
    lexer_take_opcode(&parser->lexer);
    TRY(cut_opcode(parser, &instruction));
    lexer_next(&parser->lexer);
    while (!token_is_char(&parser->lexer.token, ';')) {
        if (instruction.n_operands == PTX_OPERANDS_LARGEST)
            return parse_error(parser, "fewer operands are expected");
        struct ptx_operand *operand = &instruction.operands[instruction.n_operands];
        TRY(parse_operand(body, operand, 0));
        bool list = strcmp(instruction.parts[0], "brx") == 0 && instruction.n_operands == 1;
        if (strcmp(instruction.parts[0], "bra") == 0 || list) {
            if (!arena_grow(parser->arena, &body->uses, body->n_uses, &body->uses_capacity,
                            sizeof *body->uses))
                return parse_no_memory(parser);
            body->uses[body->n_uses++] =
                (struct use){function->n_instructions, instruction.n_operands, body->scope};
        }
        instruction.n_operands++;
        if (!parse_take(parser, ','))
            break;
    }
    if (strcmp(instruction.parts[0], "bra") == 0 && instruction.n_operands != 1)
        return parse_error(parser, "one label to branch to is expected");
    if (strcmp(instruction.parts[0], "brx") == 0 && instruction.n_operands != 2)
        return parse_error(parser, "an index and a list of targets are expected");
    TRY(parse_expect(parser, ';'));
    if (!arena_grow(parser->arena, &function->instructions, function->n_instructions,
                    &body->instructions_capacity, sizeof instruction))
        return parse_no_memory(parser);
    function->instructions[function->n_instructions++] = instruction;
    return STATUS_OK;
}

/* "NAME:" at the beginning of a statement. */
static bool at_label(const struct lexer *lexer)
{
    struct lexer ahead = *lexer;
    if (ahead.token.kind != TOKEN_NAME || ahead.token.text[0] == '.')
        return false;
    lexer_next(&ahead);
    return token_is_char(&ahead.token, ':') && !(ahead.next < ahead.end && *ahead.next == ':');
}

static enum status parse_targets(struct body *body, const struct token *token)
{
    struct parser *parser = body->parser;
    struct targets targets = {.scope = body->scope};
    int capacity = 0;
    targets.name = arena_text(parser->arena, token->text, token->length);
    if (!targets.name)
        return parse_no_memory(parser);
    do {
        if (!arena_grow(parser->arena, &targets.labels, targets.n, &capacity,
                        sizeof *targets.labels))
            return parse_no_memory(parser);
        TRY(parse_name(parser, &targets.labels[targets.n++]));
    } while (parse_take(parser, ','));
    if (!arena_grow(parser->arena, &body->targets, body->n_targets, &body->targets_capacity,
                    sizeof targets))
        return parse_no_memory(parser);
    body->targets[body->n_targets++] = targets;
    return parse_expect(parser, ';');
}

static enum status parse_label(struct body *body)
{
    struct parser *parser = body->parser;
    struct token token = parser->lexer.token;
    TRY(add_name(body, token.text, token.length, NAME_LABEL, parser->function->n_instructions));
    lexer_next(&parser->lexer);
    TRY(parse_expect(parser, ':'));
    return parse_take_name(parser, ".branchtargets") ? parse_targets(body, &token) : STATUS_OK;
}

static enum status resolve_label(struct body *body, const struct use *use, const char *text,
                                 struct ptx_operand *operand)
{
    struct ptx_function *function = body->parser->function;
    const struct name *label = find_name(body, text, strlen(text), true, use->scope);
    if (!label || label->number >= function->n_instructions)
        return err_set(body->parser->err, STATUS_BAD_DATA,
                       "%s: line %d: there is no label '%s' to branch to", body->parser->name,
                       function->instructions[use->instruction].place.ptx_line, text);
    *operand = (struct ptx_operand){
        .kind = PTX_OPERAND_LABEL, .reg = -1, .pair = -1, .variable = -1, .integer = label->number};
    return STATUS_OK;
}

/* The name of a brx.idx becomes the list that it stands for. */
static enum status resolve_targets(struct body *body, const struct use *use,
                                   struct ptx_operand *operand)
{
    const char *text = operand->kind == PTX_OPERAND_SYMBOL ? operand->symbol : "";
    const struct targets *found = NULL;
    for (int i = 0; i < body->n_targets; i++) {
        const struct targets *targets = &body->targets[i];
        if (strcmp(targets->name, text) == 0 && encloses(body, targets->scope, use->scope) &&
            (!found || targets->scope > found->scope))
            found = targets;
    }
    if (!found)
        return err_set(body->parser->err, STATUS_BAD_DATA,
                       "%s: line %d: there is no .branchtargets '%s'", body->parser->name,
                       body->parser->function->instructions[use->instruction].place.ptx_line, text);
    operand->kind = PTX_OPERAND_LIST;
    operand->n_elements = found->n;
    operand->elements =
        arena_alloc(body->parser->arena, (size_t)found->n, sizeof *operand->elements);
    if (!operand->elements)
        return parse_no_memory(body->parser);
    for (int i = 0; i < found->n; i++)
        TRY(resolve_label(body, use, found->labels[i], &operand->elements[i]));
    return STATUS_OK;
}

static enum status resolve_labels(struct body *body)
{
    struct ptx_function *function = body->parser->function;
    for (int i = 0; i < body->n_uses; i++) {
        const struct use *use = &body->uses[i];
        struct ptx_instruction *instruction = &function->instructions[use->instruction];
        struct ptx_operand *operand = &instruction->operands[use->operand];
        const char *text = operand->kind == PTX_OPERAND_SYMBOL ? operand->symbol : "";
        if (strcmp(instruction->parts[0], "brx") == 0)
            TRY(resolve_targets(body, use, operand));
        else
            TRY(resolve_label(body, use, text, operand));
    }
    return STATUS_OK;
}

/* "NAME: .callprototype ...;" says what a call through a pointer takes, .calltargets where it may
 * lead. Such calls are refused where they stand. */
static bool at_targets(const struct lexer *lexer)
{
    return token_is(&lexer->token, ".callprototype") || token_is(&lexer->token, ".calltargets");
}

static enum status skip_statement(struct parser *parser)
{
    while (parser->lexer.token.kind != TOKEN_END && !token_is_char(&parser->lexer.token, ';'))
        lexer_next(&parser->lexer);
    return parse_expect(parser, ';');
}

static enum status parse_statement(struct body *body)
{
    struct parser *parser = body->parser;
    enum ptx_space space = parse_space(parser);
    if (parse_take(parser, ';'))
        return STATUS_OK;
    if (parse_take_name(parser, ".loc"))
        return parse_loc(body);
    if (parse_take_name(parser, ".pragma")) {
        lexer_next(&parser->lexer);
        return parse_expect(parser, ';');
    }
    if (at_targets(&parser->lexer))
        return skip_statement(parser);
    if (parse_take_name(parser, ".reg"))
        return parse_registers(body);
    if (space == PTX_SHARED || space == PTX_LOCAL || space == PTX_PARAM) {
        lexer_next(&parser->lexer);
        return parse_local_variable(body, space);
    }
    return at_label(&parser->lexer) ? parse_label(body) : parse_instruction(body);
}

/* A label may stand before the closing brace: a `ret` for it to name. */
static enum status add_last_ret(struct body *body)
{
    struct parser *parser = body->parser;
    struct ptx_function *function = parser->function;
    struct ptx_instruction ret = {
        .text = "ret", .parts = {"ret"}, .n_parts = 1, .guard = -1, .place = body->place};
    ret.place.ptx_line = parser->lexer.token.line;
    if (!arena_grow(parser->arena, &function->instructions, function->n_instructions,
                    &body->instructions_capacity, sizeof ret))
        return parse_no_memory(parser);
    function->instructions[function->n_instructions++] = ret;
    return STATUS_OK;
}

enum status parse_body(struct parser *parser)
{
    struct body body = {.parser = parser, .scope = -1};
    body.place = (struct ptx_place){.file = -1, .outer_file = -1};
    memset(body.buckets, -1, sizeof body.buckets);
    TRY(parse_expect(parser, '{'));
    TRY(open_scope(&body));
    for (int i = 0; i < parser->function->n_variables; i++) {
        const char *name = parser->function->variables[i].name;
        TRY(add_name(&body, name, strlen(name), NAME_VARIABLE, i));
    }
    while (body.scope >= 0) {
        if (parse_take(parser, '{')) {
            TRY(open_scope(&body));
        } else if (token_is_char(&parser->lexer.token, '}')) {
            body.scope = body.parents[body.scope];
            if (body.scope < 0)
                TRY(add_last_ret(&body));
            lexer_next(&parser->lexer);
        } else {
            TRY(parse_statement(&body));
        }
    }
    return resolve_labels(&body);
}
