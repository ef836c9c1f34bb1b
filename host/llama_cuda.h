/* A model of the Llama family on a GPU: its weights and the activations of a batch in one
 * allocation, and the forward pass as a row of launches.
 *
 * What is one product there is one matrix: q, k and v of a layer, gate and up. Nothing is allocated
 * and nothing waits within a batch. */
#ifndef MIDASHI_HOST_LLAMA_CUDA_H
#define MIDASHI_HOST_LLAMA_CUDA_H

#include "host/llama.h"

/* As llama_load, of which it is the GPU's part: config, precision, n_layers, max_tokens,
 * batch_tokens and adapter of *llama are set; batch_tokens 0 is replaced. STATUS_USAGE for
 * precision f32, which GPUs do not have here. STATUS_RESOURCE: the model does not fit; the text
 * says by how much. On failure llama_cuda_free releases what there is. */
enum status llama_cuda_load(struct llama *llama, struct device *device,
                            const struct weights *weights, const struct progress *progress,
                            struct err *err);
/* Bytes on the GPU that the same will take: the weights, and all. weights NULL: a checkpoint that
 * holds no NF4 whose scales are float32. */
struct llama_cuda_bytes {
    size_t weights, all;
};
enum status llama_cuda_measure(const struct llama *llama, const struct weights *weights,
                               struct llama_cuda_bytes *bytes, struct err *err);
void llama_cuda_free(struct llama_cuda *cuda); /* NULL is allowed */

/* As llama_forward, queued on the device's stream; the visitor may queue more. */
enum status llama_cuda_forward(struct llama *llama, struct device *device,
                               const struct llama_batch *batch, int n_layers,
                               llama_layer_visitor *visit, void *context, struct err *err);

const float *llama_cuda_final_norm_weight(const struct llama_cuda *cuda);

#endif
