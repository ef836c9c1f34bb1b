/* Embeddings from .npy files, one or several parts of one array: what `embed --rows` writes. */
#ifndef MIDASHI_HOST_EMBEDDING_PARTS_H
#define MIDASHI_HOST_EMBEDDING_PARTS_H

#include <stddef.h>
#include "host/base/status.h"

/* Below INT_MAX by more than a chunk of rows, so that what steps over them in chunks need not look
 * out for its end. */
#define EMBEDDING_MOST_ROWS 2000000000

struct embedding_parts {
    const char *const *paths; /* borrowed, in the order of their rows */
    int n;
    size_t n_rows; /* of all together */
    int width;
};

/* Opens each of n > 0 files for its shape. STATUS_MISSING; STATUS_BAD_DATA: no .npy of floats with
 * two dimensions, another width than the first part's, more than
 * EMBEDDING_MOST_ROWS rows. */
enum status embedding_parts_measure(struct embedding_parts *parts, const char *const *paths, int n,
                                    struct err *err);

/* x (n_rows, width), float32. STATUS_BAD_DATA: a number that is not finite (file, row from 1), or a
 * file that has changed since it was measured. STATUS_INTERRUPTED. */
enum status embedding_parts_read(const struct embedding_parts *parts, float *x, struct err *err);

/* STATUS_BAD_DATA, of a part that is not what it was when it was measured. */
enum status embedding_parts_changed(const char *path, struct err *err);

#endif
