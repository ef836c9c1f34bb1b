/* Records and fields of delimited text, cut in place.
 *
 * TABLE_CSV: RFC 4180. Fields are parted by commas; one that starts with a quote ends with a quote,
 * holds commas, line breaks and doubled quotes, and nothing stands round its quotes. A quote inside
 * a field that does not start with one is an error, since the writer meant something else.
 * TABLE_TSV: IANA's text/tab-separated-values. Tabs part fields; there is no quoting.
 * TABLE_LINES: each line is a record of one field.
 * Lines end with LF or CRLF; the last one may lack its end. A CR elsewhere is part of a field. */
#ifndef MIDASHI_LOADERS_TABLE_H
#define MIDASHI_LOADERS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include "host/base/status.h"

enum table_format {
    TABLE_LINES,
    TABLE_TSV,
    TABLE_CSV,
};

struct table_field {
    char *text; /* a 0 byte behind; inside the reader's bytes */
    size_t length;
};

struct table_reader {
    enum table_format format;
    char *start, *at, *end; /* the bytes, the next record, and what is behind the last */
    size_t next_line;       /* line of the next record, from 1 */

    /* The record that was read last; fields are good until the next is read, their texts stay. */
    struct table_field *fields;
    size_t n_fields, capacity;
    size_t line;     /* where it starts, from 1 */
    bool is_empty;   /* a line without a byte */
    size_t end_byte; /* bytes from start to the end of the record, its line end included */
};

/* bytes[0..size), with a byte behind that may be written too. The reader writes into them: 0 bytes
 * in place of delimiters, quoted fields without their quotes. A byte-order mark is skipped. */
void table_open(struct table_reader *reader, enum table_format format, char *bytes, size_t size);
void table_close(struct table_reader *reader); /* frees the list of fields */

/* Reads the next record. *more is false, and nothing is read, at the end. STATUS_BAD_DATA: a quote
 * that is not closed or in the wrong place; the text says what, without the file's name and place.
 * STATUS_RESOURCE: no memory. reader->line is set in either case. */
enum status table_next(struct table_reader *reader, bool *more, struct err *err);

#endif
