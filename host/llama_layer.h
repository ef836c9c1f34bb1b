/* One layer of a model on the CPU, forward: what llama_forward and training have in common.
 *
 * Inference has one set of buffers for all layers and works in place where it can; training keeps a
 * layer's own, since the way back needs them (host/llama_train.h). */
#ifndef MIDASHI_HOST_LLAMA_LAYER_H
#define MIDASHI_HOST_LLAMA_LAYER_H

#include "host/llama.h"
#include "host/lora_adapter.h"
#include "kernels/dropout.h"

/* What all layers of a pass over T tokens share. Borrowed. */
struct llama_pass {
    struct device *device; /* a CPU */
    const struct llama *llama;
    const struct lora_adapter *adapter; /* NULL: none */
    const int32_t *cu_seqlens;          /* (n_texts + 1) */
    const int32_t *positions;           /* (T) of each token in its text */
    int n_texts, n_tokens;
    struct dropout dropout; /* of adapters' inputs; llama_dropout fills in the stream */
};

/* Where a layer puts what it computes. */
struct llama_layer_values {
    float *normed;              /* (T, D): the last norm's output */
    float *raw_query, *raw_key; /* as query and key, before the norms of heads; NULL: not kept */
    float *query, *key, *value; /* (T, H*hd), (T, KV*hd) twice; the first two rotated */
    float *attended;            /* (T, H*hd) */
    float *middle;              /* (T, D): the stream between attention and MLP; NULL: not kept */
    float *gate, *up;           /* (T, F) */
    float *activated;           /* (T, F); may be gate, which is lost then */
    float *low_rank[LORA_TARGETS]; /* (T, rank): an adapter's s, see kernels/lora.h */
    float *dropped;                /* (T, the widest input): scratch; unused without dropout */
};

/* hidden (T, D): the stream, changed in place. The three parts of a layer, in order: up to the
 * stream in the middle; up to `activated`; the rest. */
enum status llama_layer_attention(const struct llama_pass *pass, int layer, float *hidden,
                                  const struct llama_layer_values *values, struct err *err);
enum status llama_layer_gate(const struct llama_pass *pass, int layer, const float *hidden,
                             const struct llama_layer_values *values, struct err *err);
enum status llama_layer_down(const struct llama_pass *pass, int layer, float *hidden,
                             const struct llama_layer_values *values, struct err *err);

/* A layer's matrix, and its bias or NULL. */
const struct linear *llama_linear(const struct llama_layer *layer, enum lora_target target);
const float *llama_bias(const struct llama_layer *layer, enum lora_target target);

/* The dropout of one adapter, and the stream alone. */
uint32_t llama_dropout_stream(int layer, enum lora_target target);
struct dropout llama_dropout(const struct llama_pass *pass, int layer, enum lora_target target);

/* How far back a query of the layer sees; 0: to the beginning. */
int llama_window(const struct llama *llama, int layer);

#endif
