/* What the two files of the parser share. */
#ifndef SOFTCUDA_PARSER_H
#define SOFTCUDA_PARSER_H

#include "tools/softcuda/lexer.h"
#include "tools/softcuda/ptx.h"

struct parser {
    struct lexer lexer;
    struct ptx_module *module;
    const char *name;
    struct arena *arena;
    struct err *err;
    struct ptx_function *function; /* the one at hand */
    /* Room in the arrays of module and function. */
    int variables_capacity, functions_capacity, files_capacity, module_variables_capacity;
};

/* "NAME: line N: WHAT, not 'TOKEN'": the token at hand is not what is wanted. */
enum status parse_error(struct parser *parser, const char *what);
enum status parse_no_memory(struct parser *parser);

/* Takes the token at hand if it is this one. */
bool parse_take(struct parser *parser, char character);
bool parse_take_name(struct parser *parser, const char *name);
enum status parse_expect(struct parser *parser, char character);

enum status parse_integer(struct parser *parser, int64_t *value); /* "-3" too */
enum status parse_name(struct parser *parser, const char **name); /* in the arena */
enum status parse_type(struct parser *parser, enum ptx_type *type);
/* The space that the token at hand names, PTX_GENERIC where it names none; nothing is taken. */
enum ptx_space parse_space(const struct parser *parser);

/* What follows ".global": alignment, type, name, bounds, initial value. */
enum status parse_variable(struct parser *parser, struct ptx_variable *variable,
                           enum ptx_space space);
enum status parse_add_variable(struct parser *parser, const struct ptx_variable *variable);

/* "{ ... }" of parser->function. (parser_body.c) */
enum status parse_body(struct parser *parser);

#endif
