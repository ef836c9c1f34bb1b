/* See llama_train.h. */
#include "host/llama_train.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include "host/base/at_most.h"
#include "host/base/interrupt.h"
#include "kernels/attention.h"
#include "kernels/embedding.h"
#include "kernels/lora.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/swiglu.h"

/* ---- memory --------------------------------------------------------------------------------- */

/* Carves arrays off a block, or only counts them. */
struct carver {
    char *block; /* NULL: count */
    size_t used;
    size_t rows;
};

static float *carve(struct carver *carver, int columns)
{
    float *at = carver->block ? (float *)(carver->block + carver->used) : NULL;
    carver->used += (carver->rows * (size_t)columns * sizeof(float) + 63) / 64 * 64;
    return at;
}

static int first_layer(const struct model_config *config, const struct lora_adapter *adapter)
{
    for (int layer = 0; layer < config->n_layers; layer++)
        for (int target = 0; target < LORA_TARGETS; target++)
            if (adapter->layers[layer][target].rank > 0)
                return layer;
    return config->n_layers; /* a head alone */
}

int llama_train_layers(const struct model_config *config, const struct lora_adapter *adapter)
{
    return config->n_layers - first_layer(config, adapter);
}

static int largest_rank(const struct model_config *config, const struct lora_adapter *adapter,
                        int target)
{
    int rank = 0;
    for (int layer = 0; layer < config->n_layers; layer++)
        rank = at_least(rank, adapter->layers[layer][target].rank);
    return rank;
}

/* What the way back needs of a layer, apart from its input, and inference has no buffer for. */
static void carve_more(struct llama_layer_values *values, struct carver *carver,
                       const struct model_config *c, const int ranks[LORA_TARGETS])
{
    values->raw_query = c->head_norms ? carve(carver, c->n_heads * c->head_dim) : NULL;
    values->raw_key = c->head_norms ? carve(carver, c->n_kv_heads * c->head_dim) : NULL;
    values->middle = carve(carver, c->hidden_size);
    for (int target = 0; target < LORA_TARGETS; target++)
        values->low_rank[target] = carve(carver, ranks[target]);
}

/* All of it. */
static void carve_values(struct llama_layer_values *values, struct carver *carver,
                         const struct model_config *c, const int ranks[LORA_TARGETS])
{
    values->query = carve(carver, c->n_heads * c->head_dim);
    values->key = carve(carver, c->n_kv_heads * c->head_dim);
    values->value = carve(carver, c->n_kv_heads * c->head_dim);
    values->attended = carve(carver, c->n_heads * c->head_dim);
    values->gate = carve(carver, c->intermediate_size);
    values->up = carve(carver, c->intermediate_size);
    carve_more(values, carver, c, ranks);
}

/* The kept part first; returns where it ends. train: its arrays are set, where it is not NULL. */
static size_t carve_all(struct llama_train *train, const struct llama_train_shape *shape,
                        struct carver *carver)
{
    const struct model_config *c = shape->config;
    struct llama_train unused = {0};
    struct llama_layer_values own = {0}, shared = {0};
    int first = first_layer(c, shape->adapter), first_kept = c->n_layers - shape->kept_layers;
    int ranks[LORA_TARGETS], rank = 0;
    int widest = at_least(at_least(c->hidden_size, c->n_heads * c->head_dim), c->intermediate_size);
    struct llama_train *to = train ? train : &unused;
    for (int layer = first; layer < c->n_layers; layer++) {
        float *input = carve(carver, c->hidden_size);
        for (int target = 0; target < LORA_TARGETS; target++)
            ranks[target] = shape->adapter->layers[layer][target].rank;
        if (layer >= first_kept)
            carve_values(&own, carver, c, ranks);
        else /* the last product is not computed again, and its adapter's s not either */
            own.low_rank[LORA_DOWN] = carve(carver, ranks[LORA_DOWN]);
        if (train) {
            train->inputs[layer] = input;
            train->layers[layer] = own;
        }
    }
    size_t kept = carver->used;
    for (int target = 0; target < LORA_TARGETS; target++) {
        ranks[target] = largest_rank(c, shape->adapter, target);
        rank = at_least(rank, ranks[target]);
    }
    carve_more(&shared, carver, c, ranks);
    if (train) { /* the model's own */
        shared.normed = train->llama->normed;
        shared.query = train->llama->query;
        shared.key = train->llama->key;
        shared.value = train->llama->value;
        shared.attended = train->llama->attended;
        shared.gate = train->llama->gate;
        shared.up = train->llama->up;
    }
    shared.activated = carve(carver, c->intermediate_size);
    shared.dropped = shape->dropout ? carve(carver, widest) : NULL;
    to->dropped = shared.dropped;
    to->stream = carve(carver, c->hidden_size);
    to->dnormed = carve(carver, c->hidden_size);
    to->dactivated = carve(carver, c->intermediate_size);
    to->dup = carve(carver, c->intermediate_size);
    to->dattended = carve(carver, c->n_heads * c->head_dim);
    to->dquery = carve(carver, c->n_heads * c->head_dim);
    to->dkey = carve(carver, c->n_kv_heads * c->head_dim);
    to->dvalue = carve(carver, c->n_kv_heads * c->head_dim);
    to->dlow_rank = carve(carver, rank);
    for (int layer = 0; train && layer < c->n_layers; layer++) {
        struct llama_layer_values *values = &train->layers[layer];
        float *down = layer < first ? shared.low_rank[LORA_DOWN] : values->low_rank[LORA_DOWN];
        if (layer < first || layer < first_kept)
            *values = shared;
        values->low_rank[LORA_DOWN] = down;
        values->normed = shared.normed;
        values->activated = shared.activated;
        values->dropped = shared.dropped;
    }
    return kept;
}

struct llama_train_bytes llama_train_measure(const struct llama_train_shape *shape)
{
    struct carver carver = {.rows = (size_t)shape->n_tokens};
    size_t kept = carve_all(NULL, shape, &carver);
    return (struct llama_train_bytes){.kept = kept, .shared = carver.used - kept};
}

enum status llama_train_open(struct llama_train *train, struct llama *llama,
                             struct lora_adapter *adapter, float *gradients,
                             const struct llama_train_shape *shape, struct err *err)
{
    int n_layers = llama->config.n_layers;
    assert(llama->n_layers == n_layers && shape->n_tokens <= llama->batch_tokens);
    *train = (struct llama_train){
        .llama = llama,
        .adapter = adapter,
        .first_layer = first_layer(&llama->config, adapter),
        .first_kept = n_layers - shape->kept_layers,
        .gradients = gradients,
    };
    struct llama_train_bytes bytes = llama_train_measure(shape);
    size_t total = bytes.kept + bytes.shared;
    struct carver carver = {
        .block = arena_alloc(&train->arena, total, 1),
        .rows = (size_t)shape->n_tokens,
    };
    train->inputs = arena_alloc(&train->arena, (size_t)n_layers, sizeof *train->inputs);
    train->layers = arena_alloc(&train->arena, (size_t)n_layers, sizeof *train->layers);
    if (!carver.block || !train->inputs || !train->layers) {
        llama_train_close(train);
        return err_no_memory(err, "the activations of a training pass", total);
    }
    carve_all(train, shape, &carver);
    return STATUS_OK;
}

void llama_train_close(struct llama_train *train)
{
    arena_free(&train->arena);
    *train = (struct llama_train){0};
}

/* ---- forward -------------------------------------------------------------------------------- */

enum status llama_train_forward(struct llama_train *train, struct device *device,
                                const struct llama_batch *batch, struct llama_pass *pass,
                                struct err *err)
{
    struct llama *llama = train->llama;
    int t = batch->n_tokens;
    size_t bytes = (size_t)t * (size_t)llama->config.hidden_size * sizeof(float);
    assert(t <= llama->batch_tokens);
    pass->device = device;
    pass->llama = llama;
    pass->adapter = train->adapter;
    pass->cu_seqlens = batch->cu_seqlens;
    pass->positions = batch->positions;
    pass->n_texts = batch->n_texts;
    pass->n_tokens = t;
    TRY(embedding_fwd(device, llama->hidden, batch->tokens, &llama->embedding, t, err));
    for (int layer = 0; layer < llama->n_layers; layer++) {
        TRY(interrupt_check(err));
        if (layer >= train->first_layer)
            memcpy(train->inputs[layer], llama->hidden, bytes);
        TRY(llama_layer_attention(pass, layer, llama->hidden, &train->layers[layer], err));
        TRY(llama_layer_gate(pass, layer, llama->hidden, &train->layers[layer], err));
        TRY(llama_layer_down(pass, layer, llama->hidden, &train->layers[layer], err));
    }
    return STATUS_OK;
}

/* ---- backward ------------------------------------------------------------------------------- */

struct way_back {
    struct llama_train *train;
    const struct llama_pass *pass;
    const int32_t *units;
    int n_units;
};

/* Through y = x · Wᵀ + the adapter's term: dx (T, columns) =, or +=, and the adapter's gradients.
 * dx NULL: nothing below is trained. */
static enum status project_back(const struct way_back *way, int layer, enum lora_target target,
                                float *dx, const float *dy, const float *x, bool add,
                                struct err *err)
{
    struct llama_train *train = way->train;
    const struct llama_pass *pass = way->pass;
    const struct lora *lora = &train->adapter->layers[layer][target];
    if (dx)
        TRY(linear_bwd_input(pass->device, dx, dy,
                             llama_linear(&train->llama->layers[layer], target), pass->n_tokens,
                             add, err));
    if (lora->rank == 0)
        return STATUS_OK;
    const struct dropout dropout = llama_dropout(pass, layer, target);
    float *da = train->gradients + (lora->a - train->adapter->parameters);
    float *db = train->gradients + (lora->b - train->adapter->parameters);
    return lora_bwd(pass->device, dx, da, db, train->dlow_rank, train->dropped, dy, x,
                    train->layers[layer].low_rank[target], lora, &dropout, way->units, way->n_units,
                    err);
}

static enum status mlp_back(const struct way_back *way, int layer, float *dhidden, struct err *err)
{
    struct llama_train *train = way->train;
    const struct llama_pass *pass = way->pass;
    const struct model_config *c = &train->llama->config;
    const struct llama_layer *l = &train->llama->layers[layer];
    const struct llama_layer_values *values = &train->layers[layer];
    int t = pass->n_tokens, f = c->intermediate_size;
    TRY(project_back(way, layer, LORA_DOWN, train->dactivated, dhidden, values->activated, false,
                     err));
    float *dgate = train->dactivated;
    TRY(swiglu_bwd(pass->device, dgate, train->dup, train->dactivated, values->gate, values->up, t,
                   f, err));
    TRY(project_back(way, layer, LORA_GATE, train->dnormed, dgate, values->normed, false, err));
    TRY(project_back(way, layer, LORA_UP, train->dnormed, train->dup, values->normed, true, err));
    return rmsnorm_bwd(pass->device, dhidden, train->dnormed, values->middle,
                       l->post_attention_norm, t, c->hidden_size, c->rms_norm_eps, true, err);
}

/* Queries or keys: back through rotation and norm, in place. */
static enum status heads_back(const struct way_back *way, float *dx, const float *raw,
                              const float *norm, int n_heads, struct err *err)
{
    const struct llama_pass *pass = way->pass;
    const struct llama *llama = pass->llama;
    const struct model_config *c = &llama->config;
    TRY(rope_bwd(pass->device, dx, pass->positions, llama->rope_cos, llama->rope_sin,
                 pass->n_tokens, n_heads, c->head_dim, err));
    if (!norm)
        return STATUS_OK;
    return rmsnorm_bwd(pass->device, dx, dx, raw, norm, pass->n_tokens * n_heads, c->head_dim,
                       c->rms_norm_eps, false, err);
}

static enum status attention_back(const struct way_back *way, int layer, float *dhidden,
                                  struct err *err)
{
    struct llama_train *train = way->train;
    const struct llama_pass *pass = way->pass;
    const struct model_config *c = &train->llama->config;
    const struct llama_layer *l = &train->llama->layers[layer];
    const struct llama_layer_values *values = &train->layers[layer];
    int t = pass->n_tokens;
    TRY(project_back(way, layer, LORA_O, train->dattended, dhidden, values->attended, false, err));
    TRY(attention_bwd(pass->device, train->dquery, train->dkey, train->dvalue, train->dattended,
                      values->attended, values->query, values->key, values->value, pass->cu_seqlens,
                      t, pass->n_texts, c->n_heads, c->n_kv_heads, c->head_dim,
                      1.0f / sqrtf((float)c->head_dim), llama_window(train->llama, layer), err));
    TRY(heads_back(way, train->dquery, values->raw_query, l->q_norm, c->n_heads, err));
    TRY(heads_back(way, train->dkey, values->raw_key, l->k_norm, c->n_kv_heads, err));
    TRY(rmsnorm_fwd(pass->device, values->normed, train->inputs[layer], l->input_norm, t,
                    c->hidden_size, c->rms_norm_eps, err));
    float *dnormed = layer > train->first_layer ? train->dnormed : NULL;
    TRY(project_back(way, layer, LORA_Q, dnormed, train->dquery, values->normed, false, err));
    TRY(project_back(way, layer, LORA_K, dnormed, train->dkey, values->normed, true, err));
    TRY(project_back(way, layer, LORA_V, dnormed, train->dvalue, values->normed, true, err));
    if (!dnormed)
        return STATUS_OK;
    return rmsnorm_bwd(pass->device, dhidden, dnormed, train->inputs[layer], l->input_norm, t,
                       c->hidden_size, c->rms_norm_eps, true, err);
}

/* What the layer computed on its way, where it is not kept: all of it, or the two cheap pieces that
 * no layer keeps. */
static enum status restore(const struct way_back *way, int layer, struct err *err)
{
    struct llama_train *train = way->train;
    const struct llama_pass *pass = way->pass;
    const struct model_config *c = &train->llama->config;
    const struct llama_layer_values *values = &train->layers[layer];
    int t = pass->n_tokens;
    if (layer < train->first_kept) {
        memcpy(train->stream, train->inputs[layer],
               (size_t)t * (size_t)c->hidden_size * sizeof(float));
        TRY(llama_layer_attention(pass, layer, train->stream, values, err));
        return llama_layer_gate(pass, layer, train->stream, values, err);
    }
    TRY(rmsnorm_fwd(pass->device, values->normed, values->middle,
                    train->llama->layers[layer].post_attention_norm, t, c->hidden_size,
                    c->rms_norm_eps, err));
    return swiglu_fwd(pass->device, values->activated, values->gate, values->up, t,
                      c->intermediate_size, err);
}

enum status llama_train_backward(struct llama_train *train, const struct llama_pass *pass,
                                 float *dhidden, const int32_t *units, int n_units, struct err *err)
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
