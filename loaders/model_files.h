/* Which file of a model holds what. A model is a folder as on the Hugging Face hub (config.json, a
 * tokenizer, and the weights in one .safetensors or in several with an index), a folder with one
 * .gguf, or one such file itself. Links are followed; files are told apart by their names, and a
 * GGUF of another name by its first bytes. */
#ifndef MIDASHI_LOADERS_MODEL_FILES_H
#define MIDASHI_LOADERS_MODEL_FILES_H

#include <stdbool.h>
#include "host/base/memory.h"
#include "host/base/status.h"

enum model_format {
    MODEL_SAFETENSORS, /* one file */
    MODEL_SHARDS,      /* several; the file is their model.safetensors.index.json */
    MODEL_GGUF,
};

/* In all of these, path is a folder or a file, and *file is in the arena. STATUS_MISSING: path, or
 * what is looked for in it, is not there; what stands there instead (an adapter, pickles, ONNX,
 * ...) is named with what to do. STATUS_BAD_DATA: several files of which one must be named, or a
 * file that holds no weights. */

/* The tensors: model.safetensors, else the index of shards, else the folder's one other
 * .safetensors (where there is a config.json, or no .gguf), else its one .gguf. */
enum status model_files_weights(struct arena *arena, const char *path, const char **file,
                                enum model_format *format, struct err *err);

/* What the model is: the folder's config.json, else its one .gguf. path may be a config.json
 * itself; beside a .safetensors, it is its folder's. */
enum status model_files_config(struct arena *arena, const char *path, const char **file,
                               bool *is_gguf, struct err *err);

/* The tokenizer: the folder's tokenizer.json, else tokenizer.model, else tokenizer.gguf (a
 * vocabulary alone, which never counts as a model), else its one .gguf; beside a .safetensors, its
 * folder's. Any other file is taken for a tokenizer itself. */
enum status model_files_tokenizer(struct arena *arena, const char *path, const char **file,
                                  struct err *err);

/* The folder that path is or lies in, in the arena. */
enum status model_files_folder(struct arena *arena, const char *path, const char **folder,
                               struct err *err);
/* FOLDER/NAME in the arena. */
enum status model_files_join(struct arena *arena, const char *folder, const char *name,
                             const char **path, struct err *err);

#endif
