/* See embedding_parts.h. */
#include "host/embedding_parts.h"

#include <limits.h>
#include <math.h>
#include "host/base/interrupt.h"
#include "loaders/npy.h"

/* One part's shape, held against those before it. */
static enum status measure(struct embedding_parts *parts, const struct npy *npy, const char *path,
                           struct err *err)
{
    if (npy->type == NPY_I32)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: int32, so no embeddings; give what midashi embed wrote", path);
    if (npy->n_dims != 2)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: one dimension; embeddings have two, (texts, width)", path);
    if (npy->columns < 1 || npy->columns > INT_MAX / 2)
        return err_set(err, STATUS_BAD_DATA, "%s: rows of %lld numbers", path,
                       (long long)npy->columns);
    if (parts->width > 0 && npy->columns != parts->width)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: rows of %lld numbers, but %s has %d; give parts of one array", path,
                       (long long)npy->columns, parts->paths[0], parts->width);
    if (npy->rows > EMBEDDING_MOST_ROWS - (int64_t)parts->n_rows)
        return err_set(err, STATUS_BAD_DATA, "%s: more than %d rows in all", path,
                       EMBEDDING_MOST_ROWS);
    parts->width = (int)npy->columns;
    parts->n_rows += (size_t)npy->rows;
    return STATUS_OK;
}

enum status embedding_parts_measure(struct embedding_parts *parts, const char *const *paths, int n,
                                    struct err *err)
{
    *parts = (struct embedding_parts){.paths = paths, .n = n};
    for (int i = 0; i < n; i++) {
        struct npy npy;
        TRY(npy_open(&npy, paths[i], err));
        enum status status = measure(parts, &npy, paths[i], err);
        npy_close(&npy);
        TRY(status);
    }
    return STATUS_OK;
}

enum status embedding_parts_changed(const char *path, struct err *err)
{
    return err_set(err, STATUS_BAD_DATA,
                   "%s: changed while it was read; let no other program write it", path);
}

/* Rows are read a few at a time, so that an interrupt is noticed. */
#define ROWS_AT_ONCE 4096

static enum status read_part(const struct npy *npy, float *x, struct err *err)
{
    for (int64_t first = 0; first < npy->rows; first += ROWS_AT_ONCE) {
        int64_t n = npy->rows - first < ROWS_AT_ONCE ? npy->rows - first : ROWS_AT_ONCE;
        TRY(interrupt_check(err));
        TRY(npy_read_rows(npy, first, n, x, err));
        for (int64_t i = 0; i < n * npy->columns; i++)
            if (!isfinite(x[i]))
                return err_set(err, STATUS_BAD_DATA,
                               "%s: row %lld: column %lld is %g, not a finite number; make the "
                               "embeddings again",
                               npy->path, (long long)(first + i / npy->columns) + 1,
                               (long long)(i % npy->columns) + 1, (double)x[i]);
        x += n * npy->columns;
    }
    return STATUS_OK;
}

enum status embedding_parts_read(const struct embedding_parts *parts, float *x, struct err *err)
{
    size_t n_read = 0;
    for (int i = 0; i < parts->n; i++) {
        struct npy npy;
        TRY(npy_open(&npy, parts->paths[i], err));
        enum status status;
        if (npy.columns != parts->width || (size_t)npy.rows > parts->n_rows - n_read)
            status = embedding_parts_changed(parts->paths[i], err);
        else
            status = read_part(&npy, x + n_read * (size_t)parts->width, err);
        n_read += (size_t)npy.rows;
        npy_close(&npy);
        TRY(status);
    }
    if (n_read < parts->n_rows)
        return embedding_parts_changed(parts->paths[0], err);
    return STATUS_OK;
}
