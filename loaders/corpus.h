/* A pile of texts: .csv, .tsv, .jsonl, .txt, a folder of .txt, each also .gz; or a pipe.
 *
 * .tsv has no quoting (IANA text/tab-separated-values), .csv follows RFC 4180, .txt has a text a
 * line (loaders/table.h has the details); .jsonl has a JSON object or a JSON string a line
 * (loaders/json_line.h); a folder has a text a file (loaders/corpus_folder.c). All bytes must be
 * UTF-8 without 0 bytes; a byte-order mark is skipped. Gzip data are known by their first bytes,
 * whatever the name.
 *
 * Lines without a byte: in a .txt, and in a table of one column, each is a blank text. In a table
 * of more columns and in a .jsonl they are skipped and not counted as rows. */
#ifndef MIDASHI_LOADERS_CORPUS_H
#define MIDASHI_LOADERS_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include "host/base/memory.h"
#include "host/base/status.h"
#include "loaders/text_source.h"

enum corpus_format {
    CORPUS_BY_NAME, /* by the ending of the name */
    CORPUS_TXT,
    CORPUS_TSV,
    CORPUS_CSV,
    CORPUS_JSONL,
};

enum corpus_header {
    CORPUS_HEADER_GUESS, /* see corpus_read */
    CORPUS_HEADER_YES,
    CORPUS_HEADER_NO,
};

/* Columns are given by name or by number from 1; digits alone are always a number. NULL: "text" and
 * "label", in any case of letters; without a header the last column is the text, and there are no
 * labels. In a .jsonl they are keys, as they stand, and a.b is the key b of the object a, unless
 * there is a key "a.b". */
struct corpus_settings {
    enum corpus_format format;
    const char *text_column;
    const char *label_column;
    const char *label_option; /* what messages call the option of label_column; NULL: --label */
    enum corpus_header header;
    size_t first_row, last_row; /* from 1, inclusive; 0: no bound */
};

struct corpus_row {
    const char *text; /* valid UTF-8 without 0 bytes, a 0 byte behind; owned by the corpus */
    size_t length;
    int label;  /* index into labels; -1 without labels, or where the field is empty */
    bool blank; /* nothing but white space (Unicode White_Space) */
};

struct corpus {
    struct corpus_row *rows;
    size_t n_rows;
    size_t rows_before;  /* rows of the file that first_row left out before rows[0] */
    const char **labels; /* label names in order of first appearance */
    int n_labels;        /* 0: the corpus has no labels */
    size_t n_blank;
    bool has_header;
    char guess[256];        /* what was decided about format, header and columns, for a person */
    unsigned char hash[16]; /* of the texts, in order: tells when embeddings can be reused */
    char *bytes;            /* the file; texts and labels lie in it */
    struct arena arena;     /* of a folder: texts and labels lie here */
};

/* path: a file whose name ends in .csv, .tsv, .jsonl, .ndjson or .txt, or in one of those with .gz
 * behind it (any case); any file with a format in the settings; a folder; a FIFO, which without a
 * known ending is a .txt; or "-" for standard input, likewise.
 *
 * The first line of a table that is not empty is a header if it holds the text column's name. Where
 * the text column is given by number its name is unknown: then "text" or the label column's name
 * tells. The label column's name, where it is given, tells too.
 *
 * STATUS_MISSING: no such file. STATUS_USAGE: no such column or key (the first 20 that there are
 * get listed), names given for a file without a header, columns or a header asked of what has none,
 * a first_row behind the last one. STATUS_BAD_DATA: no texts, a byte that is no UTF-8 or 0 (row,
 * line, and byte of the uncompressed file from 0), a quote that is not closed or in the wrong
 * place, a row whose number of fields is not that of the first line (row, line, both numbers), bad
 * JSON (row, line, byte), a text that is no string, a damaged or truncated .gz (byte), a folder
 * without a .txt, another file ending, a device. STATUS_RESOURCE: the system refuses, or no memory.
 * STATUS_INTERRUPTED: while a pipe was read. Rows in messages count from 1 without the header,
 * lines from 1 with it. On failure the corpus is empty. */
enum status corpus_read(struct corpus *corpus, const char *path,
                        const struct corpus_settings *settings, struct err *err);

/* The same from bytes in memory, without .gz, in settings->format, which is not CORPUS_BY_NAME.
 * source: taken over, whether it succeeds or not, and zeroed. name stands for the file in messages.
 */
enum status corpus_parse(struct corpus *corpus, const char *name, struct text_source *source,
                         const struct corpus_settings *settings, struct err *err);

void corpus_free(struct corpus *corpus); /* a zeroed corpus is allowed */

/* match (corpus->n_labels): which of `names` (n) is called as the corpus' label, -1: none. */
void corpus_match_labels(int *match, const struct corpus *corpus, const char *const *names, int n);

/* From csv, tsv, jsonl or txt; false for another word. */
bool corpus_format_parse(enum corpus_format *format, const char *word);

#endif
