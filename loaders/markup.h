/* HTML in texts: tags, comments and character references are no words. */
#ifndef MIDASHI_LOADERS_MARKUP_H
#define MIDASHI_LOADERS_MARKUP_H

#include <stddef.h>

/* Copies text[0..length) with a space for every tag, comment and reference, and an apostrophe for a
 * reference that stands for one (don&#39;t). Returns the bytes written, at most length; out has
 * room for so many, and may be text.
 *
 * A tag is `<` or `</`, a name of ASCII letters, digits and hyphens that begins with a letter, and
 * then `>`, or white space or `/` and whatever comes before the next `>`, which no `<` may come
 * before. So `a < b`, `<3`, <mail@example.org> and <https://example.org> stay. A reference is `&`,
 * a name of two letters and digits at least or `#` and a number, and `;`. What lies between tags
 * stays, a script's too. */
size_t markup_strip(char *out, const char *text, size_t length);

#endif
