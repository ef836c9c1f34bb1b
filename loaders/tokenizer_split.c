/* Split patterns. The originals match with Oniguruma or Rust's regular expressions; PCRE2 reads
 * some constructs otherwise, so a pattern is translated construct by construct, and one whose
 * meaning we cannot vouch for is refused by name:
 *
 *   \s \S      Unicode's White_Space. PCRE2's own \s has U+180E besides.
 *   \p{L} \p{N} and their negations
 *              with the letters and numbers of Unicode 15 to 16, which PCRE2 before 10.43 lacks.
 *              Other properties are left as PCRE2 has them.
 *   \p{Han}    a script by its characters, \p{sc:Han}; PCRE2 would take script extensions.
 *   \w \b \h ^ $ back-references, named groups, class intersections, {n}+ and {,n}
 *              refused.
 *
 * Patterns are compiled with PCRE2's JIT where the machine allows it; the answer is the same. */
#include "loaders/tokenizer_internal.h"

#include <string.h>

const char *const pattern_gpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|"
                                 " ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* ---- translation ---------------------------------------------------------------------------- */

#define WHITE_SPACE "\\x09-\\x0D\\x85\\p{Z}"
#define NOT_WHITE_SPACE                                                                            \
    "\\x00-\\x08\\x0E-\\x1F!-\\x{84}\\x{86}-\\x{9F}\\x{A1}-\\x{167F}\\x{1681}-\\x{1FFF}"           \
    "\\x{200B}-\\x{2027}\\x{202A}-\\x{202E}\\x{2030}-\\x{205E}\\x{2060}-\\x{2FFF}"                 \
    "\\x{3001}-\\x{10FFFF}"

/* From the Unicode Character Database, DerivedAge 15.0, 15.1 and 16.0. */
#define NEW_LETTERS                                                                                \
    "\\x{1C89}\\x{1C8A}\\x{A7CB}-\\x{A7CD}\\x{A7DA}-\\x{A7DC}\\x{105C0}-\\x{105F3}"                \
    "\\x{10D4A}-\\x{10D65}\\x{10D6F}-\\x{10D85}\\x{10EC2}-\\x{10EC4}\\x{1123F}\\x{11240}"          \
    "\\x{11380}-\\x{11389}\\x{1138B}\\x{1138E}\\x{11390}-\\x{113B5}\\x{113B7}\\x{113D1}"           \
    "\\x{113D3}\\x{11BC0}-\\x{11BE0}\\x{11F02}\\x{11F04}-\\x{11F10}\\x{11F12}-\\x{11F33}"          \
    "\\x{1342F}\\x{13441}-\\x{13446}\\x{13460}-\\x{143FA}\\x{16100}-\\x{1611D}"                    \
    "\\x{16D40}-\\x{16D6C}\\x{18CFF}\\x{1B132}\\x{1B155}\\x{1DF25}-\\x{1DF2A}"                     \
    "\\x{1E030}-\\x{1E06D}\\x{1E4D0}-\\x{1E4EB}\\x{1E5D0}-\\x{1E5ED}\\x{1E5F0}\\x{2B739}"          \
    "\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}"
#define NEW_NUMBERS                                                                                \
    "\\x{10D40}-\\x{10D49}\\x{116D0}-\\x{116E3}\\x{11BF0}-\\x{11BF9}\\x{11F50}-\\x{11F59}"         \
    "\\x{16130}-\\x{16139}\\x{16D70}-\\x{16D79}\\x{1CCF0}-\\x{1CCF9}\\x{1D2C0}-\\x{1D2D3}"         \
    "\\x{1E4F0}-\\x{1E4F9}\\x{1E5F1}-\\x{1E5FA}"

/* The property comes last: a '-' behind it is an error then, and never the start of a range. */
#define LETTERS NEW_LETTERS "\\p{L}"
#define NUMBERS NEW_NUMBERS "\\p{N}"

struct translation {
    const char *pattern;
    size_t length, at;
    bool in_class;
    struct bytes out;
    struct err *err;
};

static enum status refuse(const struct translation *t, const char *what, size_t n)
{
    return err_set(t->err, STATUS_BAD_DATA,
                   "split pattern: '%.*s' at character %zu is not supported", (int)n, what,
                   t->at + 1);
}

static enum status put(struct translation *t, const char *text, size_t length)
{
    if (!bytes_add(&t->out, text, length))
        return err_no_memory(t->err, "a split pattern", t->length);
    return STATUS_OK;
}

/* A set of characters as a class of its own, or inside the class that is open. */
static enum status put_set(struct translation *t, const char *set, bool negated)
{
    if (t->in_class) {                               /* behind 'a-' it would become a range */
        const char *before = t->pattern + t->at - 1; /* the class's own bracket at the least */
        if (before[0] == '-' && !strchr("\\[^", before[-1]))
            return refuse(t, "-", 1);
        return put(t, set, strlen(set));
    }
    TRY(put(t, negated ? "[^" : "[", negated ? 2 : 1));
    TRY(put(t, set, strlen(set)));
    return put(t, "]", 1);
}

/* \p{NAME}, \P{NAME}, \p{^NAME}. */
static enum status translate_property(struct translation *t)
{
    const char *start = t->pattern + t->at;
    size_t left = t->length - t->at;
    const char *close = left > 2 && start[2] == '{' ? memchr(start, '}', left) : NULL;
    if (!close)
        return refuse(t, start, left < 3 ? left : 3);
    size_t whole = (size_t)(close - start) + 1;
    const char *name = start + 3;
    size_t n = whole - 4;
    bool negated = start[1] == 'P';
    if (n > 0 && name[0] == '^') {
        negated = !negated;
        name++, n--;
    }
    if (n == 1 && (name[0] == 'L' || name[0] == 'N')) {
        if (negated && t->in_class)
            return refuse(t, start, whole);
        TRY(put_set(t, name[0] == 'L' ? LETTERS : NUMBERS, negated));
    } else {
        for (size_t i = 0; i < n; i++)
            if (!((name[i] | 0x20) >= 'a' && (name[i] | 0x20) <= 'z') && name[i] != '_')
                return refuse(t, start, whole);
        TRY(put(t, negated ? "\\P{" : "\\p{", 3));
        if (n > 2) /* one and two letters are general categories */
            TRY(put(t, "sc:", 3));
        TRY(put(t, name, n));
        TRY(put(t, "}", 1));
    }
    t->at += whole;
    return STATUS_OK;
}

/* \xHH and \x{H...}, as both sides have them. */
static enum status translate_hexadecimal(struct translation *t)
{
    const char *start = t->pattern + t->at;
    size_t left = t->length - t->at, n = 0;
    const char *close = left > 3 && start[2] == '{' ? memchr(start, '}', left) : NULL;
    if (close)
        n = (size_t)(close - start) + 1;
    else if (left >= 4 && start[2] != '{')
        n = 4;
    size_t first = close ? 3 : 2, last = close ? n - 1 : n;
    bool digits = n > 0 && last > first;
    if (!close && n > 0 && !(start[2] >= '0' && start[2] <= '7'))
        digits = false; /* Oniguruma's \x80 to \xFF are bytes, not characters */
    for (size_t i = first; digits && i < last; i++)
        digits = strchr("0123456789abcdefABCDEF", start[i]) != NULL && start[i] != '\0';
    if (!digits)
        return refuse(t, start, left < 4 ? left : 4);
    t->at += n;
    return put(t, start, n);
}

static enum status translate_escape(struct translation *t)
{
    const char *start = t->pattern + t->at;
    if (t->length - t->at < 2)
        return refuse(t, start, 1);
    char c = start[1];
    switch (c) {
    case 'p':
    case 'P':
        return translate_property(t);
    case 'x':
        return translate_hexadecimal(t);
    case 's':
        TRY(put_set(t, WHITE_SPACE, false));
        break;
    case 'S':
        TRY(put_set(t, NOT_WHITE_SPACE, false));
        break;
    case 'd':
        TRY(put(t, "\\p{Nd}", 6));
        break;
    case 'D':
        TRY(put(t, "\\P{Nd}", 6));
        break;
    case 'r':
    case 'n':
    case 't':
    case 'f':
        TRY(put(t, start, 2));
        break;
    default: /* an escaped punctuation mark is that mark */
        if (!(c > ' ' && c < 0x7F) || (c >= '0' && c <= '9') ||
            ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '<' || c == '>')
            return refuse(t, start, 2);
        TRY(put(t, start, 2));
        break;
    }
    t->at += 2;
    return STATUS_OK;
}

/* An opening bracket of a class, with its ^ and a ] that stands first. */
static enum status translate_class_open(struct translation *t)
{
    if (t->in_class)
        return refuse(t, "[", 1); /* a class in a class: Oniguruma's union, or [:alpha:] */
    t->in_class = true;
    TRY(put(t, "[", 1));
    t->at++;
    if (t->at < t->length && t->pattern[t->at] == '^') {
        TRY(put(t, "^", 1));
        t->at++;
    }
    if (t->at < t->length && t->pattern[t->at] == ']')
        return refuse(t, "[]", 2);
    return STATUS_OK;
}

static bool starts_with(const struct translation *t, const char *prefix)
{
    size_t n = strlen(prefix);
    return t->length - t->at >= n && memcmp(t->pattern + t->at, prefix, n) == 0;
}

static enum status translate_group(struct translation *t)
{
    static const char *const known[] = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (starts_with(t, known[i])) {
            size_t n = strlen(known[i]);
            TRY(put(t, known[i], n));
            t->at += n;
            return STATUS_OK;
        }
    if (starts_with(t, "(?") || starts_with(t, "(*"))
        return refuse(t, t->pattern + t->at, 3 < t->length - t->at ? 3 : 2);
    t->at++;
    return put(t, "(", 1);
}

/* {n}, {n,} and {n,m} mean the same to both; what follows may not. */
static enum status translate_count(struct translation *t)
{
    const char *start = t->pattern + t->at;
    size_t left = t->length - t->at, n = 1;
    while (n < left && ((start[n] >= '0' && start[n] <= '9') || (start[n] == ',' && n > 1)))
        n++;
    if (n < 2 || n >= left || start[n] != '}' || (n + 1 < left && start[n + 1] == '+'))
        return refuse(t, start, n + 2 <= left ? n + 2 : left);
    t->at += n + 1;
    return put(t, start, n + 1);
}

static enum status translate(struct translation *t)
{
    while (t->at < t->length) {
        char c = t->pattern[t->at];
        if (c == '\\') {
            TRY(translate_escape(t));
        } else if (c == '[') {
            TRY(translate_class_open(t));
        } else if (t->in_class) {
            if (starts_with(t, "&&"))
                return refuse(t, "&&", 2);
            if (c == ']')
                t->in_class = false;
            TRY(put(t, &c, 1));
            t->at++;
        } else if (c == '(') {
            TRY(translate_group(t));
        } else if (c == '{') {
            TRY(translate_count(t));
        } else if (c == '^' || c == '$' || c == '\0') {
            return refuse(t, &c, 1);
        } else {
            TRY(put(t, &c, 1));
            t->at++;
        }
    }
    return STATUS_OK;
}

/* ---- PCRE2 ---------------------------------------------------------------------------------- */

static enum status compile(pcre2_code **out, pcre2_general_context *memory, const char *pattern,
                           size_t length, uint32_t options, struct err *err)
{
    pcre2_compile_context *context = pcre2_compile_context_create(memory);
    if (!context)
        return err_no_memory(err, "a split pattern", length);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF); /* what . leaves out */
    int code;
    PCRE2_SIZE offset;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pattern, length, options, &code, &offset, context);
    pcre2_compile_context_free(context);
    if (!compiled && code == PCRE2_ERROR_HEAP_FAILED)
        return err_no_memory(err, "a split pattern", length);
    if (!compiled) {
        char text[128] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
        return err_set(err, STATUS_BAD_DATA, "split pattern: %s", text);
    }
    uint32_t matches_empty = 1;
    pcre2_pattern_info(compiled, PCRE2_INFO_MATCHEMPTY, &matches_empty);
    if (matches_empty) {
        pcre2_code_free(compiled);
        return err_set(err, STATUS_BAD_DATA,
                       "split pattern: one that can match the empty text "
                       "is not supported");
    }
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); /* where it fails, PCRE2 interprets */
    *out = compiled;
    return STATUS_OK;
}

#define PATTERN_LONGEST 65536

enum status pattern_compile(pcre2_code **out, pcre2_general_context *memory, const char *pattern,
                            size_t length, bool literal, struct err *err)
{
    if (length > PATTERN_LONGEST)
        return err_set(err, STATUS_BAD_DATA, "split pattern: longer than %d bytes",
                       PATTERN_LONGEST);
    if (literal)
        return compile(out, memory, pattern, length, PCRE2_UTF | PCRE2_LITERAL, err);
    struct translation t = {.pattern = pattern, .length = length, .err = err};
    enum status status = translate(&t);
    if (status == STATUS_OK)
        status = compile(out, memory, t.out.data ? t.out.data : "", t.out.length,
                         PCRE2_UTF | PCRE2_UCP, err);
    mem_free(t.out.data);
    return status;
}

enum status pattern_find(const pcre2_code *pattern, const char *text, size_t length, size_t from,
                         pcre2_match_data *match, pcre2_match_context *limits, size_t *start,
                         size_t *end, struct err *err)
{
    uint32_t options = PCRE2_NO_UTF_CHECK; /* tokenizer_encode has checked the text */
    int found = pcre2_match(pattern, (PCRE2_SPTR)text, length, from, options, match, limits);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter's stack is the heap */
        found = pcre2_match(pattern, (PCRE2_SPTR)text, length, from, options | PCRE2_NO_JIT, match,
                            limits);
    *start = *end = length;
    if (found == PCRE2_ERROR_NOMATCH)
        return STATUS_OK;
    if (found < 0) {
        char message[128] = "";
        pcre2_get_error_message(found, (PCRE2_UCHAR *)message, sizeof message);
        return err_set(err, found == PCRE2_ERROR_NOMEMORY ? STATUS_RESOURCE : STATUS_BAD_DATA,
                       "the tokenizer's split pattern gave up at byte %zu of a text: %s; split the "
                       "text",
                       from, message);
    }
    const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(match);
    *start = bounds[0];
    *end = bounds[1];
    return STATUS_OK;
}
