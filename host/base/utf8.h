/* UTF-8 as the Unicode Standard defines it (table 3-7): one to four bytes, the shortest form,
 * no surrogates, nothing above U+10FFFF. A 0 byte is the character U+0000. */
#ifndef MIDASHI_BASE_UTF8_H
#define MIDASHI_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The number of bytes of the longest valid prefix of text[0..length): the text is valid when that
 * is length, else it is the byte where the first ill-formed or truncated character starts. */
size_t utf8_valid_length(const char *text, size_t length);

/* The first character of text[0..length), which need not be valid. Returns the bytes it takes and
 * sets *code_point; 0 at the end of the text; for an ill-formed or truncated character 1, with
 * *code_point -1, so that a walk over the text always moves on. */
int utf8_decode(const char *text, size_t length, int32_t *code_point);

/* Writes a character and returns its bytes, 1 to 4; 0 where code_point is no Unicode scalar value.
 * No 0 byte is put behind. */
int utf8_encode(int32_t code_point, char out[4]);

#endif
