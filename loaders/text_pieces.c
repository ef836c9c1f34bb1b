/* Cutting a long text. See text_pieces.h. */
#include "loaders/text_pieces.h"

#include <stdbool.h>
#include <string.h>

/* Whether a piece may end behind text[0..end): white space and punctuation that parts clauses. */
static bool is_break(const char *text, size_t end)
{
    if (strchr(" \t\n\r,.!?;", text[end - 1]) && text[end - 1] != '\0')
        return true;
    /* Ideographic space, comma and full stop: U+3000 to U+3002. */
    return end >= 3 && text[end - 3] == '\xE3' && text[end - 2] == '\x80' &&
           (unsigned char)text[end - 1] <= 0x82 && (unsigned char)text[end - 1] >= 0x80;
}

size_t text_piece(const char *text, size_t length, size_t limit)
{
    if (length <= limit)
        return length;
    for (size_t end = limit; end > 0; end--)
        if (is_break(text, end))
            return end;
    size_t end = limit;
    while (end > 1 && ((unsigned char)text[end] & 0xC0) == 0x80)
        end--;
    return end;
}
