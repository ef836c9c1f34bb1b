/* See llama_cuda_layer.h. */
#include "host/llama_cuda_layer.h"

#include <math.h>
#include "host/llama_layer.h"
#include "kernels/attention.h"
#include "kernels/embedding.h"
#include "kernels/rmsnorm.h"
#include "kernels/swiglu.h"

size_t llama_cuda_query_width(const struct model_config *config)
{
    return (size_t)config->n_heads * (size_t)config->head_dim;
}

size_t llama_cuda_key_width(const struct model_config *config)
{
    return (size_t)config->n_kv_heads * (size_t)config->head_dim;
}

enum status cuda_pass_embed(const struct cuda_pass *pass, void *hidden, const int32_t *tokens,
                            struct err *err)
{
    const struct model_config *c = &pass->llama->config;
    const struct dense_matrix table = {PRECISION_BF16, pass->llama->cuda->embedding, c->vocab_size,
                                       c->hidden_size};
    return embedding_fwd_cuda(pass->device, hidden, tokens, &table, pass->n_tokens, err);
}

enum status cuda_layer_norm(const struct cuda_pass *pass, void *y, const void *x,
                            const float *weight, struct err *err)
{
    const struct model_config *c = &pass->llama->config;
    return rmsnorm_fwd(pass->device, y, x, weight, pass->n_tokens, c->hidden_size, c->rms_norm_eps,
                       err);
}

enum status cuda_layer_swiglu(const struct cuda_pass *pass, const struct cuda_values *values,
                              struct err *err)
{
    int f = pass->llama->config.intermediate_size;
    const uint16_t *gate = values->gate_up;
    return swiglu_fwd_cuda(pass->device, values->product, gate, gate + f, 2 * (size_t)f,
                           pass->n_tokens, f, err);
}

struct rope_cuda cuda_layer_rope(const struct cuda_pass *pass, int layer, void *x, void *raw)
{
    const struct llama_cuda *model = pass->llama->cuda;
    const struct model_config *c = &pass->llama->config;
    size_t query = llama_cuda_query_width(c), key = llama_cuda_key_width(c);
    return (struct rope_cuda){
        .x = x,
        .stride = query + 2 * key,
        .positions = pass->positions,
        .cos_table = model->rope_cos,
        .sin_table = model->rope_sin,
        .n_heads = c->n_heads,
        .n_kv_heads = c->n_kv_heads,
        .head_dim = c->head_dim,
        .q_norm = model->layers[layer].q_norm,
        .k_norm = model->layers[layer].k_norm,
        .eps = c->rms_norm_eps,
        .raw = raw,
        .raw_stride = query + key,
    };
}

/* y (T, all rows) = x · Wᵀ + bias + the adapters' terms, or += with add. */
static enum status project(const struct cuda_pass *pass, int layer, enum cuda_matrix matrix,
                           void *y, const void *x, bool add, const struct cuda_values *values,
                           struct err *err)
{
    return cuda_linear_fwd(pass->device, y, x, &pass->llama->cuda->layers[layer].matrices[matrix],
                           pass->n_tokens, add, cuda_adapter_parts(pass->adapter, layer, matrix),
                           values->s[matrix], &pass->dropout, err);
}

enum status cuda_layer_attention(const struct cuda_pass *pass, int layer, void *hidden,
                                 const struct cuda_values *values, struct err *err)
{
    const struct llama *llama = pass->llama;
    const struct model_config *c = &llama->config;
    size_t query = llama_cuda_query_width(c), key = llama_cuda_key_width(c);
    uint16_t *qkv = values->qkv;
    int t = pass->n_tokens, row = (int)(query + 2 * key);
    const struct rope_cuda rope = cuda_layer_rope(pass, layer, qkv, values->raw);
    TRY(cuda_layer_norm(pass, values->normed, hidden, llama->cuda->layers[layer].input_norm, err));
    TRY(project(pass, layer, CUDA_QKV, qkv, values->normed, false, values, err));
    TRY(rope_fwd_cuda(pass->device, &rope, t, err));
    TRY(attention_fwd_cuda(pass->device, values->attended, qkv, row, qkv + query, qkv + query + key,
                           row, pass->cu_seqlens, t, pass->n_texts, c->n_heads, c->n_kv_heads,
                           c->head_dim, 1.0f / sqrtf((float)c->head_dim),
                           llama_window(llama, layer), err));
    TRY(project(pass, layer, CUDA_O, hidden, values->attended, true, values, err));
    if (!values->middle)
        return STATUS_OK;
    return cuda_copy_within(pass->device->cuda, values->middle, hidden,
                            (size_t)t * (size_t)c->hidden_size * sizeof(uint16_t), err);
}

enum status cuda_layer_gate(const struct cuda_pass *pass, int layer, const void *hidden,
                            const struct cuda_values *values, struct err *err)
{
    TRY(cuda_layer_norm(pass, values->normed, hidden,
                        pass->llama->cuda->layers[layer].post_attention_norm, err));
    TRY(project(pass, layer, CUDA_GATE_UP, values->gate_up, values->normed, false, values, err));
    return cuda_layer_swiglu(pass, values, err);
}

enum status cuda_layer_down(const struct cuda_pass *pass, int layer, void *hidden,
                            const struct cuda_values *values, struct err *err)
{
    return project(pass, layer, CUDA_DOWN, hidden, values->product, true, values, err);
}
