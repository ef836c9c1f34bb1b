/* See objective_cuda.h. */
#include "host/objective_cuda.h"

#include <assert.h>
#include "host/cuda_upload.h"
#include "host/llama_cuda_layer.h"
#include "kernels/contrastive.h"
#include "kernels/cross_entropy.h"
#include "kernels/head.h"
#include "kernels/linear_cross_entropy.h"
#include "kernels/pooling.h"
#include "kernels/rmsnorm.h"

/* Rows of logits at a time: the output matrix is read once for so many. */
#define CHUNK_ROWS 256

/* ---- memory --------------------------------------------------------------------------------- */

void objective_cuda_open(struct objective_cuda *objective, const struct llama *llama,
                         const struct cuda_adapter *adapter, bool own_output,
                         const struct objective_settings *settings)
{
    *objective = (struct objective_cuda){
        .settings = *settings,
        .llama = llama,
        .adapter = adapter,
        .own_output = own_output && settings->kind == OBJECTIVE_NEXT_TOKEN,
        .chunk_rows = settings->n_tokens < CHUNK_ROWS ? settings->n_tokens : CHUNK_ROWS,
    };
}

static void plan_classify(struct objective_cuda *o, size_t d, struct cuda_arena *arena)
{
    const struct lora_adapter *adapter = o->adapter->adapter;
    size_t texts = (size_t)o->settings.n_texts;
    o->head = o->adapter->parameters + (adapter->head - adapter->parameters);
    o->pooled = cuda_arena_take(arena, texts * d, sizeof(float));
    o->normed = cuda_arena_take(arena, texts * d, sizeof(float));
    o->dnormed = cuda_arena_take(arena, texts * d, sizeof(float));
    o->dpooled = cuda_arena_take(arena, texts * d, sizeof(float));
    o->logits = cuda_arena_take(arena, texts * (size_t)adapter->n_labels, sizeof(float));
    o->losses = cuda_arena_take(arena, texts, sizeof(float));
    o->correct = cuda_arena_take(arena, texts, sizeof(int32_t));
}

static void plan_next_token(struct objective_cuda *o, const struct model_config *config,
                            struct cuda_arena *arena)
{
    size_t tokens = (size_t)o->settings.n_tokens, d = (size_t)config->hidden_size;
    size_t v = (size_t)config->vocab_size;
    const void *embedding = o->llama->cuda ? o->llama->cuda->embedding : NULL;
    o->output = (struct dense_matrix){
        .type = PRECISION_BF16,
        .data = o->own_output ? cuda_arena_take(arena, v * d, sizeof(uint16_t)) : embedding,
        .rows = config->vocab_size,
        .columns = config->hidden_size,
    };
    o->normed = cuda_arena_take(arena, tokens * d, sizeof(uint16_t));
    o->dnormed = cuda_arena_take(arena, tokens * d, sizeof(uint16_t));
    o->logits = cuda_arena_take(arena, (size_t)o->chunk_rows * v, sizeof(uint16_t));
    o->losses = cuda_arena_take(arena, tokens, sizeof(float));
}

static void plan_contrastive(struct objective_cuda *o, size_t d, struct cuda_arena *arena)
{
    size_t texts = (size_t)o->settings.n_texts, tokens = (size_t)o->settings.n_tokens;
    o->pooled = cuda_arena_take(arena, texts * d, sizeof(float));
    o->dpooled = cuda_arena_take(arena, texts * d, sizeof(float));
    o->dnormed = cuda_arena_take(arena, tokens * d, sizeof(uint16_t));
    o->losses = cuda_arena_take(arena, texts, sizeof(float));
    o->scratch = cuda_arena_take(arena, contrastive_cuda_scratch(o->settings.largest_unit / 2),
                                 sizeof(double));
}

void objective_cuda_plan(struct objective_cuda *objective, const struct model_config *config,
                         struct cuda_arena *arena)
{
    switch (objective->settings.kind) {
    case OBJECTIVE_CLASSIFY:
        plan_classify(objective, (size_t)config->hidden_size, arena);
        break;
    case OBJECTIVE_NEXT_TOKEN:
        plan_next_token(objective, config, arena);
        break;
    case OBJECTIVE_CONTRASTIVE:
        plan_contrastive(objective, (size_t)config->hidden_size, arena);
        break;
    }
}

enum status objective_cuda_load_kernels(const struct objective_cuda *objective,
                                        struct cuda_device *cuda, struct err *err)
{
    TRY(cuda_load(cuda, "cross_entropy", err));
    switch (objective->settings.kind) {
    case OBJECTIVE_CLASSIFY:
        return cuda_load(cuda, "head", err);
    case OBJECTIVE_NEXT_TOKEN:
        TRY(cuda_load(cuda, "matmul", err));
        return cuda_load(cuda, "matmul_bwd", err);
    case OBJECTIVE_CONTRASTIVE:
        return cuda_load(cuda, "contrastive", err);
    }
    return STATUS_OK;
}

enum status objective_cuda_load_output(struct objective_cuda *o, struct device *device,
                                       const struct weights *weights, struct err *err)
{
    const struct model_config *c = &o->llama->config;
    const struct cuda_upload_sizes sizes = {.columns = c->hidden_size};
    struct cuda_arena measured = {0}; /* of the GPU's part none is used: nothing is quantised */
    struct cuda_upload upload = {0};
    if (!o->own_output)
        return STATUS_OK;
    cuda_upload_plan(&upload, &measured, &sizes);
    enum status status = cuda_upload_open(&upload, device, weights, err);
    if (status == STATUS_OK)
        status = cuda_upload_dense(&upload, "lm_head.weight", c->vocab_size, c->hidden_size,
                                   PRECISION_BF16, (void *)(uintptr_t)o->output.data, err);
    if (status == STATUS_OK)
        status = cuda_upload_end(&upload, err);
    cuda_upload_close(&upload);
    return status;
}

/* ---- classify ------------------------------------------------------------------------------- */

static enum status classify(const struct objective_cuda *o, struct device *device,
                            const struct objective_batch *batch, float weight, void *dhidden,
                            struct step_record *record, struct err *err)
{
    const int32_t *begin = batch->texts.cu_seqlens;
    int n = batch->texts.n_texts, n_labels = o->adapter->adapter->n_labels;
    int d = o->llama->config.hidden_size;
    float eps = o->llama->config.rms_norm_eps;
    const float *norm = o->llama->cuda->final_norm;
    assert(n <= o->settings.n_texts);
    TRY(pooling_fwd_cuda(device, o->pooled, o->llama->cuda->hidden, begin, begin + 1, n, d,
                         POOL_LAST, NULL, eps, err));
    TRY(rmsnorm_fwd_cuda(device, PRECISION_F32, o->normed, o->pooled, norm, n, d, eps, err));
    TRY(head_fwd_cuda(device, o->logits, o->normed, o->head, n, n_labels, d, err));
    TRY(cross_entropy_cuda(device, PRECISION_F32, o->losses, dhidden ? o->logits : NULL, o->logits,
                           batch->labels, o->correct, n, n_labels, weight, err));
    TRY(losses_total_cuda(device, record, o->losses, o->correct, n, err));
    if (!dhidden)
        return STATUS_OK;
    TRY(head_gradient_cuda(device, cuda_adapter_beside(o->adapter, o->gradients, o->head),
                           o->logits, o->normed, batch->text_units, batch->n_units, n_labels, d,
                           err));
    TRY(head_bwd_input_cuda(device, o->dnormed, o->logits, o->head, n, n_labels, d, err));
    TRY(rmsnorm_bwd_cuda(device, PRECISION_F32, o->dpooled, o->dnormed, o->pooled, norm, n, d, eps,
                         false, err));
    return pooling_bwd_cuda(device, dhidden, o->dpooled, begin, begin + 1, n, batch->texts.n_tokens,
                            d, POOL_LAST, false, err);
}

/* ---- next token ----------------------------------------------------------------------------- */

/* dhidden = dnormed through the final norm. */
static enum status final_norm_back(const struct objective_cuda *o, struct device *device,
                                   void *dhidden, int n_tokens, struct err *err)
{
    const struct llama_cuda *model = o->llama->cuda;
    return rmsnorm_bwd_cuda(device, PRECISION_BF16, dhidden, o->dnormed, model->hidden,
                            model->final_norm, n_tokens, o->llama->config.hidden_size,
                            o->llama->config.rms_norm_eps, false, err);
}

static enum status next_token(const struct objective_cuda *o, struct device *device,
                              const struct objective_batch *batch, float weight, void *dhidden,
                              struct step_record *record, struct err *err)
{
    int t = batch->texts.n_tokens;
    assert(t <= o->settings.n_tokens);
    TRY(llama_final_norm(o->llama, device, o->normed, o->llama->cuda->hidden, t, err));
    TRY(linear_cross_entropy_cuda(device, o->losses, dhidden ? o->dnormed : NULL, o->normed,
                                  &o->output, batch->next, t, weight, o->logits, o->chunk_rows,
                                  err));
    TRY(losses_total_cuda(device, record, o->losses, NULL, t, err));
    return dhidden ? final_norm_back(o, device, dhidden, t, err) : STATUS_OK;
}

/* ---- contrastive ---------------------------------------------------------------------------- */

static enum status contrast(const struct objective_cuda *o, struct device *device,
                            const struct objective_batch *batch, const int32_t *text_units,
                            float weight, void *dhidden, struct step_record *record,
                            struct err *err)
{
    int t = batch->texts.n_tokens, n = batch->texts.n_texts, d = o->llama->config.hidden_size;
    const uint8_t *excluded = batch->excluded;
    float *losses = o->losses;
    assert(t <= o->settings.n_tokens && n <= o->settings.n_texts);
    TRY(pooling_fwd_cuda(device, o->pooled, o->llama->cuda->hidden, batch->mean_begin,
                         batch->mean_end, n, d, POOL_MEAN, o->llama->cuda->final_norm,
                         o->llama->config.rms_norm_eps, err));
    for (int unit = 0; unit < batch->n_units; unit++) {
        int first = text_units[unit], pairs = (text_units[unit + 1] - first) / 2;
        size_t anchors = (size_t)first * (size_t)d, positives = anchors + (size_t)pairs * (size_t)d;
        TRY(contrastive_cuda(device, losses, dhidden ? o->dpooled + anchors : NULL,
                             dhidden ? o->dpooled + positives : NULL, o->pooled + anchors,
                             o->pooled + positives, excluded, pairs, d, o->settings.temperature,
                             weight, o->scratch, err));
        losses += pairs;
        excluded += (size_t)pairs * (size_t)pairs;
    }
    TRY(losses_total_cuda(device, record, o->losses, NULL, (int)(losses - o->losses), err));
    if (!dhidden)
        return STATUS_OK;
    TRY(pooling_bwd_cuda(device, o->dnormed, o->dpooled, batch->mean_begin, batch->mean_end, n, t,
                         d, POOL_MEAN, false, err));
    return final_norm_back(o, device, dhidden, t, err);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status objective_cuda_run(const struct objective_cuda *objective, struct device *device,
                               const struct objective_batch *batch, const int32_t *text_units,
                               float weight, void *dhidden, struct step_record *record,
                               struct err *err)
{
    switch (objective->settings.kind) {
    case OBJECTIVE_CLASSIFY:
        return classify(objective, device, batch, weight, dhidden, record, err);
    case OBJECTIVE_NEXT_TOKEN:
        return next_token(objective, device, batch, weight, dhidden, record, err);
    case OBJECTIVE_CONTRASTIVE:
        return contrast(objective, device, batch, text_units, weight, dhidden, record, err);
    }
    return err_set(err, STATUS_FAILED, "an objective that is none");
}
