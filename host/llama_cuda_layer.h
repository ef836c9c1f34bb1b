/* One layer of a model on a GPU, forward: what llama_cuda_forward and training have in common. As
 * host/llama_layer.h, but that q, k and v are one product, and gate and up. All is queued. */
#ifndef MIDASHI_HOST_LLAMA_CUDA_LAYER_H
#define MIDASHI_HOST_LLAMA_CUDA_LAYER_H

#include "host/cuda_adapter.h"
#include "host/cuda_linear.h"
#include "host/llama.h"
#include "kernels/dropout.h"
#include "kernels/rope.h"

struct cuda_layer {
    float *input_norm, *post_attention_norm;    /* (D) */
    float *q_norm, *k_norm;                     /* (hd), NULL: none */
    struct cuda_linear matrices[CUDA_MATRICES]; /* (H*hd + 2*KV*hd, D), (D, H*hd), (2*F, D), (D, F)
                                                 */
};

/* Where a layer puts what it computes, bfloat16. */
struct cuda_values {
    void *normed;           /* (T, D): the last norm's output */
    void *raw;              /* (T, (H + KV)*hd) queries and keys before the norms of heads; NULL:
                               not kept */
    void *qkv;              /* (T, (H + 2*KV)*hd), queries and keys rotated */
    void *attended;         /* (T, H*hd) */
    void *middle;           /* (T, D): the stream between attention and MLP; NULL: not kept */
    void *gate_up;          /* (T, 2*F) */
    void *product;          /* (T, F) */
    void *s[CUDA_MATRICES]; /* (T, the parts' padded ranks): an adapter's, see kernels/lora.h */
};

struct llama_cuda {
    struct cuda_device *cuda;
    struct cuda_arena arena;
    size_t weight_bytes; /* of the arena, at its start */
    void *embedding;     /* (V, D) bfloat16 */
    float *final_norm;   /* (D) */
    float *rope_cos, *rope_sin;
    struct cuda_layer *layers; /* (n_layers), host memory, owned */
    struct cuda_adapter adapter;

    /* Activations; T is batch_tokens. */
    void *hidden; /* (T, D) bfloat16, the residual stream */
    struct cuda_values values;
};

/* What all layers of a pass over T tokens share. Borrowed; arrays are the GPU's. */
struct cuda_pass {
    struct device *device;
    const struct llama *llama;
    const struct cuda_adapter *adapter; /* NULL: none */
    const int32_t *cu_seqlens;          /* (n_texts + 1) */
    const int32_t *positions;           /* (T) */
    int n_texts, n_tokens;
    struct dropout dropout; /* of adapters' inputs; the parts have its stream */
};

/* Widths of q, and of k or v. */
size_t llama_cuda_query_width(const struct model_config *config);
size_t llama_cuda_key_width(const struct model_config *config);

enum status cuda_pass_embed(const struct cuda_pass *pass, void *hidden, const int32_t *tokens,
                            struct err *err);

/* hidden (T, D): the stream, changed in place. The three parts of a layer, in order: up to the
 * stream in the middle; up to `product`; the rest. */
enum status cuda_layer_attention(const struct cuda_pass *pass, int layer, void *hidden,
                                 const struct cuda_values *values, struct err *err);
enum status cuda_layer_gate(const struct cuda_pass *pass, int layer, const void *hidden,
                            const struct cuda_values *values, struct err *err);
enum status cuda_layer_down(const struct cuda_pass *pass, int layer, void *hidden,
                            const struct cuda_values *values, struct err *err);

/* y (n, D) = the norm of x; and swiglu of a joined product: what training computes again. */
enum status cuda_layer_norm(const struct cuda_pass *pass, void *y, const void *x,
                            const float *weight, struct err *err);
enum status cuda_layer_swiglu(const struct cuda_pass *pass, const struct cuda_values *values,
                              struct err *err);
/* Rotation and norms of the queries and keys in x (T, (H + 2*KV)*hd). */
struct rope_cuda cuda_layer_rope(const struct cuda_pass *pass, int layer, void *x, void *raw);

#endif
