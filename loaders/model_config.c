/* What a model is. See model_config.h. Two readers, config.json's and GGUF's, hand raw numbers to
 * one set of checks. */
#include "loaders/model_config.h"

#include <math.h>
#include "host/base/memory.h"
#include "loaders/model_config_internal.h"
#include "loaders/model_files.h"

#define LAYERS_LARGEST 4096

const char *architecture_name(enum architecture architecture)
{
    switch (architecture) {
    case ARCHITECTURE_LLAMA:
        return "LlamaForCausalLM";
    case ARCHITECTURE_MISTRAL:
        return "MistralForCausalLM";
    case ARCHITECTURE_QWEN2:
        return "Qwen2ForCausalLM";
    case ARCHITECTURE_QWEN3:
        return "Qwen3ForCausalLM";
    }
    return "unknown";
}

/* ---- checks --------------------------------------------------------------------------------- */

static enum status take_size(const struct raw_config *raw, enum field field, int64_t largest,
                             int *out)
{
    int64_t value = raw->values[field];
    if (value == ABSENT)
        return err_set(raw->err, STATUS_BAD_DATA, "%s: %s: missing; fetch the model again",
                       raw->path, raw->names[field]);
    if (value < 1 || value > largest)
        return err_set(raw->err, STATUS_BAD_DATA, "%s: %s: %lld is not within 1 and %lld",
                       raw->path, raw->names[field], (long long)value, (long long)largest);
    *out = (int)value;
    return STATUS_OK;
}

static enum status check_positive(const struct raw_config *raw, const char *name, double value)
{
    if (!(value > 0) || !isfinite(value))
        return err_set(raw->err, STATUS_BAD_DATA, "%s: %s: %g is not a positive number", raw->path,
                       name, value);
    return STATUS_OK;
}

static enum status check_heads(const struct raw_config *raw, struct model_config *config)
{
    if (raw->values[HEAD_DIM] == ABSENT) {
        if (config->hidden_size % config->n_heads != 0)
            return err_set(raw->err, STATUS_BAD_DATA, "%s: %s: %d does not divide %s %d", raw->path,
                           raw->names[HEADS], config->n_heads, raw->names[HIDDEN_SIZE],
                           config->hidden_size);
        config->head_dim = config->hidden_size / config->n_heads;
    } else {
        TRY(take_size(raw, HEAD_DIM, MODEL_SIZE_LARGEST, &config->head_dim));
    }
    if (config->head_dim % 2 != 0)
        return err_set(raw->err, STATUS_BAD_DATA, "%s: %s: %d is odd; rotation needs pairs",
                       raw->path, raw->names[HEAD_DIM], config->head_dim);
    if (config->n_heads % config->n_kv_heads != 0)
        return err_set(raw->err, STATUS_BAD_DATA, "%s: %s: %d does not divide %s %d", raw->path,
                       raw->names[KV_HEADS], config->n_kv_heads, raw->names[HEADS],
                       config->n_heads);
    if ((int64_t)config->n_heads * config->head_dim > MODEL_SIZE_LARGEST)
        return err_set(raw->err, STATUS_BAD_DATA, "%s: %s: %d times %s %d is more than %d",
                       raw->path, raw->names[HEADS], config->n_heads, raw->names[HEAD_DIM],
                       config->head_dim, MODEL_SIZE_LARGEST);
    return STATUS_OK;
}

enum status model_config_fill(const struct raw_config *raw, struct model_config *config)
{
    TRY(take_size(raw, HIDDEN_SIZE, MODEL_SIZE_LARGEST, &config->hidden_size));
    TRY(take_size(raw, INTERMEDIATE_SIZE, MODEL_SIZE_LARGEST, &config->intermediate_size));
    TRY(take_size(raw, LAYERS, LAYERS_LARGEST, &config->n_layers));
    TRY(take_size(raw, HEADS, MODEL_SIZE_LARGEST, &config->n_heads));
    if (raw->values[KV_HEADS] == ABSENT)
        config->n_kv_heads = config->n_heads;
    else
        TRY(take_size(raw, KV_HEADS, MODEL_SIZE_LARGEST, &config->n_kv_heads));
    TRY(check_heads(raw, config));
    TRY(take_size(raw, VOCAB_SIZE, MODEL_SIZE_LARGEST, &config->vocab_size));
    TRY(take_size(raw, MAX_POSITIONS, MODEL_SIZE_LARGEST, &config->max_positions));
    TRY(check_positive(raw, raw->eps_name, raw->eps));
    config->rms_norm_eps = (float)raw->eps;
    TRY(check_positive(raw, raw->eps_name, (double)config->rms_norm_eps));
    TRY(check_positive(raw, raw->theta_name, raw->theta));
    config->rope.theta = raw->theta;
    return STATUS_OK;
}

enum status model_config_unsupported(const char *path, const char *name, const char *value,
                                     const char *supported, struct err *err)
{
    return err_set(err, STATUS_BAD_DATA, "%s: %s: %.80s is not supported; supported: %s", path,
                   name, value, supported);
}

/* ---- reading --------------------------------------------------------------------------------- */

enum status model_config_read(struct model_config *config, const char *path, struct err *err)
{
    struct arena arena = {0};
    const char *file = NULL;
    bool is_gguf = false;
    *config = (struct model_config){0};
    enum status status = model_files_config(&arena, path, &file, &is_gguf, err);
    if (status == STATUS_OK)
        status = is_gguf ? model_config_read_gguf(config, file, err)
                         : model_config_read_json(config, file, err);
    arena_free(&arena);
    return status;
}
