/* How much memory a model needs, estimated from its files before it is loaded (docs/formats.md has
 * the formula). What does not depend on the model is left out: texts, their vectors, the program.
 */
#ifndef MIDASHI_HOST_ESTIMATE_H
#define MIDASHI_HOST_ESTIMATE_H

#include <stddef.h>
#include <stdint.h>
#include "host/base/precision.h"
#include "loaders/weights.h"

/* Activations on a GPU have two bytes, and the driver keeps a context for itself: 300 to 500 MB on
 * the cards that people have. */
#define ESTIMATE_CUDA_CONTEXT ((size_t)500000000)

struct estimate {
    size_t weights[3];      /* bytes in memory, by enum precision; the same on every device */
    size_t cpu_activations; /* of one batch, float32, with the tables of rotation */
    size_t gpu_activations; /* the same in bfloat16 */
    int64_t parameters;     /* in the files, an output head too */
    int64_t tensors;
};

/* weights: open, all of them counted but an output head apart from the embeddings, which is not
 * loaded. batch_tokens, max_tokens: as llama_load. */
void estimate_memory(struct estimate *estimate, const struct weights *weights,
                     const struct model_config *config, int batch_tokens, int max_tokens);

/* Weights, activations and, on a GPU, the context. */
size_t estimate_cpu(const struct estimate *estimate, enum precision precision);
size_t estimate_gpu(const struct estimate *estimate, enum precision precision);

/* Bytes of the activations of a batch alone, on the CPU or a GPU. */
size_t estimate_activations(const struct model_config *config, int batch_tokens, int max_tokens,
                            bool gpu);

#endif
