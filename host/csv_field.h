/* A field of a CSV file. */
#ifndef MIDASHI_HOST_CSV_FIELD_H
#define MIDASHI_HOST_CSV_FIELD_H

#include <stddef.h>
#include <stdio.h>

/* RFC 4180: quoted where it holds a quote, a comma or a line break. Errors stay in the stream. */
void csv_write_field(FILE *stream, const char *text, size_t length);

#endif
