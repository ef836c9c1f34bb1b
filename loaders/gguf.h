/* GGUF: the header, the metadata and the table of tensors of one mapped file.
 *
 * The format is ggml's (docs/gguf.md in its repository), versions 2 and 3, little-endian. The
 * whole of it is checked when the file is opened: counts, lengths and types, names, alignment,
 * tensors inside the file and apart from each other. What a tensor's bytes mean is gguf_types.h's
 * business, what the names mean model_config's, tokenizer's and weights'. */
#ifndef MIDASHI_LOADERS_GGUF_H
#define MIDASHI_LOADERS_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "host/base/status.h"

/* An open file. Immutable: several threads may read it. */
struct gguf;

/* STATUS_MISSING, or STATUS_BAD_DATA with what is wrong; one part of several and a Git LFS pointer
 * are named. */
enum status gguf_open(struct gguf **out, const char *path, struct err *err);
void gguf_close(struct gguf *gguf); /* NULL is allowed */
const char *gguf_path(const struct gguf *gguf);
/* STATUS_BAD_DATA where the file was cut since it was opened; call it after reading data, before
 * the result is used (see file_map_check). */
enum status gguf_check(const struct gguf *gguf, struct err *err);
/* Writes the header and the metadata, byte for byte but for the count of tensors, which is 0: a
 * GGUF that holds the vocabulary alone. Errors of writing are the stream's; otherwise as
 * gguf_check. */
enum status gguf_write_metadata(const struct gguf *gguf, FILE *stream, struct err *err);

/* ---- metadata ------------------------------------------------------------------------------- */

/* Types of values, as the file numbers them. */
enum gguf_type {
    GGUF_UINT8 = 0,
    GGUF_INT8 = 1,
    GGUF_UINT16 = 2,
    GGUF_INT16 = 3,
    GGUF_UINT32 = 4,
    GGUF_INT32 = 5,
    GGUF_FLOAT32 = 6,
    GGUF_BOOL = 7,
    GGUF_STRING = 8,
    GGUF_ARRAY = 9,
    GGUF_UINT64 = 10,
    GGUF_INT64 = 11,
    GGUF_FLOAT64 = 12,
};

/* A string in the mapped file: any bytes, no 0 byte behind. Lives until gguf_close. */
struct gguf_text {
    const char *text;
    size_t length;
};

/* An array in the mapped file. Lives until gguf_close. */
struct gguf_array {
    enum gguf_type type; /* of the elements */
    uint64_t count;
    const unsigned char *data, *end; /* for the functions below alone */
};

bool gguf_has(const struct gguf *gguf, const char *key);

/* Each sets *value from the key's value. Where the key is absent, *value stays as it is: set the
 * default before. STATUS_BAD_DATA where the value has another type (any integer type does for an
 * integer, any integer or float type for a number) or an integer does not fit 64 bits with a sign;
 * the text names file and key. */
enum status gguf_get_integer(const struct gguf *gguf, const char *key, int64_t *value,
                             struct err *err);
enum status gguf_get_number(const struct gguf *gguf, const char *key, double *value,
                            struct err *err);
enum status gguf_get_bool(const struct gguf *gguf, const char *key, bool *value, struct err *err);
enum status gguf_get_text(const struct gguf *gguf, const char *key, struct gguf_text *value,
                          struct err *err);
enum status gguf_get_array(const struct gguf *gguf, const char *key, struct gguf_array *value,
                           struct err *err);

/* An array of strings is read from the front: takes the next string off and returns true, or
 * returns false at the end or for an array of another type. */
bool gguf_array_next_text(struct gguf_array *array, struct gguf_text *text);
/* Element i (< count) of an array of integers, or of integers or floats. False for an array of
 * another type, i out of range or a value that does not fit. */
bool gguf_array_integer(const struct gguf_array *array, uint64_t i, int64_t *value);
bool gguf_array_number(const struct gguf_array *array, uint64_t i, double *value);

/* ---- tensors -------------------------------------------------------------------------------- */

#define GGUF_DIMS_LARGEST 4

struct gguf_tensor {
    const char *name; /* printable ASCII, a 0 byte behind */
    int n_dims;
    int64_t dims[GGUF_DIMS_LARGEST]; /* dims[0] is the length of a row, unlike NumPy's order */
    int type;                        /* ggml's number: see gguf_types.h */
    const unsigned char *data;       /* in the mapped file */
    int64_t bytes;
};

/* In the file's order. */
int gguf_tensor_count(const struct gguf *gguf);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *gguf, int i);
/* NULL where there is none of that name. */
const struct gguf_tensor *gguf_tensor_find(const struct gguf *gguf, const char *name);

#endif
