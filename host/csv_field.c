/* See csv_field.h. */
#include "host/csv_field.h"

#include <stdbool.h>

void csv_write_field(FILE *stream, const char *text, size_t length)
{
    bool quote = false;
    for (size_t i = 0; i < length && !quote; i++)
        quote = text[i] == '"' || text[i] == ',' || text[i] == '\n' || text[i] == '\r';
    if (!quote) {
        fwrite(text, 1, length, stream);
        return;
    }
    fputc('"', stream);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"')
            fputc('"', stream);
        fputc(text[i], stream);
    }
    fputc('"', stream);
}
