/* See estimate.h. tests/test_estimate.c holds it against what llama_load takes. */
#include "host/estimate.h"

#include <stdbool.h>
#include <string.h>
#include "kernels/nf4.h"

/* Embeddings and norms stay as they are with nf4; of its blocks each has a byte and of each 256 of
 * them four more. */
static void add_weight(struct estimate *estimate, const struct weight *weight, bool embedding)
{
    int64_t n = weight->rows * weight->columns;
    bool vector = weight->rows == 1;
    size_t size = (size_t)n, blocks = (size_t)nf4_block_count(n);
    estimate->weights[PRECISION_F32] += 4 * size;
    estimate->weights[PRECISION_BF16] += (vector ? 4 : 2) * size;
    estimate->weights[PRECISION_NF4] += vector ? 4 * size
                                        : embedding
                                            ? 2 * size
                                            : (size + 1) / 2 + blocks + 4 * ((blocks + 255) / 256);
}

/* What both devices keep of a batch: tables of rotation, and of a token's values two each of the
 * widths of the residual stream, the queries, the keys and the MLP. */
static size_t tables(const struct model_config *config, int max_tokens)
{
    return (size_t)max_tokens * (size_t)config->head_dim * sizeof(float);
}

static size_t values_of_token(const struct model_config *config)
{
    size_t head = (size_t)config->head_dim;
    size_t query = (size_t)config->n_heads * head, key = (size_t)config->n_kv_heads * head;
    return 2 * ((size_t)config->hidden_size + query + key + (size_t)config->intermediate_size);
}

/* float32. */
static size_t cpu_activations(const struct model_config *config, int batch_tokens, int max_tokens)
{
    size_t a_token = values_of_token(config) * sizeof(float);
    return (size_t)batch_tokens * a_token + tables(config, max_tokens);
}

/* bfloat16, gate times up apart from both. */
static size_t gpu_activations(const struct model_config *config, int batch_tokens, int max_tokens)
{
    size_t values = values_of_token(config) + (size_t)config->intermediate_size;
    return (size_t)batch_tokens * values * sizeof(uint16_t) + tables(config, max_tokens);
}

size_t estimate_activations(const struct model_config *config, int batch_tokens, int max_tokens,
                            bool gpu)
{
    return gpu ? gpu_activations(config, batch_tokens, max_tokens)
               : cpu_activations(config, batch_tokens, max_tokens);
}

void estimate_memory(struct estimate *estimate, const struct weights *weights,
                     const struct model_config *config, int batch_tokens, int max_tokens)
{
    *estimate = (struct estimate){
        .cpu_activations = cpu_activations(config, batch_tokens, max_tokens),
        .gpu_activations = gpu_activations(config, batch_tokens, max_tokens),
    };
    const struct weight *embeddings = weights_find(weights, "model.embed_tokens.weight");
    for (int i = 0; i < weights_count(weights); i++) {
        const struct weight *weight = weights_at(weights, i);
        estimate->tensors++;
        estimate->parameters += weight->rows * weight->columns;
        if (weight == embeddings || strcmp(weight->name, "lm_head.weight") != 0)
            add_weight(estimate, weight, weight == embeddings);
    }
}

size_t estimate_cpu(const struct estimate *estimate, enum precision precision)
{
    return estimate->weights[precision] + estimate->cpu_activations;
}

size_t estimate_gpu(const struct estimate *estimate, enum precision precision)
{
    return estimate->weights[precision] + estimate->gpu_activations + ESTIMATE_CUDA_CONTEXT;
}
