/* Which file of a model holds what. A model is a folder as on the Hugging Face hub (config.json and
 * model.safetensors), a folder with one .gguf, or one such file itself. */
#ifndef MIDASHI_LOADERS_MODEL_FILES_H
#define MIDASHI_LOADERS_MODEL_FILES_H

#include <stdbool.h>
#include "host/base/memory.h"
#include "host/base/status.h"

/* The file with the tensors: path itself, or the folder's model.safetensors, else its one .gguf.
 * *file is in the arena; *is_gguf goes by the name. STATUS_MISSING: neither is there; what stands
 * in the folder instead (shards, pickles) is named with what to do. STATUS_BAD_DATA: several .gguf.
 */
enum status model_files_weights(struct arena *arena, const char *path, const char **file,
                                bool *is_gguf, struct err *err);

/* The file that says what the model is: the folder's config.json, else its one .gguf; beside a
 * .safetensors, its folder's config.json. Errors as above. */
enum status model_files_config(struct arena *arena, const char *path, const char **file,
                               bool *is_gguf, struct err *err);

#endif
