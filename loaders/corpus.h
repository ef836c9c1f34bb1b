/* A pile of texts from .tsv, .csv or .txt, each also .gz.
 *
 * .tsv has no quoting (IANA text/tab-separated-values), .csv follows RFC 4180, .txt has a text a
 * line. UTF-8 is checked; a byte-order mark is skipped. */
#ifndef MIDASHI_LOADERS_CORPUS_H
#define MIDASHI_LOADERS_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include "host/base/memory.h"
#include "host/base/status.h"

enum corpus_header {
    CORPUS_HEADER_GUESS, /* a header if the first line holds the text column's name */
    CORPUS_HEADER_YES,
    CORPUS_HEADER_NO,
};

/* Columns are given by name or by number from 1. NULL: "text" and "label"; without a header the
 * last column is the text, and there are no labels. */
struct corpus_settings {
    const char *text_column;
    const char *label_column;
    enum corpus_header header;
};

struct corpus_row {
    const char *text; /* valid UTF-8, a 0 byte behind; owned by the corpus */
    size_t length;    /* a text may hold 0 bytes too */
    int label;        /* index into labels, or -1 */
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
    struct arena arena;
};

/* STATUS_MISSING: no such file, or no such column (the columns that there are get listed).
 * STATUS_BAD_DATA: no rows, invalid UTF-8 (row and byte), a quote that is not closed or stands in
 * the wrong place (row), a row with fewer fields than the column needs (row), a damaged or
 * truncated .gz, an unknown file ending. Rows in messages count from 1 without the header. */
enum status corpus_read(struct corpus *corpus, const char *path,
                        const struct corpus_settings *settings, struct err *err);
void corpus_free(struct corpus *corpus);

#endif
