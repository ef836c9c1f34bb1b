/* Training passes on a GPU: as host/llama_train.h, with q, k and v joined, and gate and up. All is
 * queued on the device's stream; nothing is allocated and nothing waits. */
#ifndef MIDASHI_HOST_LLAMA_TRAIN_CUDA_H
#define MIDASHI_HOST_LLAMA_TRAIN_CUDA_H

#include "host/llama_cuda_layer.h"
#include "host/llama_train.h"

struct llama_train_cuda {
    const struct llama *llama;
    const struct cuda_adapter *adapter;
    float *gradients; /* borrowed: in the layout of the adapter's parameters */
    int first_layer;  /* the lowest with an adapter; nothing below it is kept */
    int first_kept;

    void **inputs;              /* (n_layers) host, owned; each (T, D); from first_layer on */
    struct cuda_values *layers; /* (n_layers) host, owned; those that are computed again share */
    void *stream;               /* (T, D): while a layer is computed again */
    /* Gradients, bfloat16: of a norm's output, of product, gate and up, attended, q, k and v. */
    void *dnormed;     /* (T, D) */
    void *dproduct;    /* (T, F) */
    void *dgate_up;    /* (T, 2*F) */
    void *dattended;   /* (T, H*hd) */
    void *dqkv;        /* (T, (H + 2*KV)*hd) */
    void *ds;          /* (T, the widest s) */
    float *statistics; /* (4, H, T) attention's */
};

/* The host's part; *llama is loaded, or has its configuration alone where memory is measured.
 * llama_train_cuda_close also after a failure. */
enum status llama_train_cuda_open(struct llama_train_cuda *train, const struct llama *llama,
                                  const struct cuda_adapter *adapter,
                                  const struct llama_train_shape *shape, struct err *err);
void llama_train_cuda_close(struct llama_train_cuda *train); /* a zeroed one is allowed */
/* Takes what it needs from the arena, which may be measuring: what is kept of the layers first, up
 * to *kept bytes of the arena. */
void llama_train_cuda_plan(struct llama_train_cuda *train, const struct llama_train_shape *shape,
                           struct cuda_arena *arena, size_t *kept);
/* Loads the kernels. */
enum status llama_train_cuda_load(const struct llama *llama, struct cuda_device *cuda,
                                  struct err *err);

/* As llama_train_forward: the stream is in llama->cuda->hidden. pass gets everything but the
 * dropout. backward: false keeps nothing. */
enum status llama_train_cuda_forward(struct llama_train_cuda *train, struct device *device,
                                     const struct llama_batch *batch, struct cuda_pass *pass,
                                     bool backward, struct err *err);
/* As llama_train_backward; units are the GPU's, n_units the host's. */
enum status llama_train_cuda_backward(struct llama_train_cuda *train, const struct cuda_pass *pass,
                                      void *dhidden, const int32_t *units, int n_units,
                                      struct err *err);

#endif
