/* NumPy's .npy: arrays of float32, float16, float64 or int32 with one or two dimensions, C order,
 * little-endian, versions 1.0 to 3.0 of the format. Read by mapping, written aside and renamed. */
#ifndef MIDASHI_LOADERS_NPY_H
#define MIDASHI_LOADERS_NPY_H

#include <stdint.h>
#include "host/base/file.h"
#include "host/base/status.h"

enum npy_type {
    NPY_F32,
    NPY_F16,
    NPY_I32,
    NPY_F64, /* read, not written */
};

struct npy {
    enum npy_type type;
    int n_dims;            /* 1 or 2 */
    int64_t rows, columns; /* rows >= 0, columns >= 1; a vector has columns 1 */
    const void *data;      /* (rows, columns), borrowed from the map */
    const char *path;      /* the caller's, for messages */
    struct file_map map;
};

/* STATUS_MISSING, or STATUS_BAD_DATA for what is not such an array (Fortran order, another dtype,
 * truncated or followed by something, a header that is no dictionary: named). data is aligned for
 * its type. */
enum status npy_open(struct npy *npy, const char *path, struct err *err);
void npy_close(struct npy *npy); /* a zeroed npy is allowed */
/* out (n_rows, columns) in float32, from F32, F16 or F64, which is rounded: beyond float32's range
 * to an infinity. STATUS_BAD_DATA where the file was cut since it was opened. */
enum status npy_read_rows(const struct npy *npy, int64_t first_row, int64_t n_rows, float *out,
                          struct err *err);

/* The same without a check, for several threads that convert at a time: file_map_check follows. */
void npy_convert(const struct npy *npy, int64_t first_row, int64_t n_rows, float *out);

/* Writing row by row: open, any number of npy_writer_add, then commit. The header is written first,
 * so the shape is given first. NPY_F32, NPY_F16 (converted from float32) or NPY_I32. The file's
 * bytes are those of numpy.save (NumPy 1.23 and later). For n_dims 1, columns is 1. */
struct npy_writer {
    struct out_file file;
    enum npy_type type;
    int64_t rows, columns, written;
};
enum status npy_writer_open(struct npy_writer *writer, const char *path, enum npy_type type,
                            int n_dims, int64_t rows, int64_t columns, struct err *err);
/* values: n_rows * columns of float (F32, F16) or int32_t (I32). After a failure (STATUS_RESOURCE,
 * a full disk for one), discard. */
enum status npy_writer_add(struct npy_writer *writer, const void *values, int64_t n_rows,
                           struct err *err);
/* All rows must have been added. */
enum status npy_writer_commit(struct npy_writer *writer, struct err *err);
void npy_writer_discard(struct npy_writer *writer);

/* A whole array at once, synced to the disk but without its name: open and add. Where files belong
 * together, the first npy_writer_commit comes behind the last of these, so that all are there or
 * none. On failure nothing is left. */
enum status npy_write_aside(struct npy_writer *writer, const char *path, enum npy_type type,
                            int n_dims, int64_t rows, int64_t columns, const void *values,
                            struct err *err);

/* The same, and commit. */
enum status npy_write(const char *path, enum npy_type type, int n_dims, int64_t rows,
                      int64_t columns, const void *values, struct err *err);

#endif
