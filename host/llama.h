/* A model of the Llama family (Llama, Mistral, Qwen2, Qwen3): its weights, and the forward pass
 * over a packed batch.
 *
 * A batch is one row of tokens: the texts one behind the other, no padding, with cu_seqlens saying
 * where each begins. Attention is causal and never crosses from one text into another, and every
 * operation sums in an order that does not depend on the batch: a text has the same hidden states,
 * bit for bit, alone or in any company. */
#ifndef MIDASHI_HOST_LLAMA_H
#define MIDASHI_HOST_LLAMA_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/device.h"
#include "host/base/memory.h"
#include "host/base/precision.h"
#include "host/base/progress.h"
#include "host/linear.h"
#include "loaders/model_config.h"
#include "loaders/weights.h"

struct llama_cuda;
struct lora_adapter;

struct llama_layer {
    const float *input_norm;          /* (D) */
    struct linear q, k, v;            /* (H*hd, D), (KV*hd, D), (KV*hd, D) */
    struct linear o;                  /* (D, H*hd) */
    const float *post_attention_norm; /* (D) */
    struct linear gate, up;           /* (F, D) */
    struct linear down;               /* (D, F) */
    /* NULL where the configuration has none. */
    const float *q_bias, *k_bias, *v_bias; /* (H*hd), (KV*hd), (KV*hd) */
    const float *o_bias;                   /* (D) */
    const float *gate_bias, *up_bias;      /* (F) */
    const float *down_bias;                /* (D) */
    const float *q_norm, *k_norm;          /* (hd) of each head, before it is rotated */
};

struct llama {
    struct model_config config;
    enum precision precision;      /* of the layers' matrices */
    struct dense_matrix embedding; /* (V, D): F32 with precision f32, else BF16 */
    int n_layers;                  /* blocks that are loaded */
    struct llama_layer *layers;    /* (n_layers) */
    const float *final_norm;       /* (D) */
    float *rope_cos, *rope_sin;    /* (max_tokens, hd/2) */
    int max_tokens;                /* of one text */
    size_t weight_bytes;           /* memory that the weights take, mapped files apart */

    /* Activations of one batch, sized at load; the names say what they hold first. */
    int batch_tokens;
    float *hidden;      /* (T, D)    the residual stream */
    float *normed;      /* (T, D)    a norm's output */
    float *query;       /* (T, H*hd) */
    float *key, *value; /* (T, KV*hd) */
    float *attended;    /* (T, H*hd) */
    float *gate, *up;   /* (T, F) */
    float *low_rank;    /* (T, rank) of the adapter's products */

    struct arena arena; /* all of the above */

    const struct lora_adapter *adapter; /* borrowed; NULL: none */

    /* On a GPU, owned: weights and activations are there (host/llama_cuda.h), and of the above only
     * the numbers are set. */
    struct llama_cuda *cuda;
};

/* Loads the weights, converting them tensor by tensor; the file's pages are released on the way.
 * On a GPU they are converted there.
 * What the files hold in the form wanted stays mapped: `weights` must stay open until llama_free.
 * max_tokens: of one text, at most config->max_positions; batch_tokens >= max_tokens: of a batch;
 * on a GPU 0 lets its free memory decide.
 * n_layers: how many blocks to load, 0 .. config->n_layers; llama_forward reaches no further.
 * adapter: of the same model, with which llama_forward computes; borrowed. NULL: none. On a GPU it
 * is copied there as it is now.
 * STATUS_BAD_DATA: heads that the kernels do not take (kernels/attention.h), a tensor that is
 * missing, damaged, of another shape, or there though the configuration has no such bias, norm or
 * layer. STATUS_USAGE: more batch_tokens than attention takes. STATUS_RESOURCE: no memory. On
 * failure everything is released. */
enum status llama_load(struct llama *llama, struct device *device, const struct weights *weights,
                       const struct model_config *config, enum precision precision, int n_layers,
                       int max_tokens, int batch_tokens, const struct lora_adapter *adapter,
                       const struct progress *progress, struct err *err);
void llama_free(struct llama *llama); /* a zeroed llama is allowed */

/* STATUS_USAGE for float32 on a GPU: no kernel computes in it there. llama_load asks this; so does
 * who plans a run without loading. */
enum status llama_check_precision(const struct device *device, enum precision precision,
                                  struct err *err);

/* llama_forward computes with another adapter of the same model from now on; NULL: with none. On
 * the CPU alone. STATUS_RESOURCE: no memory. */
enum status llama_set_adapter(struct llama *llama, const struct lora_adapter *adapter,
                              struct err *err);

/* A tensor of the model, and what --precision does with it. */
struct llama_parameter {
    char name[128]; /* Hugging Face's */
    enum {
        PARAMETER_VECTOR, /* rows 1: F32 always */
        PARAMETER_DENSE,  /* F32 or BF16, never quantised */
        PARAMETER_LINEAR, /* quantised with nf4 */
    } kind;
    int rows, columns;
};
/* Walks the tensors that llama_load reads, from *cursor 0 on; false at the end. */
bool llama_next_parameter(const struct model_config *config, int *cursor,
                          struct llama_parameter *out);

/* STATUS_BAD_DATA where there is a tensor that the configuration has no use for: a bias, a norm of
 * heads, a layer too many. llama_load asks this of what it loads. */
enum status llama_check_absent(const struct model_config *config, const struct weights *weights,
                               struct err *err);

/* More texts than this a batch has not: what is kept of each text is bounded too. */
#define LLAMA_TEXTS_LARGEST 4096

/* The arrays are the device's: on a GPU addresses there, to stay as they are until what was queued
 * is done. */
struct llama_batch {
    const int32_t *tokens;     /* (T) each in [0, vocab_size) */
    const int32_t *positions;  /* (T) of each token in its text, from 0; below max_tokens */
    const int32_t *cu_seqlens; /* (n_texts + 1) from 0 to T, rising */
    int n_texts, n_tokens;     /* 1 .. LLAMA_TEXTS_LARGEST, T <= batch_tokens */
};

/* Called with the residual stream (T, D) of the device: layer 0 is the embeddings, layer l the
 * output of block l, before any final norm. It may read only. */
typedef enum status llama_layer_visitor(void *context, int layer, const void *hidden, int n_tokens,
                                        struct err *err);

/* Runs blocks 1 .. n_layers, which must be loaded, and calls visit for layers 0 .. n_layers. On a
 * GPU all of it is queued. */
enum status llama_forward(struct llama *llama, struct device *device,
                          const struct llama_batch *batch, int n_layers, llama_layer_visitor *visit,
                          void *context, struct err *err);

/* y (n, D) = final norm of x (n, D), activations; y may be x. Hugging Face's last hidden state is
 * this of the last layer. */
enum status llama_final_norm(const struct llama *llama, struct device *device, void *y,
                             const void *x, int n, struct err *err);
/* Its weight (D) on the device, for operations that have it fused. */
const float *llama_final_norm_weight(const struct llama *llama);

#endif
