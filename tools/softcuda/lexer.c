/* PTX text cut into tokens. See lexer.h. */
#include "tools/softcuda/lexer.h"

#include <stdlib.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool begins_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%';
}

static bool continues_name(char c)
{
    return begins_name(c) || is_digit(c);
}

static char peek(const struct lexer *lexer, size_t ahead)
{
    return (size_t)(lexer->end - lexer->next) > ahead ? lexer->next[ahead] : '\0';
}

/* Blanks, and comments of both kinds. */
static void skip_blanks(struct lexer *lexer)
{
    while (lexer->next < lexer->end) {
        char c = *lexer->next;
        if (c == '/' && peek(lexer, 1) == '/') {
            while (lexer->next < lexer->end && *lexer->next != '\n')
                lexer->next++;
        } else if (c == '/' && peek(lexer, 1) == '*') {
            lexer->next += 2;
            while (lexer->next < lexer->end && !(*lexer->next == '*' && peek(lexer, 1) == '/'))
                lexer->line += *lexer->next++ == '\n';
            lexer->next += lexer->next < lexer->end ? 2 : 0;
        } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            lexer->line += c == '\n';
            lexer->next++;
        } else {
            return;
        }
    }
}

static int digit_value(char c)
{
    return is_digit(c)            ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : 99;
}

/* Digits of a base into *value, modulo 2^64. false: none stands there. */
static bool read_digits(struct lexer *lexer, int base, uint64_t *value)
{
    const char *start = lexer->next;
    *value = 0;
    for (; digit_value(peek(lexer, 0)) < base; lexer->next++)
        *value = *value * (uint64_t)base + (uint64_t)digit_value(*lexer->next);
    return lexer->next > start;
}

/* 0f3F800000 and 0d3FF0000000000000 hold the bits of a number. */
static bool read_bits(struct lexer *lexer, struct token *token)
{
    char kind = peek(lexer, 1);
    token->is_double = kind == 'd' || kind == 'D';
    lexer->next += 2;
    const char *start = lexer->next;
    token->kind = TOKEN_FLOAT;
    return read_digits(lexer, 16, &token->bits) &&
           lexer->next - start == (token->is_double ? 16 : 8);
}

/* 1.5, 2e-3: a binary64. The text is copied since strtod wants an end. */
static bool read_decimal(struct lexer *lexer, struct token *token)
{
    char text[64];
    size_t n = 0;
    while (n + 1 < sizeof text && (is_digit(peek(lexer, n)) || peek(lexer, n) == '.' ||
                                   peek(lexer, n) == 'e' || peek(lexer, n) == 'E' ||
                                   ((peek(lexer, n) == '-' || peek(lexer, n) == '+') && n > 0 &&
                                    (text[n - 1] == 'e' || text[n - 1] == 'E')))) {
        text[n] = lexer->next[n];
        n++;
    }
    text[n] = '\0';
    char *end;
    double value = strtod(text, &end);
    if (end != text + n)
        return false;
    memcpy(&token->bits, &value, sizeof token->bits);
    token->is_double = true;
    token->kind = TOKEN_FLOAT;
    lexer->next += n;
    return true;
}

static bool read_number(struct lexer *lexer, struct token *token)
{
    char second = peek(lexer, 1);
    uint64_t value;
    bool good;
    if (peek(lexer, 0) == '0' && strchr("fFdD", second) && second)
        return read_bits(lexer, token);
    size_t n = 0;
    while (is_digit(peek(lexer, n)))
        n++;
    if (peek(lexer, n) == '.' ||
        ((peek(lexer, n) == 'e' || peek(lexer, n) == 'E') && second != 'x'))
        return read_decimal(lexer, token);
    if (peek(lexer, 0) == '0' && (second == 'x' || second == 'X')) {
        lexer->next += 2;
        good = read_digits(lexer, 16, &value);
    } else if (peek(lexer, 0) == '0' && (second == 'b' || second == 'B')) {
        lexer->next += 2;
        good = read_digits(lexer, 2, &value);
    } else {
        good = read_digits(lexer, peek(lexer, 0) == '0' ? 8 : 10, &value);
    }
    if (peek(lexer, 0) == 'U' || peek(lexer, 0) == 'u')
        lexer->next++;
    token->kind = TOKEN_INTEGER;
    token->integer = (int64_t)value;
    return good && !continues_name(peek(lexer, 0));
}

static bool read_string(struct lexer *lexer, struct token *token)
{
    const char *start = ++lexer->next;
    while (lexer->next < lexer->end && *lexer->next != '"' && *lexer->next != '\n')
        lexer->next++;
    token->kind = TOKEN_STRING;
    token->text = start;
    token->length = (size_t)(lexer->next - start);
    if (peek(lexer, 0) != '"')
        return false;
    lexer->next++;
    return true;
}

void lexer_next(struct lexer *lexer)
{
    skip_blanks(lexer);
    struct token *token = &lexer->token;
    *token = (struct token){.text = lexer->next, .line = lexer->line};
    if (lexer->next >= lexer->end) {
        token->kind = TOKEN_END;
        return;
    }
    char c = *lexer->next;
    bool good = true;
    if (c == '"') {
        good = read_string(lexer, token);
    } else if (is_digit(c)) {
        good = read_number(lexer, token);
        while (!good && continues_name(peek(lexer, 0))) /* the whole of it, for the message */
            lexer->next++;
        token->length = (size_t)(lexer->next - token->text);
    } else if (begins_name(c) || (c == '.' && begins_name(peek(lexer, 1)))) {
        lexer->next++;
        while (continues_name(peek(lexer, 0)))
            lexer->next++;
        token->kind = TOKEN_NAME;
        token->length = (size_t)(lexer->next - token->text);
    } else {
        lexer->next++;
        token->kind = TOKEN_PUNCTUATION;
        token->character = c;
        token->length = 1;
    }
    if (!good)
        token->kind = TOKEN_BAD;
}

void lexer_start(struct lexer *lexer, const char *text, size_t size)
{
    const char *zero = memchr(text, '\0', size);
    *lexer = (struct lexer){.next = text, .end = zero ? zero : text + size, .line = 1};
    lexer_next(lexer);
}

void lexer_take_opcode(struct lexer *lexer)
{
    for (;;) {
        char c = peek(lexer, 0), second = peek(lexer, 1);
        size_t colons = c == ':' && second == ':' ? 2 : c == '.' ? 1 : 0;
        if (colons == 0 || !continues_name(peek(lexer, colons)))
            break;
        lexer->next += colons;
        while (continues_name(peek(lexer, 0)))
            lexer->next++;
    }
    lexer->token.length = (size_t)(lexer->next - lexer->token.text);
}

bool token_is(const struct token *token, const char *name)
{
    return token->kind == TOKEN_NAME && token->length == strlen(name) &&
           memcmp(token->text, name, token->length) == 0;
}

bool token_is_char(const struct token *token, char character)
{
    return token->kind == TOKEN_PUNCTUATION && token->character == character;
}
