/* Cutting records and fields. See table.h.
 *
 * A 0 byte is put behind each field where its delimiter stood, so nothing is copied but the rest of
 * a quoted field behind a doubled quote. memchr does the searching where it can. */
#include "loaders/table.h"

#include <stdint.h>
#include <string.h>
#include "host/base/memory.h"

void table_open(struct table_reader *reader, enum table_format format, char *bytes, size_t size)
{
    *reader = (struct table_reader){
        .format = format, .start = bytes, .at = bytes, .end = bytes + size, .next_line = 1};
    if (size >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0)
        reader->at += 3;
}

void table_close(struct table_reader *reader)
{
    mem_free(reader->fields);
    reader->fields = NULL;
    reader->n_fields = reader->capacity = 0;
}

static enum status add_field(struct table_reader *reader, char *text, size_t length,
                             struct err *err)
{
    if (reader->n_fields == reader->capacity) {
        size_t larger = reader->capacity ? 2 * reader->capacity : 16;
        struct table_field *fields = mem_resize(reader->fields, larger, sizeof *fields);
        if (!fields)
            return err_no_memory(err, "the columns", larger * sizeof *fields);
        reader->fields = fields;
        reader->capacity = larger;
    }
    reader->fields[reader->n_fields++] = (struct table_field){.text = text, .length = length};
    text[length] = '\0';
    return STATUS_OK;
}

/* The first byte c of [from, end), or end. */
static char *find(char *from, char *end, char c)
{
    char *found = from < end ? memchr(from, c, (size_t)(end - from)) : NULL;
    return found ? found : end;
}

/* The length of a line without the CR of its line end. At the end of the file a lone CR counts as
 * the start of one. */
static char *without_cr(char *from, char *line_end)
{
    return line_end > from && line_end[-1] == '\r' ? line_end - 1 : line_end;
}

/* Lines and TSV: the line end is found first, then the tabs before it. */
static enum status next_plain(struct table_reader *reader, struct err *err)
{
    char *line_end = find(reader->at, reader->end, '\n');
    char *last = without_cr(reader->at, line_end), *field = reader->at;
    reader->at = line_end < reader->end ? line_end + 1 : reader->end;
    reader->next_line++;
    reader->is_empty = field == last;
    if (reader->format == TABLE_TSV) {
        for (char *tab = find(field, last, '\t'); tab < last; tab = find(field, last, '\t')) {
            TRY(add_field(reader, field, (size_t)(tab - field), err));
            field = tab + 1;
        }
    }
    return add_field(reader, field, (size_t)(last - field), err);
}

/* Reads a quoted field; reader->at stands behind its opening quote and ends behind the closing one.
 * What follows a doubled quote moves forward over it. */
static enum status read_quoted(struct table_reader *reader, struct table_field *field,
                               struct err *err)
{
    char *to = reader->at;
    field->text = to;
    for (;;) {
        char *quote = find(reader->at, reader->end, '"');
        if (quote == reader->end)
            return err_set(err, STATUS_BAD_DATA,
                           "the quote that opens field %zu is never closed; close it, or double "
                           "a quote that belongs to the text",
                           reader->n_fields + 1);
        for (char *line = find(reader->at, quote, '\n'); line < quote;
             line = find(line + 1, quote, '\n'))
            reader->next_line++;
        size_t length = (size_t)(quote - reader->at);
        if (to != reader->at)
            memmove(to, reader->at, length);
        to += length;
        reader->at = quote + 1;
        if (reader->at == reader->end || *reader->at != '"')
            break;
        *to++ = '"';
        reader->at++;
    }
    field->length = (size_t)(to - field->text);
    return STATUS_OK;
}

/* Reads a field without quotes up to its delimiter or the end. */
static enum status read_unquoted(struct table_reader *reader, struct table_field *field,
                                 struct err *err)
{
    char *at = reader->at;
    while (at < reader->end && *at != ',' && *at != '\n' && *at != '"')
        at++;
    if (at < reader->end && *at == '"')
        return err_set(err, STATUS_BAD_DATA,
                       "a quote inside field %zu, which does not start with one; put the field in "
                       "quotes and double the quotes inside it",
                       reader->n_fields + 1);
    char *last = at < reader->end && *at == ',' ? at : without_cr(reader->at, at);
    *field = (struct table_field){.text = reader->at, .length = (size_t)(last - reader->at)};
    reader->at = at;
    return STATUS_OK;
}

static enum status next_csv(struct table_reader *reader, struct err *err)
{
    for (;;) {
        struct table_field field = {0};
        bool quoted = reader->at < reader->end && *reader->at == '"';
        if (quoted) {
            reader->at++;
            TRY(read_quoted(reader, &field, err));
            if (reader->at < reader->end && *reader->at == '\r' &&
                (reader->at + 1 == reader->end || reader->at[1] == '\n'))
                reader->at++;
        } else {
            TRY(read_unquoted(reader, &field, err));
        }
        /* add_field overwrites the delimiter, so it is read first. */
        char delimiter = reader->at < reader->end ? *reader->at : '\n';
        if (delimiter != ',' && delimiter != '\n')
            return err_set(err, STATUS_BAD_DATA,
                           "field %zu goes on behind its closing quote; double a quote that "
                           "belongs to the text",
                           reader->n_fields + 1);
        if (reader->at < reader->end)
            reader->at++;
        if (delimiter == '\n')
            reader->next_line++;
        reader->is_empty = delimiter == '\n' && reader->n_fields == 0 && !quoted && !field.length;
        TRY(add_field(reader, field.text, field.length, err));
        if (delimiter == '\n')
            return STATUS_OK;
    }
}

enum status table_next(struct table_reader *reader, bool *more, struct err *err)
{
    reader->n_fields = 0;
    reader->line = reader->next_line;
    *more = reader->at < reader->end;
    if (!*more)
        return STATUS_OK;
    TRY(reader->format == TABLE_CSV ? next_csv(reader, err) : next_plain(reader, err));
    reader->end_byte = (size_t)(reader->at - reader->start);
    return STATUS_OK;
}
