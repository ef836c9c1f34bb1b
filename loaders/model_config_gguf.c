/* The metadata of a GGUF. See model_config_internal.h. */
#include "loaders/model_config_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "loaders/gguf.h"
#include "loaders/gguf_types.h"

/* A key of the file's architecture: "llama." and what is behind it. */
struct key {
    char text[64];
};

static const struct {
    const char *name;
    enum architecture architecture;
} architectures[] = {
    {"llama", ARCHITECTURE_LLAMA},
    {"qwen2", ARCHITECTURE_QWEN2},
    {"qwen3", ARCHITECTURE_QWEN3},
};
#define N_ARCHITECTURES (sizeof architectures / sizeof *architectures)

static struct key key_of(const struct model_config *config, const char *rest)
{
    struct key key = {""};
    for (size_t i = 0; i < N_ARCHITECTURES; i++)
        if (architectures[i].architecture == config->architecture)
            snprintf(key.text, sizeof key.text, "%s.%s", architectures[i].name, rest);
    return key;
}

static enum status gguf_architecture(const struct gguf *gguf, struct model_config *config,
                                     struct err *err)
{
    struct gguf_text name = {"(none)", 6};
    TRY(gguf_get_text(gguf, "general.architecture", &name, err));
    for (size_t i = 0; i < N_ARCHITECTURES; i++)
        if (name.length == strlen(architectures[i].name) &&
            memcmp(name.text, architectures[i].name, name.length) == 0) {
            config->architecture = architectures[i].architecture;
            return STATUS_OK;
        }
    return err_set(err, STATUS_BAD_DATA,
                   "%s: metadata general.architecture: %.*s is not supported; supported: llama, "
                   "qwen2, qwen3",
                   gguf_path(gguf), name.length < 80 ? (int)name.length : 80, name.text);
}

/* The keys must be absent, or have the value that means what midashi computes. */
static enum status gguf_refusals(const struct gguf *gguf, const struct model_config *config,
                                 struct err *err)
{
    const struct {
        const char *rest;
        int64_t plain;
    } cases[] = {
        {"expert_count", 0},
        {"rope.dimension_count", config->head_dim},
        {"attention.value_length", config->head_dim},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct key key = key_of(config, cases[i].rest);
        int64_t value = cases[i].plain;
        TRY(gguf_get_integer(gguf, key.text, &value, err));
        if (value != cases[i].plain)
            return err_set(err, STATUS_BAD_DATA,
                           "%s: metadata %s: %lld is not supported; supported: %lld",
                           gguf_path(gguf), key.text, (long long)value, (long long)cases[i].plain);
    }
    struct key causal = key_of(config, "attention.causal");
    struct key pattern = key_of(config, "attention.sliding_window_pattern");
    bool is_causal = true;
    TRY(gguf_get_bool(gguf, causal.text, &is_causal, err));
    if (!is_causal)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: metadata %s: false is not supported; supported: true", gguf_path(gguf),
                       causal.text);
    if (gguf_has(gguf, pattern.text))
        return err_set(err, STATUS_BAD_DATA,
                       "%s: metadata %s: not supported; supported: one window for all layers",
                       gguf_path(gguf), pattern.text);
    return STATUS_OK;
}

/* The window of all blocks; 0, or no such key, for none. */
static enum status gguf_window(const struct gguf *gguf, struct model_config *config,
                               struct err *err)
{
    struct key key = key_of(config, "attention.sliding_window");
    int64_t window = 0;
    TRY(gguf_get_integer(gguf, key.text, &window, err));
    if (window < 0 || window > MODEL_SIZE_LARGEST)
        return err_set(err, STATUS_BAD_DATA, "%s: metadata %s: %lld is not within 0 and %d",
                       gguf_path(gguf), key.text, (long long)window, MODEL_SIZE_LARGEST);
    config->sliding_window = (int)window;
    config->first_window_layer = window > 0 ? 0 : config->n_layers;
    return STATUS_OK;
}

static void gguf_extras(const struct gguf *gguf, struct model_config *config)
{
    config->tied_embeddings = !gguf_tensor_find(gguf, "output.weight");
    config->attention_bias =
        config->architecture == ARCHITECTURE_QWEN2 || gguf_tensor_find(gguf, "blk.0.attn_q.bias");
    config->attention_output_bias = gguf_tensor_find(gguf, "blk.0.attn_output.bias");
    config->mlp_bias = gguf_tensor_find(gguf, "blk.0.ffn_gate.bias");
    config->head_norms = config->architecture == ARCHITECTURE_QWEN3;
}

/* Llama 3's scaling comes as a tensor of divisors, one a frequency. */
static enum status gguf_divisors(const struct gguf *gguf, const struct model_config *config,
                                 struct rope_config *rope, struct err *err)
{
    const struct gguf_tensor *tensor = gguf_tensor_find(gguf, "rope_freqs.weight");
    if (!tensor)
        return STATUS_OK;
    const struct gguf_tensor_type *type = gguf_tensor_type((uint32_t)tensor->type);
    int n = config->head_dim / 2;
    if (tensor->n_dims != 1 || tensor->dims[0] != n || n > ROPE_DIVISORS_LARGEST ||
        strcmp(type->name, "F32") != 0)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: tensor rope_freqs.weight: expected %d values in F32, at most %d",
                       gguf_path(gguf), n, ROPE_DIVISORS_LARGEST);
    type->read(tensor->data, (size_t)n, rope->divisors);
    for (int i = 0; i < n; i++)
        if (!(rope->divisors[i] > 0) || !isfinite(rope->divisors[i]))
            return err_set(err, STATUS_BAD_DATA,
                           "%s: tensor rope_freqs.weight: value %d is not positive",
                           gguf_path(gguf), i);
    rope->scaling = ROPE_DIVIDED;
    return STATUS_OK;
}

static enum status gguf_rope(const struct gguf *gguf, const struct model_config *config,
                             struct rope_config *rope, struct err *err)
{
    struct key type_key = key_of(config, "rope.scaling.type");
    struct key factor_key = key_of(config, "rope.scaling.factor");
    struct key old_key = key_of(config, "rope.scale_linear");
    struct gguf_text type = {"none", 4};
    TRY(gguf_get_text(gguf, type_key.text, &type, err));
    if (gguf_has(gguf, old_key.text))
        return err_set(err, STATUS_BAD_DATA,
                       "%s: metadata %s: an old way to say linear scaling that is not supported; "
                       "convert the model again",
                       gguf_path(gguf), old_key.text);
    if (type.length == 6 && memcmp(type.text, "linear", 6) == 0) {
        rope->scaling = ROPE_LINEAR;
        TRY(gguf_get_number(gguf, factor_key.text, &rope->factor, err));
        if (!(rope->factor > 0) || !isfinite(rope->factor))
            return err_set(err, STATUS_BAD_DATA, "%s: metadata %s: missing, or not positive",
                           gguf_path(gguf), factor_key.text);
    } else if (type.length != 4 || memcmp(type.text, "none", 4) != 0) {
        return err_set(err, STATUS_BAD_DATA,
                       "%s: metadata %s: not supported; supported: none, linear, and a tensor "
                       "rope_freqs.weight",
                       gguf_path(gguf), type_key.text);
    }
    if (rope->scaling == ROPE_DEFAULT)
        return gguf_divisors(gguf, config, rope, err);
    if (gguf_tensor_find(gguf, "rope_freqs.weight"))
        return err_set(err, STATUS_BAD_DATA,
                       "%s: tensor rope_freqs.weight: not supported together with linear scaling",
                       gguf_path(gguf));
    return STATUS_OK;
}

/* The embedding matrix says how many ids there are; without it, the metadata. */
static enum status gguf_vocab_size(const struct gguf *gguf, int64_t *size, struct err *err)
{
    const struct gguf_tensor *embedding = gguf_tensor_find(gguf, "token_embd.weight");
    struct gguf_array tokens = {0};
    TRY(gguf_get_array(gguf, "tokenizer.ggml.tokens", &tokens, err));
    if (embedding && embedding->n_dims == 2)
        *size = embedding->dims[1];
    else if (*size == ABSENT && tokens.count > 0 && tokens.count <= INT64_MAX)
        *size = (int64_t)tokens.count;
    return STATUS_OK;
}

static enum status from_gguf(const struct gguf *gguf, struct model_config *config, struct err *err)
{
    static const char *const rests[FIELDS] = {
        "embedding_length",        "feed_forward_length",  "block_count", "attention.head_count",
        "attention.head_count_kv", "attention.key_length", "vocab_size",  "context_length",
    };
    TRY(gguf_architecture(gguf, config, err));
    struct key keys[FIELDS], eps_key = key_of(config, "attention.layer_norm_rms_epsilon");
    struct key theta_key = key_of(config, "rope.freq_base");
    const char *names[FIELDS];
    struct raw_config raw = {
        .path = gguf_path(gguf),
        .names = names,
        .eps_name = eps_key.text,
        .theta_name = theta_key.text,
        .theta = 10000,
        .err = err,
    };
    for (int i = 0; i < FIELDS; i++) {
        keys[i] = key_of(config, rests[i]);
        names[i] = keys[i].text;
        raw.values[i] = ABSENT;
        TRY(gguf_get_integer(gguf, names[i], &raw.values[i], err));
    }
    TRY(gguf_vocab_size(gguf, &raw.values[VOCAB_SIZE], err));
    TRY(gguf_get_number(gguf, raw.eps_name, &raw.eps, err)); /* 0, which is refused, by default */
    TRY(gguf_get_number(gguf, raw.theta_name, &raw.theta, err));
    TRY(model_config_fill(&raw, config));
    TRY(gguf_refusals(gguf, config, err));
    TRY(gguf_window(gguf, config, err));
    gguf_extras(gguf, config);
    return gguf_rope(gguf, config, &config->rope, err);
}

enum status model_config_read_gguf(struct model_config *config, const char *path, struct err *err)
{
    struct gguf *gguf;
    TRY(gguf_open(&gguf, path, err));
    enum status status = from_gguf(gguf, config, err);
    gguf_close(gguf);
    return status;
}
