/* A tensor by name, whatever the file: one interface over safetensors, shards of them, and GGUF.
 *
 * Names and layouts are Hugging Face's ("model.layers.0.self_attn.q_proj.weight", row-major
 * (out, in), q and k rows in rotate-half order); GGUF's own names and its permuted q and k rows are
 * translated here, so that nothing above knows which file it was. */
#ifndef MIDASHI_LOADERS_WEIGHTS_H
#define MIDASHI_LOADERS_WEIGHTS_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/status.h"
#include "loaders/model_config.h"
#include "loaders/model_files.h"

struct weights; /* a model's open files; the mappings live until weights_close */

struct gguf_tensor_type;
struct nf4_weight;
struct safetensors;

struct weight {
    const char *name;      /* Hugging Face's name; owned by the weights */
    const char *path;      /* the file that holds it, for messages; likewise */
    int n_dims;            /* as in the file; models have 1 and 2 */
    int64_t rows, columns; /* (rows, columns); a vector has rows 1, more dimensions go to rows */
    const char *type_name; /* as the file calls it: "F32", "BF16", "Q4_1", ..., or "NF4" */
    bool permuted;         /* q or k of a GGUF of architecture llama (weight, bias): weight_read
                              undoes it */
    const struct nf4_weight *nf4; /* NF4 of bitsandbytes (bitsandbytes.h); NULL for the others */
    /* For the reader alone: */
    const unsigned char *data;
    int64_t bytes;
    const struct gguf_tensor_type *type; /* NULL: a type that cannot be read */
    const struct safetensors *file;      /* NULL: a GGUF's */
};

/* path: a folder with weights or a file of them, as model_files_weights has it; with shards, all of
 * them are opened. config is needed for the head size of permuted tensors and for tied embeddings.
 * Each file's own table is checked whole: bounded header, offsets inside the file, no overlap,
 * shapes that match sizes, known types, no duplicate name, also not in two shards; and what the
 * index of shards names is there. The parts of a matrix that bitsandbytes quantised count as one
 * tensor of type NF4, and are checked (bitsandbytes_join). A type that is known but cannot be read
 * (I64, IQ4_XS) is an error only for the tensor that is asked for. STATUS_MISSING: no model file
 * there, or a shard is not; pickles and their like are named. STATUS_BAD_DATA: damaged (byte or
 * tensor named), or a GGUF that is split. */
enum status weights_open(struct weights **out, const char *path, const struct model_config *config,
                         struct err *err);
void weights_close(struct weights *weights); /* NULL is allowed */

/* NULL where there is none of that name. "model.X" is also found as "X", as files of base models
 * (LlamaModel and so on) call it. Where the config ties the embeddings and the file holds
 * one of model.embed_tokens.weight and lm_head.weight, that one is found under both names. */
const struct weight *weights_find(const struct weights *weights, const char *name);
/* As weights_find, but STATUS_BAD_DATA where the tensor is missing, has another shape or a type
 * that cannot be read; both are named. NF4 passes. A vector is asked for as rows 1. */
enum status weights_expect(const struct weights *weights, const char *name, int64_t rows,
                           int64_t columns, const struct weight **out, struct err *err);
/* All of them, in the files' order, for `info`. */
int weights_count(const struct weights *weights);
const struct weight *weights_at(const struct weights *weights, int i);
/* For messages: the file, or the index of the shards. */
const char *weights_path(const struct weights *weights);
/* How many files there are, and their format. */
int weights_file_count(const struct weights *weights);
enum model_format weights_format(const struct weights *weights);

/* out (n_rows, columns): rows first_row .. first_row + n_rows of the tensor in float32, exactly as
 * the file's type defines them. Rows within the tensor's; several threads may read at a time.
 * STATUS_BAD_DATA where the file shrank since it was opened, or the type cannot be read; nor can
 * NF4 here, whose parts are weight->nf4. */
enum status weight_read(const struct weights *weights, const struct weight *weight,
                        int64_t first_row, int64_t n_rows, float *out, struct err *err);
/* The elements as they lie in the mapped file, (rows, columns), where their type has this name
 * ("F32", "BF16") and they are in order and aligned; else NULL. Lives until weights_close. */
const void *weight_view(const struct weight *weight, const char *type_name);
/* STATUS_BAD_DATA where a file was cut since it was opened: call it after reading weight_view's or
 * NF4's bytes, before the result is used (see file_map_check). */
enum status weights_check(const struct weights *weights, struct err *err);
/* Hands the tensor's mapped pages back to the system: call it when a tensor has been consumed. */
void weight_release(const struct weights *weights, const struct weight *weight);

#endif
