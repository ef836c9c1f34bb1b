/* See llama_cuda.h. */
#include "host/llama_cuda.h"

#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/cuda_memory.h"
#include "host/base/interrupt.h"
#include "host/cuda_upload.h"
#include "host/llama_cuda_layer.h"
#include "host/nf4_checkpoint.h"
#include "kernels/attention.h"
#include "kernels/rope.h"

/* ---- where parameters go -------------------------------------------------------------------- */

/* The parameters of a block, "model.layers.N." before the name: a vector (float *), or a part of a
 * joined matrix (struct cuda_linear). */
static const struct place {
    const char *name;
    enum { VECTOR, MATRIX, BIAS } kind;
    size_t offset; /* in struct cuda_layer */
    int part;
} places[] = {
    {"input_layernorm.weight", VECTOR, offsetof(struct cuda_layer, input_norm), 0},
    {"post_attention_layernorm.weight", VECTOR, offsetof(struct cuda_layer, post_attention_norm),
     0},
    {"self_attn.q_norm.weight", VECTOR, offsetof(struct cuda_layer, q_norm), 0},
    {"self_attn.k_norm.weight", VECTOR, offsetof(struct cuda_layer, k_norm), 0},
    {"self_attn.q_proj.weight", MATRIX, offsetof(struct cuda_layer, matrices[CUDA_QKV]), 0},
    {"self_attn.k_proj.weight", MATRIX, offsetof(struct cuda_layer, matrices[CUDA_QKV]), 1},
    {"self_attn.v_proj.weight", MATRIX, offsetof(struct cuda_layer, matrices[CUDA_QKV]), 2},
    {"self_attn.o_proj.weight", MATRIX, offsetof(struct cuda_layer, matrices[CUDA_O]), 0},
    {"mlp.gate_proj.weight", MATRIX, offsetof(struct cuda_layer, matrices[CUDA_GATE_UP]), 0},
    {"mlp.up_proj.weight", MATRIX, offsetof(struct cuda_layer, matrices[CUDA_GATE_UP]), 1},
    {"mlp.down_proj.weight", MATRIX, offsetof(struct cuda_layer, matrices[CUDA_DOWN]), 0},
    {"self_attn.q_proj.bias", BIAS, offsetof(struct cuda_layer, matrices[CUDA_QKV]), 0},
    {"self_attn.k_proj.bias", BIAS, offsetof(struct cuda_layer, matrices[CUDA_QKV]), 1},
    {"self_attn.v_proj.bias", BIAS, offsetof(struct cuda_layer, matrices[CUDA_QKV]), 2},
    {"self_attn.o_proj.bias", BIAS, offsetof(struct cuda_layer, matrices[CUDA_O]), 0},
    {"mlp.gate_proj.bias", BIAS, offsetof(struct cuda_layer, matrices[CUDA_GATE_UP]), 0},
    {"mlp.up_proj.bias", BIAS, offsetof(struct cuda_layer, matrices[CUDA_GATE_UP]), 1},
    {"mlp.down_proj.bias", BIAS, offsetof(struct cuda_layer, matrices[CUDA_DOWN]), 0},
};

/* NULL: no parameter of a block. */
static const struct place *find_place(const char *name, int *layer)
{
    static const char prefix[] = "model.layers.";
    char *end;
    if (strncmp(name, prefix, sizeof prefix - 1) != 0)
        return NULL;
    *layer = (int)strtol(name + sizeof prefix - 1, &end, 10);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (strcmp(end + 1, places[i].name) == 0)
            return &places[i];
    return NULL;
}

/* ---- memory --------------------------------------------------------------------------------- */

static void shape_linear(struct cuda_linear *linear, enum precision precision, size_t columns,
                         const size_t *rows, int n_parts)
{
    linear->precision = precision;
    linear->columns = (int)columns;
    linear->n_parts = n_parts;
    for (int i = 0; i < n_parts; i++)
        linear->rows[i] = (int)rows[i];
}

static void shape_layer(struct cuda_layer *layer, const struct llama *llama)
{
    const struct model_config *c = &llama->config;
    size_t d = (size_t)c->hidden_size, f = (size_t)c->intermediate_size;
    size_t q = llama_cuda_query_width(c), kv = llama_cuda_key_width(c);
    enum precision precision = llama->precision;
    shape_linear(&layer->matrices[CUDA_QKV], precision, d, (const size_t[]){q, kv, kv}, 3);
    shape_linear(&layer->matrices[CUDA_O], precision, q, (const size_t[]){d}, 1);
    shape_linear(&layer->matrices[CUDA_GATE_UP], precision, d, (const size_t[]){f, f}, 2);
    shape_linear(&layer->matrices[CUDA_DOWN], precision, f, (const size_t[]){d}, 1);
}

static void plan_layer(struct cuda_layer *layer, const struct model_config *c,
                       struct cuda_arena *arena)
{
    size_t d = (size_t)c->hidden_size, head = (size_t)c->head_dim;
    layer->input_norm = cuda_arena_take(arena, d, sizeof(float));
    layer->post_attention_norm = cuda_arena_take(arena, d, sizeof(float));
    if (c->head_norms) {
        layer->q_norm = cuda_arena_take(arena, head, sizeof(float));
        layer->k_norm = cuda_arena_take(arena, head, sizeof(float));
    }
    cuda_linear_plan(&layer->matrices[CUDA_QKV], c->attention_bias, arena);
    cuda_linear_plan(&layer->matrices[CUDA_O], c->attention_output_bias, arena);
    cuda_linear_plan(&layer->matrices[CUDA_GATE_UP], c->mlp_bias, arena);
    cuda_linear_plan(&layer->matrices[CUDA_DOWN], c->mlp_bias, arena);
}

static void plan_weights(struct llama_cuda *model, const struct llama *llama)
{
    const struct model_config *c = &llama->config;
    struct cuda_arena *arena = &model->arena;
    size_t d = (size_t)c->hidden_size;
    size_t rope = (size_t)llama->max_tokens * (size_t)c->head_dim / 2;
    model->embedding = cuda_arena_take(arena, (size_t)c->vocab_size * d, 2);
    model->final_norm = cuda_arena_take(arena, d, sizeof(float));
    model->rope_cos = cuda_arena_take(arena, rope, sizeof(float));
    model->rope_sin = cuda_arena_take(arena, rope, sizeof(float));
    for (int layer = 0; layer < llama->n_layers; layer++)
        plan_layer(&model->layers[layer], c, arena);
}

/* A product's s is read by that product alone: there is one for all. */
static void plan_ranks(struct llama_cuda *model, size_t tokens)
{
    int widest = 0;
    for (int matrix = 0; matrix < CUDA_MATRICES; matrix++) {
        int padded = cuda_adapter_padded(&model->adapter, (enum cuda_matrix)matrix);
        widest = padded > widest ? padded : widest;
    }
    void *s = cuda_arena_take(&model->arena, tokens * (size_t)widest, 2);
    for (int matrix = 0; matrix < CUDA_MATRICES; matrix++)
        model->values.s[matrix] = s;
}

static void plan_activations(struct llama_cuda *model, const struct llama *llama)
{
    const struct model_config *c = &llama->config;
    struct cuda_arena *arena = &model->arena;
    size_t t = (size_t)llama->batch_tokens, d = (size_t)c->hidden_size;
    size_t q = llama_cuda_query_width(c), kv = llama_cuda_key_width(c),
           f = (size_t)c->intermediate_size;
    model->hidden = cuda_arena_take(arena, t * d, 2);
    model->values.normed = cuda_arena_take(arena, t * d, 2);
    model->values.qkv = cuda_arena_take(arena, t * (q + 2 * kv), 2);
    model->values.attended = cuda_arena_take(arena, t * q, 2);
    model->values.gate_up = cuda_arena_take(arena, t * 2 * f, 2);
    model->values.product = cuda_arena_take(arena, t * f, 2);
    if (llama->adapter)
        plan_ranks(model, t);
}

static struct cuda_upload_sizes upload_sizes(const struct llama *llama)
{
    const struct model_config *c = &llama->config;
    int64_t d = c->hidden_size, f = c->intermediate_size, q = (int64_t)llama_cuda_query_width(c);
    int64_t widest = d > f ? d : f, rows = f > q ? f : q;
    if (q > widest)
        widest = q;
    return (struct cuda_upload_sizes){
        .n_matrices = llama->precision == PRECISION_NF4 ? 7 * llama->n_layers : 0,
        .elements = llama->precision == PRECISION_NF4 ? d * rows : 0,
        .columns = widest,
    };
}

/* Weights, then what loading, what the adapter's copies and what a batch takes, one in the other's
 * place. */
static void plan(struct llama_cuda *model, const struct llama *llama, struct cuda_upload *upload)
{
    struct cuda_upload_sizes sizes = upload_sizes(llama);
    plan_weights(model, llama);
    if (llama->adapter)
        cuda_adapter_plan_forward(&model->adapter, &model->arena);
    size_t mark = model->weight_bytes = model->arena.used;
    cuda_upload_plan(upload, &model->arena, &sizes);
    cuda_arena_reset(&model->arena, mark);
    if (llama->adapter) {
        cuda_adapter_plan_parameters(&model->adapter, &model->arena);
        cuda_arena_reset(&model->arena, mark);
    }
    plan_activations(model, llama);
}

static size_t measure(const struct llama *llama, struct llama_cuda *model, int batch_tokens)
{
    struct llama sized = *llama;
    struct cuda_upload upload = {0};
    sized.batch_tokens = batch_tokens;
    model->arena = (struct cuda_arena){0};
    plan(model, &sized, &upload);
    return model->arena.most;
}

/* More than so many tokens gain nothing: the card is full. */
#define BATCH_TOKENS_LARGEST 16384
/* In steps of so many. */
#define BATCH_TOKENS_STEP 64
/* Of what is free, a part stays so: the driver's own needs, and programs beside. */
#define SHARE_USED 0.95

/* With what the embedder has of a batch: five numbers a token, and of each text the vectors of one
 * request, which may be a pair (host/embedder_run.c). */
static size_t measure_all(const struct llama *llama, struct llama_cuda *model, int batch_tokens)
{
    size_t tokens = (size_t)batch_tokens;
    size_t texts = tokens < LLAMA_TEXTS_LARGEST ? tokens : LLAMA_TEXTS_LARGEST;
    return measure(llama, model, batch_tokens) + 5 * tokens * sizeof(int32_t) +
           2 * texts * (size_t)llama->config.hidden_size * sizeof(float);
}

/* The largest batch that fits, at least a text: whether that fits, allocating it tells. */
static enum status choose_batch(struct llama *llama, struct llama_cuda *model, struct err *err)
{
    size_t available;
    TRY(cuda_memory_free(model->cuda, &available, err));
    int low = llama->max_tokens / BATCH_TOKENS_STEP,
        high = BATCH_TOKENS_LARGEST / BATCH_TOKENS_STEP;
    int largest = INT_MAX / llama->config.n_heads / BATCH_TOKENS_STEP; /* see allocate */
    high = high < largest ? high : largest;
    while (low < high) { /* the largest of low .. high that fits, or low */
        int middle = (low + high + 1) / 2;
        if ((double)measure_all(llama, model, middle * BATCH_TOKENS_STEP) <=
            SHARE_USED * (double)available)
            low = middle;
        else
            high = middle - 1;
    }
    llama->batch_tokens = low * BATCH_TOKENS_STEP;
    if (llama->batch_tokens < llama->max_tokens)
        llama->batch_tokens = llama->max_tokens;
    return STATUS_OK;
}

/* What would make it smaller, and only that. */
static void write_advice(char *text, size_t size, const struct llama *llama)
{
    bool dense = llama->precision != PRECISION_NF4,
         larger = llama->batch_tokens > llama->max_tokens;
    snprintf(text, size, "use %s%s, %sor --device cpu", dense ? "--precision nf4, " : "",
             larger ? "a smaller --batch-tokens" : "a smaller --max-tokens",
             dense ? "" : "a smaller model, ");
}

static enum status allocate(struct llama *llama, struct llama_cuda *model,
                            struct cuda_upload *upload, struct err *err)
{
    char what[96], advice[128];
    if ((int64_t)llama->batch_tokens * llama->config.n_heads > INT_MAX)
        return err_set(err, STATUS_USAGE, "a batch of %d tokens is too large; lower --batch-tokens",
                       llama->batch_tokens);
    measure(llama, model, llama->batch_tokens);
    snprintf(what, sizeof what, "the model with %sa batch of %d tokens",
             llama->adapter ? "its adapter and " : "", llama->batch_tokens);
    write_advice(advice, sizeof advice, llama);
    TRY(cuda_arena_open(&model->arena, model->cuda, what, advice, err));
    plan(model, llama, upload);
    return STATUS_OK;
}

/* ---- loading -------------------------------------------------------------------------------- */

/* The kernels of a batch, those that a visitor pools with too, and those that loading quantises
 * with. They are loaded before memory is shared out: they take some, and loading one may wait for
 * the GPU. */
static enum status load_kernels(struct llama_cuda *model, const struct llama *llama,
                                struct err *err)
{
    static const char *const images[] = {"embedding", "rmsnorm", "rope",
                                         "attention", "swiglu",  "pooling"};
    for (size_t i = 0; i < sizeof images / sizeof *images; i++)
        TRY(cuda_load(model->cuda, images[i], err));
    if (llama->adapter)
        TRY(cuda_load(model->cuda, "lora", err));
    if (llama->precision == PRECISION_BF16)
        return cuda_load(model->cuda, "matmul", err);
    TRY(cuda_load(model->cuda, "nf4", err));
    TRY(cuda_load(model->cuda, "nf4_tiles", err));
    return cuda_load(model->cuda, "nf4_matmul", err);
}

/* Which matrices a checkpoint holds in NF4 that is not nested decides what memory they take. */
static enum status inspect(struct llama_cuda *model, const struct llama *llama,
                           const struct weights *weights, struct err *err)
{
    struct llama_parameter parameter;
    for (int cursor = 0; llama_next_parameter(&llama->config, &cursor, &parameter);) {
        int layer;
        struct nf4_matrix view;
        struct arena arena = {0};
        const struct place *place = find_place(parameter.name, &layer);
        const struct weight *weight = weights_find(weights, parameter.name);
        if (!place || place->kind != MATRIX || layer >= llama->n_layers || !weight || !weight->nf4)
            continue;
        char *member = (char *)&model->layers[layer] + place->offset;
        struct cuda_linear *linear = (struct cuda_linear *)(void *)member;
        enum status status = nf4_checkpoint_view(&view, weights, weight, &arena, err);
        linear->not_nested[place->part] = status == STATUS_OK && view.absmax;
        arena_free(&arena);
        TRY(status);
    }
    return STATUS_OK;
}

static enum status load_parameter(struct llama_cuda *model, const struct llama *llama,
                                  const struct llama_parameter *parameter,
                                  struct cuda_upload *upload, struct err *err)
{
    int layer;
    const struct place *place = find_place(parameter->name, &layer);
    if (!place)
        return parameter->kind == PARAMETER_VECTOR
                   ? cuda_upload_dense(upload, parameter->name, 1, parameter->columns,
                                       PRECISION_F32, model->final_norm, err)
                   : cuda_upload_dense(upload, parameter->name, parameter->rows, parameter->columns,
                                       PRECISION_BF16, model->embedding, err);
    if (layer >= llama->n_layers)
        return STATUS_OK; /* deeper than is asked for */
    char *member = (char *)&model->layers[layer] + place->offset;
    switch (place->kind) {
    case MATRIX:
        return cuda_linear_load((struct cuda_linear *)(void *)member, place->part, parameter->name,
                                upload, err);
    case BIAS:
        return cuda_linear_load_bias((struct cuda_linear *)(void *)member, place->part,
                                     parameter->name, upload, err);
    case VECTOR:
        break;
    }
    float *vector;
    memcpy(&vector, member, sizeof vector);
    return cuda_upload_dense(upload, parameter->name, 1, parameter->columns, PRECISION_F32, vector,
                             err);
}

/* The tables of rotation are made on the host, as for the CPU. */
static enum status load_rope(struct llama_cuda *model, const struct llama *llama, struct err *err)
{
    const struct model_config *c = &llama->config;
    size_t half = (size_t)c->head_dim / 2, n = (size_t)llama->max_tokens * half;
    struct arena arena = {0};
    enum status status = STATUS_OK;
    double *inv_freq = arena_alloc(&arena, half, sizeof *inv_freq);
    float *cos_table = arena_alloc(&arena, n, sizeof *cos_table);
    float *sin_table = arena_alloc(&arena, n, sizeof *sin_table);
    if (!inv_freq || !cos_table || !sin_table) {
        status = err_no_memory(err, "the tables of rotation", 2 * n * sizeof *cos_table);
    } else {
        rope_frequencies(inv_freq, c->head_dim, &c->rope);
        rope_table(cos_table, sin_table, inv_freq, llama->max_tokens, c->head_dim);
        status = cuda_copy_to(model->cuda, model->rope_cos, cos_table, n * sizeof(float), err);
        if (status == STATUS_OK)
            status = cuda_copy_to(model->cuda, model->rope_sin, sin_table, n * sizeof(float), err);
        if (status == STATUS_OK)
            status = cuda_synchronise(model->cuda, err);
    }
    arena_free(&arena);
    return status;
}

static enum status load_parameters(struct llama_cuda *model, const struct llama *llama,
                                   struct cuda_upload *upload, const struct progress *progress,
                                   struct err *err)
{
    struct llama_parameter parameter;
    size_t total = (size_t)llama->n_layers + 1, done = 0;
    progress_report(progress, "load", "layers", 0, total);
    for (int cursor = 0; llama_next_parameter(&llama->config, &cursor, &parameter);) {
        int layer;
        TRY(load_parameter(model, llama, &parameter, upload, err));
        if (find_place(parameter.name, &layer) && layer < llama->n_layers &&
            (size_t)layer + 1 > done) {
            done = (size_t)layer + 1;
            progress_report(progress, "load", "layers", done, total);
        }
    }
    TRY(load_rope(model, llama, err));
    TRY(cuda_upload_end(upload, err));
    progress_report(progress, "load", "layers", total, total);
    return STATUS_OK;
}

/* Of the shapes alone. */
static enum status open_layers(struct llama_cuda *model, const struct llama *llama,
                               const struct weights *weights, struct err *err)
{
    model->layers = mem_alloc_zero((size_t)llama->n_layers, sizeof *model->layers);
    if (!model->layers)
        return err_no_memory(err, "the layers", (size_t)llama->n_layers * sizeof *model->layers);
    for (int layer = 0; layer < llama->n_layers; layer++)
        shape_layer(&model->layers[layer], llama);
    if (llama->adapter)
        TRY(cuda_adapter_open(&model->adapter, llama->adapter, &llama->config, llama->n_layers,
                              err));
    return weights && llama->precision == PRECISION_NF4 ? inspect(model, llama, weights, err)
                                                        : STATUS_OK;
}

/* After the weights: the parameters lie where they were loaded through, and a batch will be. */
static enum status load_adapter(struct llama_cuda *model, struct device *device, struct err *err)
{
    const struct cuda_adapter *adapter = &model->adapter;
    TRY(cuda_copy_to(model->cuda, adapter->parameters, adapter->adapter->parameters,
                     (size_t)adapter->n_parameters * sizeof(float), err));
    TRY(cuda_adapter_place(&model->adapter, model->cuda, err));
    return cuda_adapter_copy(&model->adapter, device, err);
}

enum status llama_cuda_measure(const struct llama *llama, const struct weights *weights,
                               struct llama_cuda_bytes *bytes, struct err *err)
{
    struct llama_cuda model = {0};
    enum status status = open_layers(&model, llama, weights, err);
    if (status == STATUS_OK) {
        bytes->all = measure(llama, &model, llama->batch_tokens);
        bytes->weights = model.weight_bytes;
    }
    cuda_adapter_close(&model.adapter);
    mem_free(model.layers);
    return status;
}

enum status llama_cuda_load(struct llama *llama, struct device *device,
                            const struct weights *weights, const struct progress *progress,
                            struct err *err)
{
    struct cuda_upload upload = {0};
    struct llama_cuda *model = mem_alloc_zero(1, sizeof *model);
    if (!model)
        return err_no_memory(err, "the model", sizeof *model);
    llama->cuda = model;
    model->cuda = device->cuda;
    TRY(llama_check_precision(device, llama->precision, err));
    if (llama->config.head_dim > ATTENTION_CUDA_HEAD_DIM_LARGEST)
        return err_set(err, STATUS_RESOURCE,
                       "heads of %d values: a GPU's attention takes at most %d; use --device cpu",
                       llama->config.head_dim, ATTENTION_CUDA_HEAD_DIM_LARGEST);
    TRY(open_layers(model, llama, weights, err));
    TRY(load_kernels(model, llama, err));
    if (llama->batch_tokens == 0)
        TRY(choose_batch(llama, model, err));
    enum status status = allocate(llama, model, &upload, err);
    if (status == STATUS_OK)
        status = cuda_upload_open(&upload, device, weights, err);
    if (status == STATUS_OK)
        status = load_parameters(model, llama, &upload, progress, err);
    cuda_upload_close(&upload);
    if (status == STATUS_OK && llama->adapter)
        status = load_adapter(model, device, err);
    llama->weight_bytes = model->weight_bytes;
    return status;
}

void llama_cuda_free(struct llama_cuda *model)
{
    if (!model)
        return;
    model->cuda->driver.StreamSynchronize(model->cuda->stream);
    cuda_arena_close(&model->arena, model->cuda);
    cuda_adapter_close(&model->adapter);
    mem_free(model->layers);
    mem_free(model);
}

const float *llama_cuda_final_norm_weight(const struct llama_cuda *model)
{
    return model->final_norm;
}

/* ---- forward -------------------------------------------------------------------------------- */

enum status llama_cuda_forward(struct llama *llama, struct device *device,
                               const struct llama_batch *batch, int n_layers,
                               llama_layer_visitor *visit, void *context, struct err *err)
{
    struct llama_cuda *model = llama->cuda;
    const struct cuda_pass pass = {
        .device = device,
        .llama = llama,
        .adapter = llama->adapter ? &model->adapter : NULL,
        .cu_seqlens = batch->cu_seqlens,
        .positions = batch->positions,
        .n_texts = batch->n_texts,
        .n_tokens = batch->n_tokens,
    };
    TRY(cuda_pass_embed(&pass, model->hidden, batch->tokens, err));
    TRY(visit(context, 0, model->hidden, batch->n_tokens, err));
    for (int layer = 0; layer < n_layers; layer++) {
        TRY(interrupt_check(err));
        TRY(cuda_layer_attention(&pass, layer, model->hidden, &model->values, err));
        TRY(cuda_layer_gate(&pass, layer, model->hidden, &model->values, err));
        TRY(cuda_layer_down(&pass, layer, model->hidden, &model->values, err));
        TRY(visit(context, layer + 1, model->hidden, batch->n_tokens, err));
    }
    return STATUS_OK;
}
