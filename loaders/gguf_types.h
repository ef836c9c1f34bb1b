/* ggml's tensor types: how many bytes a block has, and what values its bytes mean.
 *
 * All of ggml's types are known by name and size, so that a file's table can be checked; some can
 * be read. */
#ifndef MIDASHI_LOADERS_GGUF_TYPES_H
#define MIDASHI_LOADERS_GGUF_TYPES_H

#include <stddef.h>
#include <stdint.h>

/* Turns n_blocks blocks into float32: out (n_blocks, block). */
typedef void gguf_read_blocks(const unsigned char *restrict blocks, size_t n_blocks,
                              float *restrict out);

struct gguf_tensor_type {
    const char *name;       /* "Q4_1" */
    int block;              /* values in a block; a row is whole blocks */
    int bytes;              /* of a block */
    gguf_read_blocks *read; /* NULL: known, but not supported */
};

/* number: as in the file. NULL for a number that ggml does not define. */
const struct gguf_tensor_type *gguf_tensor_type(uint32_t number);
/* The type of that name, if it can be read; else NULL. F32, F16 and BF16 are the same in
 * safetensors.
 */
const struct gguf_tensor_type *gguf_tensor_type_named(const char *name);
/* Names of the types that can be read, for messages: "F32, F16, ..." */
extern const char gguf_readable_types[];

#endif
