/* What a model is: its sizes and constants, from config.json or from GGUF metadata. */
#ifndef MIDASHI_LOADERS_MODEL_CONFIG_H
#define MIDASHI_LOADERS_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include "host/base/rope_config.h"
#include "host/base/status.h"

enum architecture {
    ARCHITECTURE_LLAMA,   /* LlamaForCausalLM; GGUF "llama", which is what Mistral's say too */
    ARCHITECTURE_MISTRAL, /* MistralForCausalLM */
    ARCHITECTURE_QWEN2,   /* Qwen2ForCausalLM; GGUF "qwen2" */
    ARCHITECTURE_QWEN3,   /* Qwen3ForCausalLM; GGUF "qwen3" */
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
    /* What a plain Llama has not. */
    bool attention_bias;        /* of q, k and v */
    bool attention_output_bias; /* of o */
    bool mlp_bias;              /* of gate, up and down */
    bool head_norms;            /* q and k pass an RMSNorm for each head before they are rotated */
    int sliding_window;     /* keys that a query sees at most, itself included; 0: all before it */
    int first_window_layer; /* the window holds in this block (from 0) and those behind it */
    struct rope_config rope;
};

/* Reads a folder's config.json, or the metadata of the one .gguf of a folder without it. path may
 * also be the config.json, the .gguf, or a .safetensors with config.json beside it. Where the file
 * is silent, the defaults of transformers' class hold (LlamaConfig, MistralConfig, ...; sizes have
 * none). Each number is checked: positive, head counts that divide, sizes below 2^24 so that
 * products fit 64 bits. STATUS_MISSING: no such file. STATUS_BAD_DATA: not JSON (line), a value
 * missing or out of range (named), an unsupported architecture, activation (other than silu),
 * attention in both directions, partial rotation, experts, rope scaling, or a mixture of layers
 * with and without a window in another order than these before those (named, with what is
 * supported). A GGUF's biases are those whose tensors it holds. */
enum status model_config_read(struct model_config *config, const char *path, struct err *err);

/* "LlamaForCausalLM", ... */
const char *architecture_name(enum architecture architecture);

#endif
