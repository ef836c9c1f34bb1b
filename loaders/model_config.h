/* What a model is: its sizes and constants, from config.json or from GGUF metadata. */
#ifndef MIDASHI_LOADERS_MODEL_CONFIG_H
#define MIDASHI_LOADERS_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include "host/base/rope_config.h"
#include "host/base/status.h"

enum architecture {
    ARCHITECTURE_LLAMA, /* LlamaForCausalLM; GGUF "llama" */
};

struct model_config {
    enum architecture architecture;
    int hidden_size;
    int intermediate_size;
    int n_layers;
    int n_heads;
    int n_kv_heads;
    int head_dim; /* hidden_size / n_heads where the file is silent; always even */
    int vocab_size;
    int max_positions; /* the longest text the model was made for */
    float rms_norm_eps;
    /* lm_head is the embedding matrix. What config.json says; for a GGUF, that output.weight is
     * absent. */
    bool tied_embeddings;
    struct rope_config rope;
};

/* Reads a folder's config.json, or the metadata of the one .gguf of a folder without it. path may
 * also be the config.json, the .gguf, or a .safetensors with config.json beside it. Where the file
 * is silent, the defaults of transformers' LlamaConfig hold (sizes have none). Each number is
 * checked: positive, head counts that divide, sizes below 2^24 so that products fit 64 bits.
 * STATUS_MISSING: no such file. STATUS_BAD_DATA: not JSON (line), a value missing or out of range
 * (named), an unsupported architecture, activation (other than silu), attention or MLP bias,
 * partial rotation, experts or rope scaling (named, with what is supported). */
enum status model_config_read(struct model_config *config, const char *path, struct err *err);

const char *architecture_name(enum architecture architecture);

#endif
