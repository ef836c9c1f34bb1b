/* See objective.h. */
#include "host/objective.h"

#include <assert.h>
#include <string.h>
#include "host/base/names.h"
#include "kernels/contrastive.h"
#include "kernels/cross_entropy.h"
#include "kernels/linear_cross_entropy.h"
#include "kernels/matmul.h"
#include "kernels/pooling.h"
#include "kernels/rmsnorm.h"
#include "kernels/weight_gradient.h"

/* Rows of logits at a time: 64 rows of 50,000 are 13 MB, and the product has its full rate. */
#define CHUNK_ROWS 64

static const char *const names[] = {"classify", "next-token", "contrastive"};

bool objective_parse(enum objective_kind *kind, const char *word)
{
    int found = find_name(names, N_NAMES(names), word);
    if (found >= 0)
        *kind = (enum objective_kind)found;
    return found >= 0;
}

const char *objective_name(enum objective_kind kind)
{
    return names[kind];
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Carves the buffers off block, or with NULL only counts them. */
static size_t carve(struct objective *o, const struct model_config *config, int n_labels,
                    char *block)
{
    const struct objective_settings *s = &o->settings;
    size_t d = (size_t)config->hidden_size, texts = (size_t)s->n_texts;
    size_t tokens = (size_t)s->n_tokens, pairs = (size_t)s->largest_unit / 2;
    bool next = s->kind == OBJECTIVE_NEXT_TOKEN, contrast = s->kind == OBJECTIVE_CONTRASTIVE;
    bool classify = s->kind == OBJECTIVE_CLASSIFY;
    size_t normed = classify ? texts : tokens;
    size_t logits = classify ? texts * (size_t)n_labels
                    : next   ? (size_t)o->chunk_rows * (size_t)config->vocab_size
                             : 0;
    const struct {
        void *pointer;
        size_t count, size;
    } arrays[] = {
        {&o->pooled, next ? 0 : texts * d, sizeof(float)},
        {&o->dpooled, next ? 0 : texts * d, sizeof(float)},
        {&o->normed, normed * d, sizeof(float)},
        {&o->dnormed, normed * d, sizeof(float)},
        {&o->logits, logits, sizeof(float)},
        {&o->losses, next ? tokens : texts, sizeof(float)},
        {&o->scratch, contrast ? contrastive_scratch((int)pairs) : 0, sizeof(double)},
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        char *at = block ? block + used : NULL;
        memcpy(arrays[i].pointer, &at, sizeof at);
        used += (arrays[i].count * arrays[i].size + 63) / 64 * 64;
    }
    return used;
}

static int chunk_rows(const struct objective_settings *settings)
{
    return settings->n_tokens < CHUNK_ROWS ? settings->n_tokens : CHUNK_ROWS;
}

size_t objective_measure(const struct model_config *config, const struct lora_adapter *adapter,
                         const struct objective_settings *settings)
{
    struct objective objective = {.settings = *settings, .chunk_rows = chunk_rows(settings)};
    return carve(&objective, config, adapter->n_labels, NULL);
}

bool objective_has_output(const struct model_config *config, const struct weights *weights)
{
    return !config->tied_embeddings && weights_find(weights, "lm_head.weight") !=
                                           weights_find(weights, "model.embed_tokens.weight");
}

/* The embedding, or a matrix of its own. */
static enum status load_output(struct objective *o, const struct weights *weights, struct err *err)
{
    const struct llama *llama = o->llama;
    struct arena scratch = {0};
    o->output = llama->embedding;
    if (!objective_has_output(&llama->config, weights))
        return STATUS_OK;
    enum status status =
        dense_load(&o->output, weights, "lm_head.weight", llama->config.vocab_size,
                   llama->config.hidden_size, llama->embedding.type, &o->arena, &scratch, err);
    arena_free(&scratch);
    return status;
}

enum status objective_open(struct objective *objective, struct llama *llama,
                           struct lora_adapter *adapter, float *gradients,
                           const struct weights *weights, const struct objective_settings *settings,
                           struct err *err)
{
    *objective = (struct objective){
        .settings = *settings,
        .llama = llama,
        .adapter = adapter,
        .chunk_rows = chunk_rows(settings),
    };
    if (settings->kind == OBJECTIVE_CLASSIFY)
        objective->head_gradient =
            gradients ? gradients + (adapter->head - adapter->parameters) : NULL;
    size_t bytes = objective_measure(&llama->config, adapter, settings);
    char *block = arena_alloc(&objective->arena, bytes, 1);
    enum status status = STATUS_OK;
    if (!block)
        status = err_no_memory(err, "the losses", bytes);
    else
        carve(objective, &llama->config, adapter->n_labels, block);
    if (status == STATUS_OK && settings->kind == OBJECTIVE_NEXT_TOKEN)
        status = load_output(objective, weights, err);
    if (status != STATUS_OK)
        objective_close(objective);
    return status;
}

void objective_close(struct objective *objective)
{
    arena_free(&objective->arena);
    *objective = (struct objective){0};
}

/* ---- what all share ------------------------------------------------------------------------- */

static double sum_of(const float *losses, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += losses[i];
    return sum;
}

static struct dense_matrix head_of(const struct objective *o)
{
    return (struct dense_matrix){
        .type = PRECISION_F32,
        .data = o->adapter->head,
        .rows = o->adapter->n_labels,
        .columns = o->llama->config.hidden_size,
    };
}

static void clear(float *values, int rows, int columns)
{
    memset(values, 0, (size_t)rows * (size_t)columns * sizeof *values);
}

/* ---- classify ------------------------------------------------------------------------------- */

/* pooled, normed and logits of the batch's texts. */
static enum status classify_forward(struct objective *o, struct device *device,
                                    const struct objective_batch *batch, struct err *err)
{
    const struct dense_matrix head = head_of(o);
    const int32_t *begin = batch->texts.cu_seqlens;
    int n = batch->texts.n_texts, d = o->llama->config.hidden_size;
    assert(n <= o->settings.n_texts);
    TRY(pooling_fwd(device, o->pooled, o->llama->hidden, begin, begin + 1, n, d, POOL_LAST, err));
    TRY(llama_final_norm(o->llama, device, o->normed, o->pooled, n, err));
    return matmul_fwd(device, o->logits, o->normed, &head, n, false, err);
}

static int largest_of(const float *values, int n)
{
    int largest = 0;
    for (int i = 1; i < n; i++)
        if (values[i] > values[largest])
            largest = i;
    return largest;
}

static enum status classify(struct objective *o, struct device *device,
                            const struct objective_batch *batch, float weight, float *dhidden,
                            struct objective_result *result, struct err *err)
{
    const struct dense_matrix head = head_of(o);
    const int32_t *begin = batch->texts.cu_seqlens;
    int n = batch->texts.n_texts, d = o->llama->config.hidden_size, n_labels = head.rows;
    TRY(classify_forward(o, device, batch, err));
    for (int i = 0; i < n; i++)
        result->correct +=
            largest_of(o->logits + (size_t)i * (size_t)n_labels, n_labels) == batch->labels[i];
    TRY(cross_entropy(device, o->losses, dhidden ? o->logits : NULL, o->logits, batch->labels, n,
                      n_labels, weight, err));
    result->loss += sum_of(o->losses, n);
    if (!dhidden)
        return STATUS_OK;
    const float *dlogits = o->logits;
    TRY(weight_gradient(device, o->head_gradient, dlogits, o->normed, batch->text_units,
                        batch->n_units, n_labels, d, err));
    TRY(matmul_bwd_input(device, o->dnormed, dlogits, &head, n, false, err));
    TRY(rmsnorm_bwd(device, o->dpooled, o->dnormed, o->pooled, llama_final_norm_weight(o->llama), n,
                    d, o->llama->config.rms_norm_eps, false, err));
    clear(dhidden, batch->texts.n_tokens, d);
    return pooling_bwd(device, dhidden, o->dpooled, begin, begin + 1, n, batch->texts.n_tokens, d,
                       POOL_LAST, err);
}

/* ---- next token ----------------------------------------------------------------------------- */

static enum status next_token(struct objective *o, struct device *device,
                              const struct objective_batch *batch, float weight, float *dhidden,
                              struct objective_result *result, struct err *err)
{
    int t = batch->texts.n_tokens, d = o->llama->config.hidden_size;
    assert(t <= o->settings.n_tokens);
    TRY(llama_final_norm(o->llama, device, o->normed, o->llama->hidden, t, err));
    TRY(linear_cross_entropy(device, o->losses, dhidden ? o->dnormed : NULL, o->normed, &o->output,
                             batch->next, t, weight, o->logits, o->chunk_rows, err));
    result->loss += sum_of(o->losses, t);
    if (!dhidden)
        return STATUS_OK;
    return rmsnorm_bwd(device, dhidden, o->dnormed, o->llama->hidden,
                       llama_final_norm_weight(o->llama), t, d, o->llama->config.rms_norm_eps,
                       false, err);
}

/* ---- contrastive ---------------------------------------------------------------------------- */

static enum status contrast(struct objective *o, struct device *device,
                            const struct objective_batch *batch, float weight, float *dhidden,
                            struct objective_result *result, struct err *err)
{
    const struct llama_batch *texts = &batch->texts;
    int t = batch->texts.n_tokens, d = o->llama->config.hidden_size, n = texts->n_texts;
    assert(t <= o->settings.n_tokens && n <= o->settings.n_texts);
    TRY(llama_final_norm(o->llama, device, o->normed, o->llama->hidden, t, err));
    TRY(pooling_fwd(device, o->pooled, o->normed, batch->mean_begin, batch->mean_end, n, d,
                    POOL_MEAN, err));
    const uint8_t *excluded = batch->excluded;
    for (int unit = 0; unit < batch->n_units; unit++) {
        int first = batch->text_units[unit];
        int pairs = (batch->text_units[unit + 1] - first) / 2, positive = first + pairs;
        size_t anchors_at = (size_t)first * (size_t)d, positives_at = (size_t)positive * (size_t)d;
        TRY(contrastive(device, o->losses, dhidden ? o->dpooled + anchors_at : NULL,
                        dhidden ? o->dpooled + positives_at : NULL, o->pooled + anchors_at,
                        o->pooled + positives_at, excluded, pairs, d, o->settings.temperature,
                        weight, o->scratch, err));
        result->loss += sum_of(o->losses, pairs);
        excluded += (size_t)pairs * (size_t)pairs;
    }
    if (!dhidden)
        return STATUS_OK;
    clear(o->dnormed, t, d);
    TRY(pooling_bwd(device, o->dnormed, o->dpooled, batch->mean_begin, batch->mean_end, n, t, d,
                    POOL_MEAN, err));
    return rmsnorm_bwd(device, dhidden, o->dnormed, o->llama->hidden,
                       llama_final_norm_weight(o->llama), t, d, o->llama->config.rms_norm_eps,
                       false, err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status objective_run(struct objective *objective, struct device *device,
                          const struct objective_batch *batch, float weight, float *dhidden,
                          struct objective_result *result, struct err *err)
{
    switch (objective->settings.kind) {
    case OBJECTIVE_CLASSIFY:
        return classify(objective, device, batch, weight, dhidden, result, err);
    case OBJECTIVE_NEXT_TOKEN:
        return next_token(objective, device, batch, weight, dhidden, result, err);
    case OBJECTIVE_CONTRASTIVE:
        return contrast(objective, device, batch, weight, dhidden, result, err);
    }
    return err_set(err, STATUS_FAILED, "an objective that is none");
}
