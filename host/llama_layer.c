/* See llama_layer.h. */
#include "host/llama_layer.h"

#include <math.h>
#include <stddef.h>
#include <string.h>
#include "kernels/attention.h"
#include "kernels/bias.h"
#include "kernels/lora.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/swiglu.h"

static const struct {
    size_t linear, bias; /* in struct llama_layer */
} projections[LORA_TARGETS] = {
    [LORA_Q] = {offsetof(struct llama_layer, q), offsetof(struct llama_layer, q_bias)},
    [LORA_K] = {offsetof(struct llama_layer, k), offsetof(struct llama_layer, k_bias)},
    [LORA_V] = {offsetof(struct llama_layer, v), offsetof(struct llama_layer, v_bias)},
    [LORA_O] = {offsetof(struct llama_layer, o), offsetof(struct llama_layer, o_bias)},
    [LORA_GATE] = {offsetof(struct llama_layer, gate), offsetof(struct llama_layer, gate_bias)},
    [LORA_UP] = {offsetof(struct llama_layer, up), offsetof(struct llama_layer, up_bias)},
    [LORA_DOWN] = {offsetof(struct llama_layer, down), offsetof(struct llama_layer, down_bias)},
};

const struct linear *llama_linear(const struct llama_layer *layer, enum lora_target target)
{
    return (const struct linear *)((const char *)layer + projections[target].linear);
}

const float *llama_bias(const struct llama_layer *layer, enum lora_target target)
{
    return *(const float *const *)((const char *)layer + projections[target].bias);
}

uint32_t llama_dropout_stream(int layer, enum lora_target target)
{
    return (uint32_t)(layer * LORA_TARGETS + (int)target);
}

struct dropout llama_dropout(const struct llama_pass *pass, int layer, enum lora_target target)
{
    struct dropout dropout = pass->dropout;
    dropout.stream = llama_dropout_stream(layer, target);
    return dropout;
}

int llama_window(const struct llama *llama, int layer)
{
    const struct model_config *c = &llama->config;
    return layer >= c->first_window_layer ? c->sliding_window : 0;
}

/* y (T, rows) = x · Wᵀ + bias + the adapter's term, or += with add. */
static enum status project(const struct llama_pass *pass, int layer, enum lora_target target,
                           float *y, const float *x, bool add,
                           const struct llama_layer_values *values, struct err *err)
{
    const struct llama_layer *l = &pass->llama->layers[layer];
    const float *bias = llama_bias(l, target);
    TRY(linear_fwd(pass->device, y, x, llama_linear(l, target), pass->n_tokens, add, err));
    if (bias) {
        int rows, columns;
        lora_target_shape(&pass->llama->config, target, &rows, &columns);
        TRY(bias_fwd(pass->device, y, bias, pass->n_tokens, rows, err));
    }
    const struct lora *lora = pass->adapter ? &pass->adapter->layers[layer][target] : NULL;
    if (!lora || lora->rank == 0)
        return STATUS_OK;
    const struct dropout dropout = llama_dropout(pass, layer, target);
    return lora_fwd(pass->device, y, values->low_rank[target], values->dropped, x, lora, &dropout,
                    pass->n_tokens, err);
}

/* Queries or keys (T, n_heads, head_dim): each head's norm, if there is one, then its rotation.
 * raw: gets them as they are before; NULL: nobody wants that. */
static enum status prepare_heads(const struct llama_pass *pass, float *x, float *raw,
                                 const float *norm, int n_heads, struct err *err)
{
    const struct llama *llama = pass->llama;
    const struct model_config *c = &llama->config;
    int t = pass->n_tokens;
    if (norm && raw)
        memcpy(raw, x, (size_t)t * (size_t)(n_heads * c->head_dim) * sizeof *x);
    if (norm)
        TRY(rmsnorm_fwd(pass->device, x, x, norm, t * n_heads, c->head_dim, c->rms_norm_eps, err));
    return rope_fwd(pass->device, x, pass->positions, llama->rope_cos, llama->rope_sin, t, n_heads,
                    c->head_dim, err);
}

enum status llama_layer_attention(const struct llama_pass *pass, int layer, float *hidden,
                                  const struct llama_layer_values *values, struct err *err)
{
    const struct model_config *c = &pass->llama->config;
    const struct llama_layer *l = &pass->llama->layers[layer];
    int t = pass->n_tokens;
    TRY(rmsnorm_fwd(pass->device, values->normed, hidden, l->input_norm, t, c->hidden_size,
                    c->rms_norm_eps, err));
    TRY(project(pass, layer, LORA_Q, values->query, values->normed, false, values, err));
    TRY(project(pass, layer, LORA_K, values->key, values->normed, false, values, err));
    TRY(project(pass, layer, LORA_V, values->value, values->normed, false, values, err));
    TRY(prepare_heads(pass, values->query, values->raw_query, l->q_norm, c->n_heads, err));
    TRY(prepare_heads(pass, values->key, values->raw_key, l->k_norm, c->n_kv_heads, err));
    TRY(attention_fwd(pass->device, values->attended, values->query, values->key, values->value,
                      pass->cu_seqlens, t, pass->n_texts, c->n_heads, c->n_kv_heads, c->head_dim,
                      1.0f / sqrtf((float)c->head_dim), llama_window(pass->llama, layer), err));
    TRY(project(pass, layer, LORA_O, hidden, values->attended, true, values, err));
    if (values->middle)
        memcpy(values->middle, hidden, (size_t)t * (size_t)c->hidden_size * sizeof *hidden);
    return STATUS_OK;
}

enum status llama_layer_gate(const struct llama_pass *pass, int layer, const float *hidden,
                             const struct llama_layer_values *values, struct err *err)
{
    const struct model_config *c = &pass->llama->config;
    const struct llama_layer *l = &pass->llama->layers[layer];
    int t = pass->n_tokens, f = c->intermediate_size;
    TRY(rmsnorm_fwd(pass->device, values->normed, hidden, l->post_attention_norm, t, c->hidden_size,
                    c->rms_norm_eps, err));
    TRY(project(pass, layer, LORA_GATE, values->gate, values->normed, false, values, err));
    TRY(project(pass, layer, LORA_UP, values->up, values->normed, false, values, err));
    return swiglu_fwd(pass->device, values->activated, values->gate, values->up, t, f, err);
}

enum status llama_layer_down(const struct llama_pass *pass, int layer, float *hidden,
                             const struct llama_layer_values *values, struct err *err)
{
    return project(pass, layer, LORA_DOWN, hidden, values->activated, true, values, err);
}
