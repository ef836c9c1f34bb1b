/* PTX text cut into tokens. */
#ifndef SOFTCUDA_LEXER_H
#define SOFTCUDA_LEXER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum token_kind {
    TOKEN_END,
    TOKEN_NAME,        /* %r1, $L__BB0_2, _Z3fooPf, .entry (with its dot), _ */
    TOKEN_INTEGER,     /* integer */
    TOKEN_FLOAT,       /* bits, is_double */
    TOKEN_STRING,      /* text without the quotes */
    TOKEN_PUNCTUATION, /* character */
    TOKEN_BAD,         /* text says where */
};

struct token {
    enum token_kind kind;
    const char *text; /* in the source; not terminated */
    size_t length;
    int line;
    char character;
    int64_t integer;
    uint64_t bits;
    bool is_double;
};

struct lexer {
    const char *next, *end;
    int line;
    struct token token; /* the one at hand */
};

/* text need not be terminated. The first token is at hand afterwards. */
void lexer_start(struct lexer *lexer, const char *text, size_t size);
void lexer_next(struct lexer *lexer);
/* The token at hand is the first name of an opcode: takes all of `ld.global.L2::128B.v4.u32` as one
 * token. */
void lexer_take_opcode(struct lexer *lexer);

bool token_is(const struct token *token, const char *name);    /* a name */
bool token_is_char(const struct token *token, char character); /* a punctuation */

#endif
