/* Loading a model and running it forward. See llama.h. */
#include "host/llama.h"

#include <assert.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "host/base/interrupt.h"
#include "host/llama_cuda.h"
#include "host/llama_layer.h"
#include "host/lora_adapter.h"
#include "kernels/attention.h"
#include "kernels/embedding.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"

/* ---- parameters ----------------------------------------------------------------------------- */

/* Sizes that a shape can name. */
enum extent {
    ONE,
    HIDDEN,
    QUERY,     /* n_heads * head_dim */
    KEY_VALUE, /* n_kv_heads * head_dim */
    INTERMEDIATE,
    HEAD, /* head_dim */
};

static int extent_of(const struct model_config *config, enum extent extent)
{
    switch (extent) {
    case ONE:
        return 1;
    case HIDDEN:
        return config->hidden_size;
    case QUERY:
        return config->n_heads * config->head_dim;
    case KEY_VALUE:
        return config->n_kv_heads * config->head_dim;
    case INTERMEDIATE:
        return config->intermediate_size;
    case HEAD:
        return config->head_dim;
    }
    return 0;
}

/* What decides whether a model has a parameter. */
enum presence {
    ALWAYS,
    ATTENTION_BIAS,
    ATTENTION_OUTPUT_BIAS,
    MLP_BIAS,
    HEAD_NORMS,
};

static bool is_present(const struct model_config *config, enum presence presence)
{
    switch (presence) {
    case ALWAYS:
        return true;
    case ATTENTION_BIAS:
        return config->attention_bias;
    case ATTENTION_OUTPUT_BIAS:
        return config->attention_output_bias;
    case MLP_BIAS:
        return config->mlp_bias;
    case HEAD_NORMS:
        return config->head_norms;
    }
    return false;
}

/* The parameters of one block: rows ONE is a vector (const float *), else a struct linear. */
static const struct parameter {
    const char *name; /* behind "model.layers.N." */
    enum presence presence;
    enum extent rows, columns;
    size_t offset; /* in struct llama_layer */
} layer_parameters[] = {
    {"input_layernorm.weight", ALWAYS, ONE, HIDDEN, offsetof(struct llama_layer, input_norm)},
    {"self_attn.q_proj.weight", ALWAYS, QUERY, HIDDEN, offsetof(struct llama_layer, q)},
    {"self_attn.k_proj.weight", ALWAYS, KEY_VALUE, HIDDEN, offsetof(struct llama_layer, k)},
    {"self_attn.v_proj.weight", ALWAYS, KEY_VALUE, HIDDEN, offsetof(struct llama_layer, v)},
    {"self_attn.o_proj.weight", ALWAYS, HIDDEN, QUERY, offsetof(struct llama_layer, o)},
    {"post_attention_layernorm.weight", ALWAYS, ONE, HIDDEN,
     offsetof(struct llama_layer, post_attention_norm)},
    {"mlp.gate_proj.weight", ALWAYS, INTERMEDIATE, HIDDEN, offsetof(struct llama_layer, gate)},
    {"mlp.up_proj.weight", ALWAYS, INTERMEDIATE, HIDDEN, offsetof(struct llama_layer, up)},
    {"mlp.down_proj.weight", ALWAYS, HIDDEN, INTERMEDIATE, offsetof(struct llama_layer, down)},
    {"self_attn.q_proj.bias", ATTENTION_BIAS, ONE, QUERY, offsetof(struct llama_layer, q_bias)},
    {"self_attn.k_proj.bias", ATTENTION_BIAS, ONE, KEY_VALUE, offsetof(struct llama_layer, k_bias)},
    {"self_attn.v_proj.bias", ATTENTION_BIAS, ONE, KEY_VALUE, offsetof(struct llama_layer, v_bias)},
    {"self_attn.o_proj.bias", ATTENTION_OUTPUT_BIAS, ONE, HIDDEN,
     offsetof(struct llama_layer, o_bias)},
    {"mlp.gate_proj.bias", MLP_BIAS, ONE, INTERMEDIATE, offsetof(struct llama_layer, gate_bias)},
    {"mlp.up_proj.bias", MLP_BIAS, ONE, INTERMEDIATE, offsetof(struct llama_layer, up_bias)},
    {"mlp.down_proj.bias", MLP_BIAS, ONE, HIDDEN, offsetof(struct llama_layer, down_bias)},
    {"self_attn.q_norm.weight", HEAD_NORMS, ONE, HEAD, offsetof(struct llama_layer, q_norm)},
    {"self_attn.k_norm.weight", HEAD_NORMS, ONE, HEAD, offsetof(struct llama_layer, k_norm)},
};
#define N_LAYER_PARAMETERS (sizeof layer_parameters / sizeof *layer_parameters)

bool llama_next_parameter(const struct model_config *config, int *cursor,
                          struct llama_parameter *out)
{
    int n = (int)N_LAYER_PARAMETERS, i = *cursor;
    while (i >= 2 && !is_present(config, layer_parameters[(i - 2) % n].presence))
        i++;
    *cursor = i + 1;
    *out = (struct llama_parameter){.rows = 1, .columns = config->hidden_size};
    if (i == 0) {
        snprintf(out->name, sizeof out->name, "model.embed_tokens.weight");
        out->kind = PARAMETER_DENSE;
        out->rows = config->vocab_size;
        return true;
    }
    if (i == 1) {
        snprintf(out->name, sizeof out->name, "model.norm.weight");
        return true;
    }
    int layer = (i - 2) / n;
    if (layer >= config->n_layers)
        return false;
    const struct parameter *parameter = &layer_parameters[(i - 2) % n];
    snprintf(out->name, sizeof out->name, "model.layers.%d.%s", layer, parameter->name);
    out->kind = parameter->rows == ONE ? PARAMETER_VECTOR : PARAMETER_LINEAR;
    out->rows = extent_of(config, parameter->rows);
    out->columns = extent_of(config, parameter->columns);
    return true;
}

/* ---- loading -------------------------------------------------------------------------------- */

static enum status load_vector(const float **out, const struct weights *weights, const char *name,
                               int n, struct arena *arena, struct arena *scratch, struct err *err)
{
    struct dense_matrix vector;
    TRY(dense_load(&vector, weights, name, 1, n, PRECISION_F32, arena, scratch, err));
    *out = vector.data;
    return STATUS_OK;
}

/* A tensor that the configuration has no use for would change the result. */
static enum status check_absent(const struct weights *weights, const char *name, struct err *err)
{
    const struct weight *weight = weights_find(weights, name);
    if (weight)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: tensor %s: the model that the configuration describes has none; use "
                       "the configuration that belongs to the weights",
                       weights_path(weights), weight->name);
    return STATUS_OK;
}

/* No layer behind the last one. */
static enum status check_depth(const struct model_config *config, const struct weights *weights,
                               struct err *err)
{
    char beyond[64];
    snprintf(beyond, sizeof beyond, "model.layers.%d.input_layernorm.weight", config->n_layers);
    return check_absent(weights, beyond, err);
}

enum status llama_check_absent(const struct model_config *config, const struct weights *weights,
                               struct err *err)
{
    for (int layer = 0; layer < config->n_layers; layer++)
        for (size_t i = 0; i < N_LAYER_PARAMETERS; i++) {
            char name[128];
            snprintf(name, sizeof name, "model.layers.%d.%s", layer, layer_parameters[i].name);
            if (!is_present(config, layer_parameters[i].presence))
                TRY(check_absent(weights, name, err));
        }
    return check_depth(config, weights, err);
}

/* Absent parameters of *layer are NULL already. */
static enum status load_layer(struct llama *llama, struct device *device,
                              const struct weights *weights, int layer, struct arena *scratch,
                              struct err *err)
{
    char *base = (char *)&llama->layers[layer];
    for (size_t i = 0; i < N_LAYER_PARAMETERS; i++) {
        const struct parameter *parameter = &layer_parameters[i];
        char name[128];
        snprintf(name, sizeof name, "model.layers.%d.%s", layer, parameter->name);
        int rows = extent_of(&llama->config, parameter->rows);
        int columns = extent_of(&llama->config, parameter->columns);
        void *member = base + parameter->offset;
        if (!is_present(&llama->config, parameter->presence))
            TRY(check_absent(weights, name, err));
        else if (parameter->rows == ONE)
            TRY(load_vector(member, weights, name, columns, &llama->arena, scratch, err));
        else
            TRY(linear_load(member, device, weights, name, rows, columns, llama->precision,
                            &llama->arena, scratch, err));
    }
    return STATUS_OK;
}

static enum status load_weights(struct llama *llama, struct device *device,
                                const struct weights *weights, int n_layers, struct arena *scratch,
                                const struct progress *progress, struct err *err)
{
    const struct model_config *config = &llama->config;
    size_t total = (size_t)n_layers + 1;
    TRY(check_depth(config, weights, err));
    progress_report(progress, "load", "layers", 0, total);
    enum precision dense = llama->precision == PRECISION_F32 ? PRECISION_F32 : PRECISION_BF16;
    TRY(dense_load(&llama->embedding, weights, "model.embed_tokens.weight", config->vocab_size,
                   config->hidden_size, dense, &llama->arena, scratch, err));
    TRY(load_vector(&llama->final_norm, weights, "model.norm.weight", config->hidden_size,
                    &llama->arena, scratch, err));
    progress_report(progress, "load", "layers", 1, total);
    llama->layers = arena_alloc(&llama->arena, (size_t)n_layers, sizeof *llama->layers);
    if (!llama->layers)
        return err_no_memory(err, "the layers", (size_t)n_layers * sizeof *llama->layers);
    for (int layer = 0; layer < n_layers; layer++) {
        llama->layers[layer] = (struct llama_layer){0};
        TRY(load_layer(llama, device, weights, layer, scratch, err));
        progress_report(progress, "load", "layers", (size_t)layer + 2, total);
    }
    llama->weight_bytes = llama->arena.total;
    return STATUS_OK;
}

/* The rope tables and the activations of one batch. */
static enum status allocate_buffers(struct llama *llama, struct err *err)
{
    const struct model_config *config = &llama->config;
    size_t t = (size_t)llama->batch_tokens, d = (size_t)config->hidden_size;
    size_t half = (size_t)config->head_dim / 2, rope = (size_t)llama->max_tokens * half;
    size_t q = (size_t)extent_of(config, QUERY), kv = (size_t)extent_of(config, KEY_VALUE);
    size_t f = (size_t)config->intermediate_size;
    const struct {
        float **pointer;
        size_t count;
    } buffers[] = {
        {&llama->rope_cos, rope}, {&llama->rope_sin, rope},  {&llama->hidden, t * d},
        {&llama->normed, t * d},  {&llama->query, t * q},    {&llama->key, t * kv},
        {&llama->value, t * kv},  {&llama->attended, t * q}, {&llama->gate, t * f},
        {&llama->up, t * f},
    };
    bool countable = (int64_t)llama->batch_tokens * config->n_heads <= INT_MAX; /* rows of heads */
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        *buffers[i].pointer = arena_alloc(&llama->arena, buffers[i].count, sizeof(float));
        if (!*buffers[i].pointer || !countable)
            return err_set(err, STATUS_RESOURCE,
                           "not enough memory for the activations of %d tokens; try a smaller "
                           "--batch-tokens or --max-tokens",
                           llama->batch_tokens);
    }
    double *inv_freq = arena_alloc(&llama->arena, half, sizeof *inv_freq);
    if (!inv_freq)
        return err_no_memory(err, "the frequencies of rotation", half * sizeof *inv_freq);
    rope_frequencies(inv_freq, config->head_dim, &config->rope);
    rope_table(llama->rope_cos, llama->rope_sin, inv_freq, llama->max_tokens, config->head_dim);
    return STATUS_OK;
}

/* What a configuration may say and the kernels do not take. */
static enum status check_limits(const struct model_config *config, const struct weights *weights,
                                int batch_tokens, struct err *err)
{
    const char *path = weights_path(weights);
    if (config->head_dim > ATTENTION_HEAD_DIM_LARGEST)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: heads of %d values: attention takes at most %d; use another model",
                       path, config->head_dim, ATTENTION_HEAD_DIM_LARGEST);
    if (config->n_heads > ATTENTION_HEADS_LARGEST)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: %d attention heads: at most %d are taken; use another model", path,
                       config->n_heads, ATTENTION_HEADS_LARGEST);
    if (batch_tokens > ATTENTION_ROWS_LARGEST / 2) /* each text may be one token */
        return err_set(err, STATUS_USAGE,
                       "a batch of %d tokens: at most %d are taken; lower "
                       "--batch-tokens or --max-tokens",
                       batch_tokens, ATTENTION_ROWS_LARGEST / 2);
    return STATUS_OK;
}

enum status llama_check_precision(const struct device *device, enum precision precision,
                                  struct err *err)
{
    if (device->kind == DEVICE_CUDA && precision == PRECISION_F32)
        return err_set(err, STATUS_USAGE,
                       "--precision f32 is the CPU's; use nf4 or bf16 on a GPU, or --device cpu");
    return STATUS_OK;
}

enum status llama_load(struct llama *llama, struct device *device, const struct weights *weights,
                       const struct model_config *config, enum precision precision, int n_layers,
                       int max_tokens, int batch_tokens, const struct lora_adapter *adapter,
                       const struct progress *progress, struct err *err)
{
    assert(n_layers >= 0 && n_layers <= config->n_layers);
    assert(max_tokens >= 1 && max_tokens <= config->max_positions);
    assert(batch_tokens >= max_tokens || (batch_tokens == 0 && device->kind == DEVICE_CUDA));
    *llama = (struct llama){
        .config = *config,
        .precision = precision,
        .n_layers = n_layers,
        .max_tokens = max_tokens,
        .batch_tokens = batch_tokens,
        .adapter = adapter,
    };
    assert(!adapter || adapter->n_layers == config->n_layers);
    /* Where a GPU chooses, a batch of more than a text has far fewer than the limit. */
    TRY(check_limits(config, weights, batch_tokens > 0 ? batch_tokens : max_tokens, err));
    enum status status;
    if (device->kind == DEVICE_CUDA) {
        status = llama_check_absent(config, weights, err);
        if (status == STATUS_OK)
            status = llama_cuda_load(llama, device, weights, progress, err);
    } else {
        struct arena scratch = {0};
        status = load_weights(llama, device, weights, n_layers, &scratch, progress, err);
        arena_free(&scratch);
        if (status == STATUS_OK)
            status = allocate_buffers(llama, err);
        if (status == STATUS_OK)
            status = llama_set_adapter(llama, adapter, err);
    }
    if (status != STATUS_OK)
        llama_free(llama);
    return status;
}

enum status llama_set_adapter(struct llama *llama, const struct lora_adapter *adapter,
                              struct err *err)
{
    assert(!llama->cuda);
    if (adapter) {
        assert(adapter->n_layers == llama->config.n_layers);
        size_t n = (size_t)llama->batch_tokens * (size_t)adapter->largest_rank;
        llama->low_rank = arena_alloc(&llama->arena, n, sizeof *llama->low_rank);
        if (!llama->low_rank)
            return err_no_memory(err, "the adapter's activations", n * sizeof *llama->low_rank);
    }
    llama->adapter = adapter;
    return STATUS_OK;
}

void llama_free(struct llama *llama)
{
    llama_cuda_free(llama->cuda);
    arena_free(&llama->arena);
    memset(llama, 0, sizeof *llama);
}

/* ---- forward -------------------------------------------------------------------------------- */

/* Inference works in place where it can. */
static struct llama_layer_values values_of(const struct llama *llama)
{
    struct llama_layer_values values = {
        .normed = llama->normed,
        .query = llama->query,
        .key = llama->key,
        .value = llama->value,
        .attended = llama->attended,
        .gate = llama->gate,
        .up = llama->up,
        .activated = llama->gate,
    };
    for (int target = 0; target < LORA_TARGETS; target++)
        values.low_rank[target] = llama->low_rank;
    return values;
}

enum status llama_forward(struct llama *llama, struct device *device,
                          const struct llama_batch *batch, int n_layers, llama_layer_visitor *visit,
                          void *context, struct err *err)
{
    int t = batch->n_tokens;
    assert(t <= llama->batch_tokens && n_layers <= llama->n_layers);
    assert(batch->n_texts <= LLAMA_TEXTS_LARGEST);
    if (llama->cuda)
        return llama_cuda_forward(llama, device, batch, n_layers, visit, context, err);
    const struct llama_layer_values values = values_of(llama);
    const struct llama_pass pass = {
        .device = device,
        .llama = llama,
        .adapter = llama->adapter,
        .cu_seqlens = batch->cu_seqlens,
        .positions = batch->positions,
        .n_texts = batch->n_texts,
        .n_tokens = t,
    };
    TRY(embedding_fwd(device, llama->hidden, batch->tokens, &llama->embedding, t, err));
    TRY(visit(context, 0, llama->hidden, t, err));
    for (int layer = 0; layer < n_layers; layer++) {
        TRY(interrupt_check(err));
        TRY(llama_layer_attention(&pass, layer, llama->hidden, &values, err));
        TRY(llama_layer_gate(&pass, layer, llama->hidden, &values, err));
        TRY(llama_layer_down(&pass, layer, llama->hidden, &values, err));
        TRY(visit(context, layer + 1, llama->hidden, t, err));
    }
    return STATUS_OK;
}

enum status llama_final_norm(const struct llama *llama, struct device *device, void *y,
                             const void *x, int n, struct err *err)
{
    return rmsnorm_fwd(device, y, x, llama_final_norm_weight(llama), n, llama->config.hidden_size,
                       llama->config.rms_norm_eps, err);
}

const float *llama_final_norm_weight(const struct llama *llama)
{
    return llama->cuda ? llama_cuda_final_norm_weight(llama->cuda) : llama->final_norm;
}
