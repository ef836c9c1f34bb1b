/* Checking, searching and decoding JSON in place. See json_line.h. */
#include "loaders/json_line.h"

#include <stdint.h>
#include <string.h>
#include "host/base/utf8.h"

/* ---- checking: a parser by recursive descent that keeps nothing ------------------------------ */

struct scan {
    const char *at, *end;
    int depth;
    const char *wrong; /* what is wrong at `at` */
};

static bool fail(struct scan *s, const char *at, const char *wrong)
{
    s->at = at;
    s->wrong = wrong;
    return false;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_space(struct scan *s)
{
    while (s->at < s->end && is_space(*s->at))
        s->at++;
}

static bool take(struct scan *s, char c)
{
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The four digits behind \u, or -1. */
static int32_t hex4(const char *at, const char *end)
{
    int32_t value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* s->at stands on the backslash, and ends behind the escape. */
static bool check_escape(struct scan *s)
{
    const char *start = s->at++;
    if (s->at == s->end || *s->at == '\0' || !strchr("\"\\/bfnrtu", *s->at))
        return fail(s, start, "an escape that JSON does not have; double a \\ that is meant");
    if (*s->at++ != 'u')
        return true;
    if (hex4(s->at, s->end) < 0)
        return fail(s, start, "\\u needs four hexadecimal digits");
    s->at += 4;
    return true;
}

static bool check_string(struct scan *s)
{
    const char *start = s->at++;
    while (s->at < s->end && *s->at != '"') {
        if (*s->at == '\\') {
            if (!check_escape(s))
                return false;
        } else if ((unsigned char)*s->at < 0x20) {
            return fail(s, s->at, "a control character inside a string; write it as an escape");
        } else {
            s->at++;
        }
    }
    return take(s, '"') || fail(s, start, "a string that is never closed");
}

static bool check_digits(struct scan *s)
{
    const char *start = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return s->at > start || fail(s, start, "a digit is missing");
}

static bool check_number(struct scan *s)
{
    take(s, '-');
    if (take(s, '0')) {
        if (s->at < s->end && *s->at >= '0' && *s->at <= '9')
            return fail(s, s->at, "a number that begins with 0; put it in quotes");
    } else if (!check_digits(s)) {
        return false;
    }
    if (take(s, '.') && !check_digits(s))
        return false;
    if (take(s, 'e') || take(s, 'E')) {
        if (!take(s, '+'))
            take(s, '-');
        return check_digits(s);
    }
    return true;
}

static bool check_word(struct scan *s)
{
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(words[i]);
        if ((size_t)(s->end - s->at) >= length && memcmp(s->at, words[i], length) == 0) {
            s->at += length;
            return true;
        }
    }
    return fail(s, s->at, "this is no value; put a text in double quotes");
}

static bool check_value(struct scan *s);

static bool check_key(struct scan *s)
{
    if (s->at == s->end || *s->at != '"')
        return fail(s, s->at, "a key in double quotes is missing");
    if (!check_string(s))
        return false;
    skip_space(s);
    return take(s, ':') || fail(s, s->at, "a : is missing behind a key");
}

/* The inside of an object or an array, whose opening bracket s->at stands on. */
static bool check_members(struct scan *s, char close)
{
    const char *start = s->at++;
    if (++s->depth > JSON_LINE_DEEPEST)
        return fail(s, start, "nested deeper than 1000 levels");
    skip_space(s);
    for (bool first = true; !(first && take(s, close)); first = false) {
        skip_space(s);
        if (close == '}' && !check_key(s))
            return false;
        if (!check_value(s))
            return false;
        skip_space(s);
        if (take(s, close))
            break;
        if (s->at == s->end)
            return fail(s, start,
                        close == '}' ? "an object that is never closed"
                                     : "an array that is never closed");
        if (!take(s, ','))
            return fail(s, s->at, "a comma is missing");
    }
    s->depth--;
    return true;
}

static bool check_value(struct scan *s)
{
    skip_space(s);
    if (s->at == s->end)
        return fail(s, s->at, "a value is missing");
    char c = *s->at;
    if (c == '{' || c == '[')
        return check_members(s, c == '{' ? '}' : ']');
    if (c == '"')
        return check_string(s);
    return c == '-' || (c >= '0' && c <= '9') ? check_number(s) : check_word(s);
}

const char *json_line_check(char *start, char *end, struct json_value *value, const char **fault)
{
    struct scan s = {.at = start, .end = end};
    skip_space(&s);
    size_t before = (size_t)(s.at - start);
    if (check_value(&s)) {
        *value = (struct json_value){start + before, start + (s.at - start)};
        skip_space(&s);
        if (s.at == s.end)
            return NULL;
        s.wrong = "something stands behind the value; a line holds one";
    }
    *fault = s.at;
    return s.wrong;
}

/* ---- searching: the JSON is checked, so no end needs watching -------------------------------- */

enum json_kind json_line_kind(struct json_value value)
{
    switch (*value.start) {
    case '{':
        return JSON_KIND_OBJECT;
    case '[':
        return JSON_KIND_ARRAY;
    case '"':
        return JSON_KIND_STRING;
    case 't':
    case 'f':
        return JSON_KIND_BOOLEAN;
    case 'n':
        return JSON_KIND_NULL;
    default:
        return JSON_KIND_NUMBER;
    }
}

const char *json_kind_name(enum json_kind kind)
{
    static const char *const names[] = {"an object", "an array",      "a string",
                                        "a number",  "true or false", "null"};
    return names[kind];
}

static char *after_space(char *at)
{
    while (is_space(*at))
        at++;
    return at;
}

static char *after_string(char *at)
{
    for (at++; *at != '"'; at++)
        if (*at == '\\')
            at++;
    return at + 1;
}

/* Behind a value; brackets are counted, for those inside strings are skipped. */
static char *after_value(char *at)
{
    int depth = 0;
    do {
        if (*at == '"') {
            at = after_string(at);
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
        } else if (*at == '}' || *at == ']') {
            depth--;
            at++;
        } else if (depth > 0) {
            at++;
        } else {
            while (!is_space(*at) && *at != ',' && *at != '}' && *at != ']')
                at++;
        }
    } while (depth > 0);
    return at;
}

/* The next member of an object: *at NULL at first, then behind the last value. */
static bool next_member(struct json_value object, char **at, struct json_value *key,
                        struct json_value *value)
{
    char *p = after_space(*at ? *at : object.start + 1);
    if (*at && *p == ',')
        p = after_space(p + 1);
    if (*p == '}')
        return false;
    *key = (struct json_value){p, after_string(p)};
    p = after_space(after_space(key->end) + 1); /* over the colon */
    *value = (struct json_value){p, after_value(p)};
    *at = value->end;
    return true;
}

bool json_line_next_key(struct json_value object, char **at, struct json_value *key)
{
    struct json_value value;
    return next_member(object, at, key, &value);
}

#define NO_CHARACTER ((int32_t)-1)

/* The character of the \u escape, or of the pair of them, that *at stands behind the u of. Moves
 * behind it. NO_CHARACTER for half a surrogate pair. */
static int32_t decode_unicode(const char **at)
{
    int32_t c = hex4(*at, *at + 4);
    *at += 4;
    if (c < 0xD800 || c > 0xDFFF)
        return c;
    if (c > 0xDBFF || (*at)[0] != '\\' || (*at)[1] != 'u')
        return NO_CHARACTER;
    int32_t low = hex4(*at + 2, *at + 6);
    if (low < 0xDC00 || low > 0xDFFF)
        return NO_CHARACTER;
    *at += 6;
    return 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
}

/* Decodes the byte or the escape at *at, moves behind it, and returns its bytes. Half a surrogate
 * pair becomes U+FFFD. */
static int decode_one(const char **at, char out[4])
{
    static const char letters[] = "bfnrt", controls[] = "\b\f\n\r\t";
    if (**at != '\\') {
        out[0] = *(*at)++;
        return 1;
    }
    char c = (*at)[1];
    *at += 2;
    if (c != 'u') {
        const char *letter = strchr(letters, c);
        out[0] = letter ? controls[letter - letters] : c;
        return 1;
    }
    int32_t code_point = decode_unicode(at);
    return utf8_encode(code_point == NO_CHARACTER ? 0xFFFD : code_point, out);
}

static bool key_is(struct json_value key, const char *name, size_t length)
{
    const char *at = key.start + 1, *end = key.end - 1;
    while (at < end) {
        char bytes[4];
        size_t n = (size_t)decode_one(&at, bytes);
        if (n > length || memcmp(bytes, name, n) != 0)
            return false;
        name += n;
        length -= n;
    }
    return length == 0;
}

/* The last member of that name. */
static bool find_member(struct json_value object, const char *name, size_t length,
                        struct json_value *found)
{
    struct json_value key, value;
    bool any = false;
    for (char *at = NULL; next_member(object, &at, &key, &value);)
        if (key_is(key, name, length)) {
            *found = value;
            any = true;
        }
    return any;
}

bool json_line_find(struct json_value object, const char *path, struct json_value *found)
{
    struct json_value inner;
    size_t length = strlen(path);
    if (find_member(object, path, length, found))
        return true;
    while (length-- > 0)
        if (path[length] == '.' && find_member(object, path, length, &inner) &&
            json_line_kind(inner) == JSON_KIND_OBJECT &&
            json_line_find(inner, path + length + 1, found))
            return true;
    return false;
}

/* ---- decoding ------------------------------------------------------------------------------- */

const char *json_line_check_text(struct json_value value, const char **fault)
{
    const char *at = value.start + 1, *end = value.end - 1;
    while ((at = memchr(at, '\\', (size_t)(end - at)))) {
        *fault = at;
        at += 2;
        if (at[-1] != 'u')
            continue;
        int32_t code_point = decode_unicode(&at);
        if (code_point == 0)
            return "\\u0000, a 0 byte; remove it";
        if (code_point == NO_CHARACTER)
            return "half a surrogate pair, which is no character; remove it";
    }
    return NULL;
}

size_t json_line_decode(struct json_value value)
{
    char *text = value.start + 1, *to = text;
    const char *from = text, *end = value.end - 1;
    while (from < end) {
        const char *escape = memchr(from, '\\', (size_t)(end - from));
        size_t plain = (size_t)((escape ? escape : end) - from);
        if (to != from)
            memmove(to, from, plain);
        to += plain;
        from += plain;
        if (escape) {
            char bytes[4];
            int n = decode_one(&from, bytes); /* no longer than its escape */
            memcpy(to, bytes, (size_t)n);
            to += n;
        }
    }
    *to = '\0';
    return (size_t)(to - text);
}
