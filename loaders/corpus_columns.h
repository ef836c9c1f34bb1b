/* Which columns of a table hold the text and the label, and whether its first line is a header. */
#ifndef MIDASHI_LOADERS_CORPUS_COLUMNS_H
#define MIDASHI_LOADERS_CORPUS_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include "host/base/status.h"
#include "loaders/corpus.h"

struct corpus_columns {
    bool has_header;
    size_t n;     /* columns of the first line */
    size_t text;  /* from 0 */
    size_t label; /* from 0; CORPUS_NO_LABEL where there is none */
};
#define CORPUS_NO_LABEL ((size_t)-1)

/* Decides from the first record by the rules in corpus.h and says so in guess. STATUS_USAGE as
 * there. The fields must be valid UTF-8. */
enum status corpus_columns_find(struct corpus_columns *columns, char guess[256], const char *name,
                                const struct table_reader *first,
                                const struct corpus_settings *settings, struct err *err);

#endif
