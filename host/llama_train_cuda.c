/* See llama_train_cuda.h. */
#include "host/llama_train_cuda.h"

#include <assert.h>
#include <math.h>
#include "host/base/interrupt.h"
#include "host/llama_layer.h"
#include "kernels/attention.h"
#include "kernels/lora.h"
#include "kernels/rmsnorm.h"
#include "kernels/swiglu.h"

/* ---- memory --------------------------------------------------------------------------------- */

enum status llama_train_cuda_open(struct llama_train_cuda *train, const struct llama *llama,
                                  const struct cuda_adapter *adapter,
                                  const struct llama_train_shape *shape, struct err *err)
{
    int n_layers = shape->config->n_layers;
    *train = (struct llama_train_cuda){
        .llama = llama,
        .adapter = adapter,
        .first_layer = n_layers - llama_train_layers(shape->config, shape->adapter),
        .first_kept = n_layers - shape->kept_layers,
        .inputs = mem_alloc_zero((size_t)n_layers, sizeof *train->inputs),
        .layers = mem_alloc_zero((size_t)n_layers, sizeof *train->layers),
    };
    if (!train->inputs || !train->layers)
        return err_no_memory(err, "a training pass", (size_t)n_layers * sizeof *train->layers);
    return STATUS_OK;
}

void llama_train_cuda_close(struct llama_train_cuda *train)
{
    mem_free(train->inputs);
    mem_free(train->layers);
    *train = (struct llama_train_cuda){0};
}

/* (T, width) bfloat16. */
static void *take(struct cuda_arena *arena, const struct llama_train_shape *shape, size_t width)
{
    return cuda_arena_take(arena, (size_t)shape->n_tokens * width, sizeof(uint16_t));
}

static int padded_of(const struct llama_train_cuda *train, int layer, int matrix)
{
    return train->adapter->layers[layer][matrix].padded;
}

/* What the way back needs of a layer, apart from its input, and inference has no buffer for.
 * padded: of each matrix' s. */
static void plan_more(struct cuda_values *values, const struct llama_train_shape *shape,
                      const int padded[CUDA_MATRICES], struct cuda_arena *arena)
{
    const struct model_config *c = shape->config;
    size_t heads = llama_cuda_query_width(c) + llama_cuda_key_width(c);
    values->raw = c->head_norms ? take(arena, shape, heads) : NULL;
    values->middle = take(arena, shape, (size_t)c->hidden_size);
    for (int matrix = 0; matrix < CUDA_MATRICES; matrix++)
        values->s[matrix] = take(arena, shape, (size_t)padded[matrix]);
}

/* Of the layers from first_layer on: their inputs, and of those that are kept the rest. */
static void plan_kept(struct llama_train_cuda *train, const struct llama_train_shape *shape,
                      struct cuda_arena *arena)
{
    const struct model_config *c = shape->config;
    size_t query = llama_cuda_query_width(c), key = llama_cuda_key_width(c);
    for (int layer = train->first_layer; layer < c->n_layers; layer++) {
        struct cuda_values *values = &train->layers[layer];
        int padded[CUDA_MATRICES];
        for (int matrix = 0; matrix < CUDA_MATRICES; matrix++)
            padded[matrix] = padded_of(train, layer, matrix);
        train->inputs[layer] = take(arena, shape, (size_t)c->hidden_size);
        if (layer < train->first_kept) { /* the last product is not computed again, nor its s */
            values->s[CUDA_DOWN] = take(arena, shape, (size_t)padded[CUDA_DOWN]);
            continue;
        }
        values->qkv = take(arena, shape, query + 2 * key);
        values->attended = take(arena, shape, query);
        values->gate_up = take(arena, shape, 2 * (size_t)c->intermediate_size);
        plan_more(values, shape, padded, arena);
    }
}

void llama_train_cuda_plan(struct llama_train_cuda *train, const struct llama_train_shape *shape,
                           struct cuda_arena *arena, size_t *kept)
{
    const struct model_config *c = shape->config;
    const struct llama_cuda *model = train->llama ? train->llama->cuda : NULL;
    size_t query = llama_cuda_query_width(c), key = llama_cuda_key_width(c);
    size_t d = (size_t)c->hidden_size, f = (size_t)c->intermediate_size;
    size_t tokens = (size_t)shape->n_tokens;
    int padded[CUDA_MATRICES], widest = 0;
    struct cuda_values shared = {0};
    plan_kept(train, shape, arena);
    *kept = arena->used;
    for (int matrix = 0; matrix < CUDA_MATRICES; matrix++) {
        padded[matrix] = cuda_adapter_padded(train->adapter, (enum cuda_matrix)matrix);
        widest = padded[matrix] > widest ? padded[matrix] : widest;
    }
    if (model)
        shared = model->values;
    plan_more(&shared, shape, padded, arena);
    for (int layer = 0; layer < c->n_layers; layer++) {
        struct cuda_values *values = &train->layers[layer];
        void *down = layer < train->first_layer ? shared.s[CUDA_DOWN] : values->s[CUDA_DOWN];
        if (layer < train->first_layer || layer < train->first_kept)
            *values = shared;
        values->s[CUDA_DOWN] = down;
        values->normed = shared.normed;
        values->product = shared.product;
    }
    train->stream = take(arena, shape, d);
    train->dnormed = take(arena, shape, d);
    train->dproduct = take(arena, shape, f);
    train->dgate_up = take(arena, shape, 2 * f);
    train->dattended = take(arena, shape, query);
    train->dqkv = take(arena, shape, query + 2 * key);
    train->ds = take(arena, shape, (size_t)widest);
    train->statistics = cuda_arena_take(arena, 4 * tokens * (size_t)c->n_heads, sizeof(float));
}

enum status llama_train_cuda_load(const struct llama *llama, struct cuda_device *cuda,
                                  struct err *err)
{
    static const char *const images[] = {"lora", "weight_gradient", "attention_bwd"};
    for (size_t i = 0; i < sizeof images / sizeof *images; i++)
        TRY(cuda_load(cuda, images[i], err));
    return cuda_load(cuda, llama->precision == PRECISION_NF4 ? "nf4_matmul_bwd" : "matmul_bwd",
                     err);
}

/* ---- forward -------------------------------------------------------------------------------- */

static size_t stream_bytes(const struct cuda_pass *pass)
{
    return (size_t)pass->n_tokens * (size_t)pass->llama->config.hidden_size * sizeof(uint16_t);
}

enum status llama_train_cuda_forward(struct llama_train_cuda *train, struct device *device,
                                     const struct llama_batch *batch, struct cuda_pass *pass,
                                     bool backward, struct err *err)
{
    const struct llama *llama = train->llama;
    void *hidden = llama->cuda->hidden;
    assert(batch->n_tokens <= llama->batch_tokens);
    *pass = (struct cuda_pass){
        .device = device,
        .llama = llama,
        .adapter = train->adapter,
        .cu_seqlens = batch->cu_seqlens,
        .positions = batch->positions,
        .n_texts = batch->n_texts,
        .n_tokens = batch->n_tokens,
        .dropout = pass->dropout,
    };
    TRY(cuda_pass_embed(pass, hidden, batch->tokens, err));
    for (int layer = 0; layer < llama->n_layers; layer++) {
        const struct cuda_values *values = &train->layers[layer];
        TRY(interrupt_check(err));
        if (backward && layer >= train->first_layer)
            TRY(cuda_copy_within(device->cuda, train->inputs[layer], hidden, stream_bytes(pass),
                                 err));
        TRY(cuda_layer_attention(pass, layer, hidden, values, err));
        TRY(cuda_layer_gate(pass, layer, hidden, values, err));
        TRY(cuda_layer_down(pass, layer, hidden, values, err));
    }
    return STATUS_OK;
}

/* ---- backward ------------------------------------------------------------------------------- */

struct way_back {
    struct llama_train_cuda *train;
    const struct cuda_pass *pass;
    const int32_t *units;
    int n_units;
};

/* Adds to the gradients of a matrix' adapters. */
static enum status adapter_back(const struct way_back *way, const struct lora_parts *parts,
                                const void *dy, const void *x, const void *s, struct err *err)
{
    struct llama_train_cuda *train = way->train;
    const struct cuda_pass *pass = way->pass;
    float *da[LORA_PARTS] = {NULL}, *db[LORA_PARTS] = {NULL};
    for (int i = 0; i < parts->n_parts; i++) {
        const struct lora_part *part = &parts->parts[i];
        if (part->rank == 0)
            continue;
        da[i] = cuda_adapter_beside(train->adapter, train->gradients, part->a);
        db[i] = cuda_adapter_beside(train->adapter, train->gradients, part->b);
    }
    TRY(lora_ds_cuda(pass->device, train->ds, dy, parts, pass->n_tokens, err));
    return lora_gradients_cuda(pass->device, da, db, parts, dy, x, parts->columns, s, train->ds,
                               &pass->dropout, way->units, way->n_units, err);
}

/* dx (T, columns) = dy through the matrix and its adapters, whose gradients are added to. dx NULL:
 * nothing before it is trained. */
static enum status project_back(const struct way_back *way, int layer, enum cuda_matrix matrix,
                                void *dx, const void *dy, const void *x, struct err *err)
{
    struct llama_train_cuda *train = way->train;
    const struct cuda_pass *pass = way->pass;
    const struct lora_parts *parts = cuda_adapter_parts(train->adapter, layer, matrix);
    if (parts)
        TRY(adapter_back(way, parts, dy, x, train->layers[layer].s[matrix], err));
    if (!dx)
        return STATUS_OK;
    return cuda_linear_bwd_input(pass->device, dx, dy,
                                 &train->llama->cuda->layers[layer].matrices[matrix],
                                 pass->n_tokens, false, parts, train->ds, &pass->dropout, err);
}

/* dhidden += dnormed through a norm of x. */
static enum status norm_back(const struct way_back *way, void *dhidden, const void *x,
                             const float *weight, struct err *err)
{
    const struct model_config *c = &way->pass->llama->config;
    return rmsnorm_bwd_cuda(way->pass->device, PRECISION_BF16, dhidden, way->train->dnormed, x,
                            weight, way->pass->n_tokens, c->hidden_size, c->rms_norm_eps, true,
                            err);
}

static enum status mlp_back(const struct way_back *way, int layer, void *dhidden, struct err *err)
{
    struct llama_train_cuda *train = way->train;
    const struct cuda_pass *pass = way->pass;
    const struct cuda_values *values = &train->layers[layer];
    int f = pass->llama->config.intermediate_size;
    size_t stride = 2 * (size_t)f;
    const uint16_t *gate = values->gate_up;
    uint16_t *dgate = train->dgate_up;
    TRY(project_back(way, layer, CUDA_DOWN, train->dproduct, dhidden, values->product, err));
    TRY(swiglu_bwd_cuda(pass->device, dgate, dgate + f, stride, train->dproduct, gate, gate + f,
                        stride, pass->n_tokens, f, err));
    TRY(project_back(way, layer, CUDA_GATE_UP, train->dnormed, dgate, values->normed, err));
    return norm_back(way, dhidden, values->middle,
                     pass->llama->cuda->layers[layer].post_attention_norm, err);
}

static enum status attention_back(const struct way_back *way, int layer, void *dhidden,
                                  struct err *err)
{
    struct llama_train_cuda *train = way->train;
    const struct cuda_pass *pass = way->pass;
    const struct model_config *c = &pass->llama->config;
    const struct cuda_values *values = &train->layers[layer];
    const float *norm = pass->llama->cuda->layers[layer].input_norm;
    size_t query = llama_cuda_query_width(c), key = llama_cuda_key_width(c);
    const uint16_t *qkv = values->qkv;
    uint16_t *dqkv = train->dqkv;
    int t = pass->n_tokens, row = (int)(query + 2 * key);
    const struct rope_cuda rope = cuda_layer_rope(pass, layer, dqkv, values->raw);
    TRY(project_back(way, layer, CUDA_O, train->dattended, dhidden, values->attended, err));
    TRY(attention_bwd_cuda(pass->device, dqkv, row, dqkv + query, dqkv + query + key, row,
                           train->dattended, values->attended, qkv, row, qkv + query,
                           qkv + query + key, row, pass->cu_seqlens, t, pass->n_texts, c->n_heads,
                           c->n_kv_heads, c->head_dim, 1.0f / sqrtf((float)c->head_dim),
                           llama_window(pass->llama, layer), train->statistics, err));
    TRY(rope_bwd_cuda(pass->device, &rope, t, err));
    TRY(cuda_layer_norm(pass, values->normed, train->inputs[layer], norm, err));
    void *dnormed = layer > train->first_layer ? train->dnormed : NULL;
    TRY(project_back(way, layer, CUDA_QKV, dnormed, dqkv, values->normed, err));
    return dnormed ? norm_back(way, dhidden, train->inputs[layer], norm, err) : STATUS_OK;
}

/* What the layer computed on its way, where it is not kept: all of it, or the two cheap pieces that
 * no layer keeps. */
static enum status restore(const struct way_back *way, int layer, struct err *err)
{
    struct llama_train_cuda *train = way->train;
    const struct cuda_pass *pass = way->pass;
    const struct cuda_values *values = &train->layers[layer];
    if (layer < train->first_kept) {
        TRY(cuda_copy_within(pass->device->cuda, train->stream, train->inputs[layer],
                             stream_bytes(pass), err));
        TRY(cuda_layer_attention(pass, layer, train->stream, values, err));
        return cuda_layer_gate(pass, layer, train->stream, values, err);
    }
    TRY(cuda_layer_norm(pass, values->normed, values->middle,
                        pass->llama->cuda->layers[layer].post_attention_norm, err));
    return cuda_layer_swiglu(pass, values, err);
}

enum status llama_train_cuda_backward(struct llama_train_cuda *train, const struct cuda_pass *pass,
                                      void *dhidden, const int32_t *units, int n_units,
                                      struct err *err)
{
    const struct way_back way = {train, pass, units, n_units};
    for (int layer = train->llama->n_layers - 1; layer >= train->first_layer; layer--) {
        TRY(interrupt_check(err));
        TRY(restore(&way, layer, err));
        TRY(mlp_back(&way, layer, dhidden, err));
        TRY(attention_back(&way, layer, dhidden, err));
    }
    return STATUS_OK;
}
