/* Cutting a long text into pieces that a library can take. */
#ifndef MIDASHI_LOADERS_TEXT_PIECES_H
#define MIDASHI_LOADERS_TEXT_PIECES_H

#include <stddef.h>

/* The length of a first piece of text[0..length), at most limit bytes: all of it where it fits,
 * else up to behind the last white space or sentence end that lies in the piece, else up to the
 * last whole character. text is valid UTF-8; limit is at least 4. */
size_t text_piece(const char *text, size_t length, size_t limit);

#endif
