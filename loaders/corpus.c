/* Reading a corpus: the file ending, the rows and labels, and the checks. See corpus.h.
 *
 * The file stays in memory as one piece and texts point into it. */
#include "loaders/corpus.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unicode/uchar.h>
#include "host/base/memory.h"
#include "host/base/utf8.h"
#include "loaders/corpus_columns.h"
#include "loaders/siphash.h"

/* What is needed while a corpus is being read. */
struct reading {
    struct corpus *corpus;
    const char *name;
    struct table_reader table;
    struct corpus_columns columns;
    size_t valid_bytes; /* UTF-8 is valid up to here, where invalid_byte stands */
    unsigned char invalid_byte;
    const char *encoding_hint;
    size_t row_capacity, label_capacity;
    int *slots; /* open addressing: label index + 1, or 0 */
    size_t n_slots;
    struct siphash hash;
};

static const unsigned char hash_key[16] = "midashi corpus 1";

/* ---- rows and labels ------------------------------------------------------------------------ */

static enum status row_error(const struct reading *r, struct err *err, const char *what)
{
    return err_set(err, STATUS_BAD_DATA, "%s: row %zu (line %zu): %s", r->name,
                   r->corpus->n_rows + 1, r->table.line, what);
}

static bool is_blank(const char *text, size_t length)
{
    for (size_t at = 0; at < length;) {
        int32_t c;
        at += (size_t)utf8_decode(text + at, length - at, &c);
        if (!u_isUWhiteSpace(c))
            return false;
    }
    return true;
}

/* The slot where label is or would go. The table is never full. */
static int *find_slot(const struct reading *r, const char *label)
{
    unsigned char bytes[16];
    struct siphash hash;
    siphash_start(&hash, hash_key);
    siphash_add(&hash, label, strlen(label));
    siphash_finish(&hash, bytes);
    size_t at;
    memcpy(&at, bytes, sizeof at);
    for (;; at++) {
        int *slot = &r->slots[at & (r->n_slots - 1)];
        if (*slot == 0 || strcmp(r->corpus->labels[*slot - 1], label) == 0)
            return slot;
    }
}

static enum status grow_labels(struct reading *r, struct err *err)
{
    struct corpus *corpus = r->corpus;
    size_t larger = r->label_capacity ? 2 * r->label_capacity : 64;
    if (larger > INT_MAX)
        return err_set(err, STATUS_BAD_DATA, "%s: too many labels", r->name);
    const char **labels = mem_resize((void *)corpus->labels, larger, sizeof *labels);
    if (!labels)
        return err_no_memory(err, "the labels", larger * sizeof *labels);
    corpus->labels = labels;
    int *slots = mem_alloc_zero(2 * larger, sizeof *slots);
    if (!slots)
        return err_no_memory(err, "the labels", 2 * larger * sizeof *slots);
    mem_free(r->slots);
    r->slots = slots;
    r->n_slots = 2 * larger;
    r->label_capacity = larger;
    for (int i = 0; i < corpus->n_labels; i++)
        *find_slot(r, labels[i]) = i + 1;
    return STATUS_OK;
}

static enum status add_label(struct reading *r, const struct table_field *field, int *label,
                             struct err *err)
{
    *label = -1;
    if (field->length == 0)
        return STATUS_OK;
    if (memchr(field->text, 0, field->length))
        return row_error(r, err, "a 0 byte in the label; remove it");
    if ((size_t)r->corpus->n_labels == r->label_capacity)
        TRY(grow_labels(r, err));
    int *slot = find_slot(r, field->text);
    if (*slot == 0) {
        r->corpus->labels[r->corpus->n_labels++] = field->text;
        *slot = r->corpus->n_labels;
    }
    *label = *slot - 1;
    return STATUS_OK;
}

static enum status add_row(struct reading *r, const struct table_field *text, int label,
                           struct err *err)
{
    struct corpus *corpus = r->corpus;
    if (corpus->n_rows == r->row_capacity) {
        size_t larger = r->row_capacity ? 2 * r->row_capacity : 1024;
        struct corpus_row *rows = mem_resize(corpus->rows, larger, sizeof *rows);
        if (!rows)
            return err_no_memory(err, "the rows", larger * sizeof *rows);
        corpus->rows = rows;
        r->row_capacity = larger;
    }
    struct corpus_row *row = &corpus->rows[corpus->n_rows++];
    *row = (struct corpus_row){.text = text->text,
                               .length = text->length,
                               .label = label,
                               .blank = is_blank(text->text, text->length)};
    corpus->n_blank += row->blank;
    /* With its length before it, a text cannot run into the next one. */
    unsigned char size[8];
    for (int i = 0; i < 8; i++)
        size[i] = (unsigned char)((uint64_t)text->length >> 8 * i);
    siphash_add(&r->hash, size, sizeof size);
    siphash_add(&r->hash, text->text, text->length);
    return STATUS_OK;
}

/* The record that the table has just read, as a row. */
static enum status add_record(struct reading *r, struct err *err)
{
    const struct table_reader *table = &r->table;
    size_t text = r->columns.text, label = r->columns.label;
    size_t last = label != CORPUS_NO_LABEL && label > text ? label : text;
    if (table->n_fields <= last)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: row %zu (line %zu): %zu field%s, but column %zu is needed; complete "
                       "the row",
                       r->name, r->corpus->n_rows + 1, table->line, table->n_fields,
                       table->n_fields == 1 ? "" : "s", last + 1);
    for (size_t i = r->columns.n; i < table->n_fields; i++)
        if (table->fields[i].length > 0)
            return err_set(err, STATUS_BAD_DATA,
                           "%s: row %zu (line %zu): %zu fields, but the first line has %zu; %s",
                           r->name, r->corpus->n_rows + 1, table->line, table->n_fields,
                           r->columns.n,
                           table->format == TABLE_CSV ? "put a text with commas in quotes"
                                                      : "a text cannot hold tabs");
    int label_index = -1;
    if (label != CORPUS_NO_LABEL)
        TRY(add_label(r, &table->fields[label], &label_index, err));
    return add_row(r, &table->fields[text], label_index, err);
}

/* ---- the whole file ------------------------------------------------------------------------- */

/* What an encoding other than UTF-8 looks like at the start of a file. */
static const char *encoding_hint(const char *bytes, size_t size)
{
    if (size >= 2 && memcmp(bytes, "\x1F\x8B", 2) == 0)
        return "this is gzip data: let the name end in .gz";
    if (size >= 2 && (memcmp(bytes, "\xFF\xFE", 2) == 0 || memcmp(bytes, "\xFE\xFF", 2) == 0))
        return "this looks like UTF-16; convert it with iconv -f UTF-16 -t UTF-8";
    return "convert the file to UTF-8, with iconv for example";
}

/* Reads a record and checks its UTF-8. is_first: it may turn out to be the header. */
static enum status next_record(struct reading *r, bool is_first, bool *more, struct err *err)
{
    struct table_reader *table = &r->table;
    struct err detail;
    enum status status = table_next(table, more, &detail);
    if (status == STATUS_OK && (!*more || table->end_byte <= r->valid_bytes))
        return STATUS_OK;
    char place[96];
    if (is_first && table->format != TABLE_LINES)
        snprintf(place, sizeof place, "the header or row 1 (line %zu)", table->line);
    else
        snprintf(place, sizeof place, "row %zu (line %zu)", r->corpus->n_rows + 1, table->line);
    if (status != STATUS_OK)
        return err_set(err, status, "%s: %s: %s", r->name, place, detail.text);
    return err_set(err, STATUS_BAD_DATA, "%s: %s, byte %zu of the file: invalid UTF-8 (0x%02X); %s",
                   r->name, place, r->valid_bytes, r->invalid_byte, r->encoding_hint);
}

/* Lines without a byte before the first record: blank texts in a table of one column. */
static enum status add_empty_lines(struct reading *r, size_t n, struct err *err)
{
    struct table_field empty = {.text = r->table.end};
    for (size_t i = 0; i < n; i++)
        TRY(add_row(r, &empty, -1, err));
    return STATUS_OK;
}

static enum status read_rows(struct reading *r, const struct corpus_settings *settings,
                             struct err *err)
{
    struct table_reader *table = &r->table;
    size_t n_empty = 0;
    bool more;
    TRY(next_record(r, true, &more, err));
    for (; more && table->is_empty && table->format != TABLE_LINES; n_empty++)
        TRY(next_record(r, true, &more, err));
    if (!more)
        return STATUS_OK;
    TRY(corpus_columns_find(&r->columns, r->corpus->guess, r->name, table, settings, err));
    r->corpus->has_header = r->columns.has_header;
    bool empty_is_text = r->columns.n == 1;
    if (!r->columns.has_header) {
        TRY(add_empty_lines(r, empty_is_text ? n_empty : 0, err));
        TRY(add_record(r, err));
    }
    for (;;) {
        TRY(next_record(r, false, &more, err));
        if (!more)
            return STATUS_OK;
        if (!table->is_empty || empty_is_text)
            TRY(add_record(r, err));
    }
}

enum status corpus_parse(struct corpus *corpus, const char *name, enum table_format format,
                         struct text_source *source, const struct corpus_settings *settings,
                         struct err *err)
{
    *corpus = (struct corpus){.bytes = source->bytes};
    size_t size = source->size;
    *source = (struct text_source){0};
    struct reading r = {.corpus = corpus, .name = name};
    /* The table is cut in place, so what a message wants from the raw bytes is taken first. */
    r.valid_bytes = utf8_valid_length(corpus->bytes, size);
    r.encoding_hint = encoding_hint(corpus->bytes, size);
    if (r.valid_bytes < size)
        r.invalid_byte = (unsigned char)corpus->bytes[r.valid_bytes];
    table_open(&r.table, format, corpus->bytes, size);
    siphash_start(&r.hash, hash_key);
    enum status status = read_rows(&r, settings, err);
    if (status == STATUS_OK && corpus->n_blank == corpus->n_rows)
        status = err_set(err, STATUS_BAD_DATA, "%s: no texts: %s", name,
                         corpus->n_rows ? "all rows are blank" : "the file has no rows");
    siphash_finish(&r.hash, corpus->hash);
    table_close(&r.table);
    mem_free(r.slots);
    if (status != STATUS_OK)
        corpus_free(corpus);
    return status;
}

/* Takes ENDING off the name's end, in any case. */
static bool take_ending(const char *name, size_t *length, const char *ending)
{
    size_t n = strlen(ending);
    if (*length < n || strncasecmp(name + *length - n, ending, n) != 0)
        return false;
    *length -= n;
    return true;
}

enum status corpus_read(struct corpus *corpus, const char *path,
                        const struct corpus_settings *settings, struct err *err)
{
    static const struct {
        const char *ending;
        enum table_format format;
    } endings[] = {{".tsv", TABLE_TSV}, {".csv", TABLE_CSV}, {".txt", TABLE_LINES}};
    *corpus = (struct corpus){0};
    size_t length = strlen(path), i = 0, n_endings = sizeof endings / sizeof *endings;
    bool compressed = take_ending(path, &length, ".gz");
    while (i < n_endings && !take_ending(path, &length, endings[i].ending))
        i++;
    /* Opened first: that a file is missing, or a folder, says more than its ending. */
    struct text_source source;
    TRY(i < n_endings ? text_source_read(&source, path, err) : text_source_check(path, err));
    if (i == n_endings)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: the kind of file is not known by its name; let it end in .tsv, .csv or "
                       ".txt, or in .tsv.gz, .csv.gz or .txt.gz",
                       path);
    enum status status = compressed ? text_source_gunzip(&source, path, err) : STATUS_OK;
    if (status != STATUS_OK) {
        text_source_free(&source);
        return status;
    }
    return corpus_parse(corpus, path, endings[i].format, &source, settings, err);
}

void corpus_free(struct corpus *corpus)
{
    mem_free(corpus->rows);
    mem_free((void *)corpus->labels);
    mem_free(corpus->bytes);
    *corpus = (struct corpus){0};
}
