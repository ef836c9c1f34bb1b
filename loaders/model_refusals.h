/* What is not read, told by name, with what to do instead. People have models in many forms; each
 * form that is not one of ours gets one line that names it. */
#ifndef MIDASHI_LOADERS_MODEL_REFUSALS_H
#define MIDASHI_LOADERS_MODEL_REFUSALS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include "host/base/status.h"

/* A folder without weights, or without anything that says what they are. Never STATUS_OK. Named:
 * a LoRA adapter (with its base model), a diffusers pipeline, pickles (pytorch_model.bin, .pth,
 * .ckpt), ONNX, TensorFlow, Flax, a tokenizer alone, a cache's folder. */
enum status model_refuse_folder(const char *folder, struct err *err);

/* A folder without a tokenizer that is read. Never STATUS_OK. Named: vocab.json with merges.txt,
 * tekken.json, vocab.txt. */
enum status model_refuse_tokenizer(const char *folder, struct err *err);

/* A file that holds no weights that are read: a shard, an adapter, a pickle, a tokenizer, a
 * configuration, ... Never STATUS_OK. */
enum status model_refuse_file(const char *path, struct err *err);

/* root: what PATH, a config.json, holds. STATUS_OK, or STATUS_BAD_DATA for weights quantised in
 * another way than bitsandbytes' NF4 (GPTQ, AWQ, FP8, ...; key and method named), for models of
 * more than text (text_config) and for a file of another kind (a diffusers pipeline). */
enum status model_refuse_config(const char *path, const json_t *root, struct err *err);

/* STATUS_BAD_DATA where the bytes are a Git LFS pointer, which stands in the place of a file that
 * was not fetched; else STATUS_OK. */
enum status model_refuse_pointer(const char *path, const unsigned char *data, size_t size,
                                 struct err *err);

/* By the names of files: one of several parts, as model-00001-of-00002.safetensors (a path does as
 * well); an adapter's weights, adapter_model.safetensors. */
bool model_file_is_part(const char *name);
bool model_file_is_adapter(const char *name);

#endif
