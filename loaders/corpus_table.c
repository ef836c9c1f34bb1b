/* Corpora in tables and lines: .csv, .tsv, .txt. See corpus.h.
 *
 * The file stays in memory as one piece, is cut in place, and texts point into it. */
#include <stdio.h>
#include <string.h>
#include "loaders/corpus_columns.h"
#include "loaders/corpus_rows.h"
#include "loaders/table.h"

/* The record that the table has just read, as a row. */
static enum status add_record(struct corpus_reading *r, const struct table_reader *table,
                              const struct corpus_columns *columns, struct err *err)
{
    if (table->n_fields != columns->n)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: row %zu (line %zu): %zu field%s, but the first line has %zu; %s",
                       r->name, r->n_rows + 1, table->line, table->n_fields,
                       table->n_fields == 1 ? "" : "s", columns->n,
                       table->n_fields < columns->n ? "complete the row"
                       : table->format == TABLE_CSV ? "put a text with commas in quotes"
                                                    : "a text cannot hold tabs");
    const struct table_field *text = &table->fields[columns->text];
    const char *label =
        columns->label == CORPUS_NO_LABEL ? NULL : table->fields[columns->label].text;
    return corpus_add_row(r, text->text, text->length, label, err);
}

/* Reads a record, and fails where it holds a byte that no text may hold. is_first: it may turn out
 * to be the header. */
static enum status next_record(struct corpus_reading *r, struct table_reader *table, bool is_first,
                               bool *more, struct err *err)
{
    struct err detail;
    enum status status = table_next(table, more, &detail);
    if (status == STATUS_OK && (!*more || table->end_byte <= r->fault.byte))
        return STATUS_OK;
    char place[96];
    if (is_first && table->format != TABLE_LINES)
        snprintf(place, sizeof place, "the header or row 1 (line %zu)", table->line);
    else
        snprintf(place, sizeof place, "row %zu (line %zu)", r->n_rows + 1, table->line);
    if (status != STATUS_OK)
        return err_set(err, status, "%s: %s: %s", r->name, place, detail.text);
    return err_set(err, STATUS_BAD_DATA, "%s: %s, byte %zu of the file: %s", r->name, place,
                   r->fault.byte, r->fault.what);
}

static enum status read_records(struct corpus_reading *r, struct table_reader *table,
                                struct err *err)
{
    struct corpus_columns columns;
    size_t n_empty = 0; /* lines without a byte before the first record */
    bool more;
    TRY(next_record(r, table, true, &more, err));
    for (; more && table->is_empty && table->format != TABLE_LINES; n_empty++)
        TRY(next_record(r, table, true, &more, err));
    if (!more)
        return STATUS_OK;
    TRY(corpus_columns_find(&columns, r->corpus->guess, r->name, table, r->settings, err));
    r->corpus->has_header = columns.has_header;
    bool empty_is_text = columns.n == 1;
    if (!columns.has_header) {
        for (size_t i = 0; i < n_empty && empty_is_text; i++)
            TRY(corpus_add_row(r, table->end, 0, NULL, err));
        TRY(add_record(r, table, &columns, err));
    }
    for (;;) {
        TRY(next_record(r, table, false, &more, err));
        if (!more)
            return STATUS_OK;
        if (!table->is_empty || empty_is_text)
            TRY(add_record(r, table, &columns, err));
    }
}

enum status corpus_read_table(struct corpus_reading *r, size_t size, struct err *err)
{
    struct table_reader table;
    enum table_format format = r->settings->format == CORPUS_CSV   ? TABLE_CSV
                               : r->settings->format == CORPUS_TSV ? TABLE_TSV
                                                                   : TABLE_LINES;
    table_open(&table, format, r->corpus->bytes, size);
    enum status status = read_records(r, &table, err);
    table_close(&table);
    return status;
}
