/* HTML in texts. See markup.h. */
#include "loaders/markup.h"

#include <stdbool.h>
#include <string.h>

#define REFERENCE_LONGEST 34 /* &CounterClockwiseContourIntegral; is the longest that HTML has */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_white(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

/* Where the last `-->` begins, or 0: behind it no comment ends, so that none is looked for twice.
 */
static size_t last_end(const char *text, size_t length)
{
    for (size_t at = length < 3 ? 0 : length - 3; at > 0; at--)
        if (memcmp(text + at, "-->", 3) == 0)
            return at;
    return 0;
}

/* The length of the comment that begins at text[0], or 0; it ends at text[end] at the latest. */
static size_t comment(const char *text, size_t end)
{
    if (memcmp(text, "<!--", 4) != 0)
        return 0;
    for (size_t at = 4; at <= end; at++)
        if (memcmp(text + at, "-->", 3) == 0)
            return at + 3;
    return 0;
}

/* The length of the tag that begins at text[0], which is a `<`, or 0. An attribute's value may hold
 * a `<` as HTML has it, but hardly one does; so what is left open never takes the rest of a text.
 */
static size_t tag(const char *text, size_t length)
{
    size_t at = 1;
    at += at < length && text[at] == '/';
    if (at == length || !is_letter(text[at]))
        return 0;
    while (at < length && (is_letter(text[at]) || is_digit(text[at]) || text[at] == '-'))
        at++;
    if (at < length && text[at] != '>' && text[at] != '/' && !is_white(text[at]))
        return 0;
    while (at < length && text[at] != '>' && text[at] != '<')
        at++;
    return at < length && text[at] == '>' ? at + 1 : 0;
}

/* The same of a `&`. */
static size_t reference(const char *text, size_t length)
{
    bool number = length > 1 && text[1] == '#';
    size_t first = number ? 2 : 1, at = first;
    if (length > REFERENCE_LONGEST)
        length = REFERENCE_LONGEST;
    if (at == length || (!number && !is_letter(text[at])))
        return 0;
    while (at < length && (is_letter(text[at]) || is_digit(text[at])))
        at++;
    bool whole = at < length && text[at] == ';' && at - first >= (number ? 1 : 2);
    return whole ? at + 1 : 0;
}

static bool is_apostrophe(const char *text, size_t length)
{
    static const char *const names[] = {"&#39;",  "&#039;",  "&#x27;",
                                        "&apos;", "&rsquo;", "&#8217;"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == length && memcmp(names[i], text, length) == 0)
            return true;
    return false;
}

size_t markup_strip(char *out, const char *text, size_t length)
{
    size_t written = 0, end = last_end(text, length);
    for (size_t at = 0, n; at < length; at += n) {
        n = 0;
        if (text[at] == '<' && at + 4 <= end)
            n = comment(text + at, end - at);
        if (text[at] == '<' && n == 0)
            n = tag(text + at, length - at);
        else if (text[at] == '&')
            n = reference(text + at, length - at);
        out[written++] = n == 0 ? text[at] : is_apostrophe(text + at, n) ? '\'' : ' ';
        if (n == 0)
            n = 1;
    }
    return written;
}
