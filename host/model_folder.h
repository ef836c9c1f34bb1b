/* A folder that is a model made of another one: what quantize and merge share. The caller says
 * which tensors it holds and puts them; the rest (tokenizer, config.json, and the order in which
 * files come and go) is here.
 *
 * Everything is written aside, and renamed when all of it is on the disk, config.json last; on
 * failure, the folder holds what it held. Files of an earlier model that this one has no use for
 * are removed. */
#ifndef MIDASHI_HOST_MODEL_FOLDER_H
#define MIDASHI_HOST_MODEL_FOLDER_H

#include <stdbool.h>
#include <jansson.h>
#include "host/base/file.h"
#include "host/llama.h"
#include "host/output_folder.h"
#include "loaders/safetensors_writer.h"
#include "loaders/tokenizer.h"

#define MODEL_FOLDER_COPIED 7 /* files that are taken over as they are */

struct model_folder {
    const char *source, *folder;
    struct model_config config; /* the source's, as the next three */
    struct weights *weights;
    struct tokenizer *tokenizer;
    bool untied;                       /* lm_head is a tensor of its own */
    struct safetensors_writer writer;  /* model.safetensors */
    struct safetensors_entry *entries; /* in the arena, with their names */
    int n_entries;
    struct arena arena;
    struct err *err;
    /* For model_folder.c alone: */
    const char *source_folder;
    struct output_folder output;
    bool made_pooling, committed;
    struct out_file files[MODEL_FOLDER_COPIED]; /* stream NULL: not in the source */
    struct out_file vocabulary;                 /* tokenizer.gguf, likewise */
    struct out_file config_file;
};

/* Opens the source, which must be a model that llama_load takes; texts are borrowed. Whatever
 * comes of it, model_folder_close is due. STATUS_BAD_DATA, STATUS_MISSING: it cannot be loaded. */
enum status model_folder_open(struct model_folder *m, const char *source, const char *folder,
                              struct err *err);
/* Walks the tensors of the source: those of llama_load, and lm_head, which embedding needs not but
 * others do. From *cursor 0 on; false at the end. */
bool model_folder_next(const struct model_folder *m, int *cursor, struct llama_parameter *out);
/* Adds NAME PART to `entries`, which has room for it. */
enum status model_folder_add(struct model_folder *m, const char *name, const char *part,
                             struct safetensors_entry entry);

/* Takes the folder, made if need be, and copies what belongs to the tokenizer. STATUS_USAGE:
 * without force, the folder holds a model, or what midashi did not write; another run is writing
 * there; or it is the source itself. */
enum status model_folder_begin(struct model_folder *m, bool force);
/* *root: the source's config.json, or one made of a GGUF's metadata; the caller's. dtype, which
 * older versions of transformers call torch_dtype, is under that name. */
enum status model_folder_config(struct model_folder *m, json_t **root);
/* mark: "quantized_by" or "merged_by". Takes root over (NULL: no memory), and opens the writer with
 * `entries`. */
enum status model_folder_write_config(struct model_folder *m, json_t *root, const char *mark);
/* All tensors have been put. */
enum status model_folder_commit(struct model_folder *m);
/* Without a commit, nothing of this run stays. */
void model_folder_close(struct model_folder *m);

/* Both are there, and the same. */
bool model_folder_same(const char *a, const char *b);

#endif
