/* Which columns of a table hold the text and the label, and whether its first line is a header. */
#ifndef MIDASHI_LOADERS_CORPUS_COLUMNS_H
#define MIDASHI_LOADERS_CORPUS_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include "host/base/status.h"
#include "loaders/corpus.h"
#include "loaders/table.h"

struct corpus_columns {
    bool has_header;
    size_t n;     /* columns of the first line */
    size_t text;  /* from 0 */
    size_t label; /* from 0; CORPUS_NO_LABEL where there is none */
};
#define CORPUS_NO_LABEL ((size_t)-1)

/* Decides from the first record by the rules in corpus.h and says so in guess. STATUS_USAGE as
 * there; STATUS_BAD_DATA where a header is parted by another format's separator. The fields must be
 * valid UTF-8. */
enum status corpus_columns_find(struct corpus_columns *columns, char guess[256], const char *name,
                                const struct table_reader *first,
                                const struct corpus_settings *settings, struct err *err);

/* The first CORPUS_LISTED_NAMES of n names for a message, in quotes, clipped where they are long;
 * only as many and one more need be there. capacity: CORPUS_NAMES_LIST is enough for most. */
#define CORPUS_LISTED_NAMES 20
#define CORPUS_NAMES_LIST   640
void corpus_names_list(char *out, size_t capacity, const struct table_field *names, size_t n);

#endif
