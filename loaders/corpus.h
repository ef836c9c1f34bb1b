/* A pile of texts from .tsv, .csv or .txt, each also .gz.
 *
 * .tsv has no quoting (IANA text/tab-separated-values), .csv follows RFC 4180, .txt has a text a
 * line; loaders/table.h has the details. UTF-8 is checked; a byte-order mark is skipped. A pipe
 * with such a name is read like a file.
 *
 * Lines without a byte: in a .txt, and in a table of one column, each is a blank text. In a table
 * of more columns they are skipped and not counted as rows. */
#ifndef MIDASHI_LOADERS_CORPUS_H
#define MIDASHI_LOADERS_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include "host/base/status.h"
#include "loaders/table.h"
#include "loaders/text_source.h"

enum corpus_header {
    CORPUS_HEADER_GUESS, /* see corpus_read */
    CORPUS_HEADER_YES,
    CORPUS_HEADER_NO,
};

/* Columns are given by name or by number from 1; digits alone are always a number. NULL: "text" and
 * "label"; without a header the last column is the text, and there are no labels. */
struct corpus_settings {
    const char *text_column;
    const char *label_column;
    enum corpus_header header;
};

struct corpus_row {
    const char *text; /* valid UTF-8, a 0 byte behind; owned by the corpus */
    size_t length;    /* a text may hold 0 bytes too */
    int label;        /* index into labels; -1 without labels, or where the field is empty */
    bool blank;       /* nothing but white space (Unicode White_Space) */
};

struct corpus {
    struct corpus_row *rows;
    size_t n_rows;
    const char **labels; /* label names in order of first appearance */
    int n_labels;        /* 0: the corpus has no labels */
    size_t n_blank;
    bool has_header;
    char guess[256];        /* what was decided about the header and the columns, for a person */
    unsigned char hash[16]; /* of the texts, in order: tells when embeddings can be reused */
    char *bytes;            /* the file; texts and labels lie in it */
};

/* path ends in .tsv, .csv or .txt, or in one of those with .gz behind it (any case).
 *
 * The first line that is not empty is a header if it holds the text column's name. Where the text
 * column is given by number its name is unknown: then "text" or the label column's name tells. The
 * label column's name, where it is given, tells too.
 *
 * STATUS_MISSING: no such file. STATUS_USAGE: no such column (the first 20 that there are get
 * listed), names given for a file without a header, columns or a header asked of a .txt.
 * STATUS_BAD_DATA: no texts, invalid UTF-8 (row, line, and byte of the uncompressed file from 0), a
 * quote that is not closed or in the wrong place, a row with fewer fields than the columns need or
 * with text in fields beyond those of the first line (row and line), a damaged or truncated .gz
 * (byte), a folder, another file ending. STATUS_RESOURCE: the system refuses, or no memory. Rows in
 * messages count from 1 without the header, lines from 1 with it. On failure the corpus is empty.
 */
enum status corpus_read(struct corpus *corpus, const char *path,
                        const struct corpus_settings *settings, struct err *err);

/* The same from bytes in memory, without .gz. source: taken over, whether it succeeds or not, and
 * zeroed. name stands for the file in messages. */
enum status corpus_parse(struct corpus *corpus, const char *name, enum table_format format,
                         struct text_source *source, const struct corpus_settings *settings,
                         struct err *err);

void corpus_free(struct corpus *corpus); /* a zeroed corpus is allowed */

#endif
