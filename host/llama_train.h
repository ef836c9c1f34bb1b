/* Training passes on the CPU: a packed batch forward, keeping what the way back needs, and back to
 * the gradients of an adapter. The model itself is frozen.
 *
 * Of each layer its input is kept. The last `kept_layers` keep all else too; the others compute it
 * again on the way back, which costs their forward pass without its last product. What is kept
 * changes no bit of any result.
 *
 * Activations live in one block, carved by the code that measures it, so that a plan
 * (host/train_plan.h) knows what it will take before anything is loaded. */
#ifndef MIDASHI_HOST_LLAMA_TRAIN_H
#define MIDASHI_HOST_LLAMA_TRAIN_H

#include "host/llama_layer.h"

/* What decides how large a training pass is. Borrowed. */
struct llama_train_shape {
    const struct model_config *config;
    const struct lora_adapter *adapter;
    int n_tokens;    /* of a pass at most */
    int kept_layers; /* 0 .. llama_train_layers */
    bool dropout; /* the CPU drops into a buffer, a GPU where it reads */
};

/* Layers that a way back passes: from the lowest with an adapter to the last. */
int llama_train_layers(const struct model_config *config, const struct lora_adapter *adapter);

/* Bytes of what is kept of the layers, and of the buffers that they share beside the model's own
 * (estimate_activations, host/estimate.h). */
struct llama_train_bytes {
    size_t kept, shared;
};
struct llama_train_bytes llama_train_measure(const struct llama_train_shape *shape);

struct llama_train {
    struct llama *llama;
    struct lora_adapter *adapter;
    int first_layer; /* the lowest with an adapter; nothing below it is kept */
    int first_kept;
    float *gradients; /* borrowed: in the layout of adapter->parameters */

    float **inputs;                    /* (n_layers) each (T, D); from first_layer on */
    struct llama_layer_values *layers; /* (n_layers); those that are computed again share */
    float *stream;                     /* (T, D): while a layer is computed again */
    /* Gradients: of the stream in the middle of a block's input, of its MLP, of its attention. */
    float *dnormed;            /* (T, D) */
    float *dactivated, *dup;   /* (T, F) */
    float *dattended, *dquery; /* (T, H*hd) */
    float *dkey, *dvalue;      /* (T, KV*hd) */
    float *dlow_rank;          /* (T, the largest rank) */
    float *dropped;            /* (T, the widest input) */
    struct arena arena;
};

/* llama, adapter and gradients (adapter->n_parameters) must outlive it; all of the model's layers
 * are loaded, and its batch_tokens are at least n_tokens of the shape. STATUS_RESOURCE: no memory.
 */
enum status llama_train_open(struct llama_train *train, struct llama *llama,
                             struct lora_adapter *adapter, float *gradients,
                             const struct llama_train_shape *shape, struct err *err);
void llama_train_close(struct llama_train *train); /* a zeroed one is allowed */

/* Runs all layers; llama->hidden (T, D) is the stream behind the last, before the final norm.
 * batch: as for llama_forward. pass gets everything but the dropout, which the caller has set; with
 * a threshold of 0 there is none. */
enum status llama_train_forward(struct llama_train *train, struct device *device,
                                const struct llama_batch *batch, struct llama_pass *pass,
                                struct err *err);

/* dhidden (T, D): of the loss by llama->hidden; used up. Adds to the gradients of all adapters.
 * units (n_units + 1): rows from 0 to T; each is summed by itself (kernels/weight_gradient.h).
 * Behind llama_train_forward with the same pass. */
enum status llama_train_backward(struct llama_train *train, const struct llama_pass *pass,
                                 float *dhidden, const int32_t *units, int n_units,
                                 struct err *err);

#endif
