/* safetensors: the table of tensors of one mapped file.
 *
 * The format is Hugging Face's (the README of the safetensors repository): 8 bytes of header
 * length, little-endian; the header, a JSON object of name -> {dtype, shape, data_offsets}; the
 * data. All of it is checked when the file is opened, as their library does: header bounded, each
 * name once, types known, sizes that match shapes, and tensors that cover the data without overlap
 * or hole. */
#ifndef MIDASHI_LOADERS_SAFETENSORS_H
#define MIDASHI_LOADERS_SAFETENSORS_H

#include <stdint.h>
#include "host/base/status.h"

#define SAFETENSORS_HEADER_LARGEST 100000000 /* bytes; the limit of the original library */
#define SAFETENSORS_DIMS_LARGEST   8

/* An open file. Immutable: several threads may read it. */
struct safetensors;

struct safetensors_tensor {
    const char *name;                       /* UTF-8, not empty */
    const char *type_name;                  /* "F32", "F16", "BF16", "I64", ... */
    int n_dims;                             /* 0 .. SAFETENSORS_DIMS_LARGEST */
    int64_t dims[SAFETENSORS_DIMS_LARGEST]; /* row-major, the last one runs fastest; may be 0 */
    const unsigned char *data;              /* in the mapped file, not aligned */
    int64_t bytes;
};

/* STATUS_MISSING, or STATUS_BAD_DATA with the byte or the tensor that is wrong; a Git LFS pointer
 * is named. */
enum status safetensors_open(struct safetensors **out, const char *path, struct err *err);
void safetensors_close(struct safetensors *safetensors); /* NULL is allowed */
/* STATUS_BAD_DATA where the file was cut since it was opened; call it after reading data, before
 * the result is used (see file_map_check). */
enum status safetensors_check(const struct safetensors *safetensors, struct err *err);

const char *safetensors_path(const struct safetensors *safetensors);

/* Bytes of an element of a type, by the name that files give it; 0 for a name that is not known. */
int safetensors_type_size(const char *type_name);

/* In the order of the data. */
int safetensors_count(const struct safetensors *safetensors);
const struct safetensors_tensor *safetensors_at(const struct safetensors *safetensors, int i);

#endif
