/* Writing safetensors (safetensors.h), one tensor at a time, aside and renamed.
 *
 * Wider types stand first, and the data begins at a multiple of 64 bytes, so that every tensor is
 * aligned in a mapped file. The metadata says `format` `pt`, which transformers asks for. */
#ifndef MIDASHI_LOADERS_SAFETENSORS_WRITER_H
#define MIDASHI_LOADERS_SAFETENSORS_WRITER_H

#include <stdint.h>
#include "host/base/file.h"
#include "host/base/memory.h"
#include "host/base/status.h"

struct safetensors_entry {
    const char *name;      /* UTF-8, each once; borrowed until commit or discard */
    const char *type_name; /* "F32", "BF16", "U8", ... */
    int n_dims;            /* 1 or 2 */
    int64_t dims[2];       /* row-major, each >= 0 */
};

struct safetensors_writer {
    struct out_file file;
    int64_t *places; /* of each entry in the file; in the arena, as bytes and done */
    int64_t *bytes;  /* of each entry */
    int64_t size;    /* of the file */
    int64_t *done;   /* bytes of each that have been put */
    int count;
    struct arena arena;
};

/* Writes the header. On failure nothing is left. Errors of out_file_open; STATUS_RESOURCE. */
enum status safetensors_writer_open(struct safetensors_writer *writer, const char *path,
                                    const struct safetensors_entry *entries, int count,
                                    struct err *err);
/* The whole of entry i, in any order of entries. After a failure (STATUS_RESOURCE, a full disk for
 * one), discard. */
enum status safetensors_writer_put(struct safetensors_writer *writer, int i, const void *bytes,
                                   struct err *err);
/* The next n bytes of entry i, of which nothing else is put. */
enum status safetensors_writer_append(struct safetensors_writer *writer, int i, const void *bytes,
                                      size_t n, struct err *err);
/* Every entry must have been put. */
enum status safetensors_writer_commit(struct safetensors_writer *writer, struct err *err);
/* A zeroed writer is allowed, and one that is committed. */
void safetensors_writer_discard(struct safetensors_writer *writer);

#endif
