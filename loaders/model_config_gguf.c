/* The metadata of a GGUF. See model_config_internal.h. */
#include "loaders/model_config_internal.h"

#include <math.h>
#include <string.h>
#include "loaders/gguf.h"
#include "loaders/gguf_types.h"

static enum status gguf_architecture(const struct gguf *gguf, struct model_config *config,
                                     struct err *err)
{
    struct gguf_text name = {"(none)", 6};
    TRY(gguf_get_text(gguf, "general.architecture", &name, err));
    if (name.length != 5 || memcmp(name.text, "llama", 5) != 0)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: metadata general.architecture: %.*s is not supported; supported: llama",
                       gguf_path(gguf), name.length < 80 ? (int)name.length : 80, name.text);
    config->architecture = ARCHITECTURE_LLAMA;
    return STATUS_OK;
}

/* The keys must be absent, or have the value that means the plain Llama. */
static enum status gguf_refusals(const struct gguf *gguf, const struct model_config *config,
                                 struct err *err)
{
    const struct {
        const char *key;
        int64_t plain;
    } cases[] = {
        {"llama.expert_count", 0},
        {"llama.rope.dimension_count", config->head_dim},
        {"llama.attention.value_length", config->head_dim},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t value = cases[i].plain;
        TRY(gguf_get_integer(gguf, cases[i].key, &value, err));
        if (value != cases[i].plain)
            return err_set(
                err, STATUS_BAD_DATA, "%s: metadata %s: %lld is not supported; supported: %lld",
                gguf_path(gguf), cases[i].key, (long long)value, (long long)cases[i].plain);
    }
    return STATUS_OK;
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
    struct gguf_text type = {"none", 4};
    TRY(gguf_get_text(gguf, "llama.rope.scaling.type", &type, err));
    if (gguf_has(gguf, "llama.rope.scale_linear"))
        return err_set(err, STATUS_BAD_DATA,
                       "%s: metadata llama.rope.scale_linear: an old way to say linear scaling "
                       "that is not supported; convert the model again",
                       gguf_path(gguf));
    if (type.length == 6 && memcmp(type.text, "linear", 6) == 0) {
        rope->scaling = ROPE_LINEAR;
        TRY(gguf_get_number(gguf, "llama.rope.scaling.factor", &rope->factor, err));
        if (!(rope->factor > 0) || !isfinite(rope->factor))
            return err_set(err, STATUS_BAD_DATA,
                           "%s: metadata llama.rope.scaling.factor: missing, or not positive",
                           gguf_path(gguf));
    } else if (type.length != 4 || memcmp(type.text, "none", 4) != 0) {
        return err_set(err, STATUS_BAD_DATA,
                       "%s: metadata llama.rope.scaling.type: not supported; supported: none, "
                       "linear, and a tensor rope_freqs.weight",
                       gguf_path(gguf));
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
    TRY(gguf_get_integer(gguf, "llama.vocab_size", size, err));
    TRY(gguf_get_array(gguf, "tokenizer.ggml.tokens", &tokens, err));
    if (embedding && embedding->n_dims == 2)
        *size = embedding->dims[1];
    else if (*size == ABSENT && tokens.count > 0 && tokens.count <= INT64_MAX)
        *size = (int64_t)tokens.count;
    return STATUS_OK;
}

static enum status from_gguf(const struct gguf *gguf, struct model_config *config, struct err *err)
{
    static const char *const names[FIELDS] = {
        "llama.embedding_length",     "llama.feed_forward_length",     "llama.block_count",
        "llama.attention.head_count", "llama.attention.head_count_kv", "llama.attention.key_length",
        "llama.vocab_size",           "llama.context_length",
    };
    struct raw_config raw = {
        .path = gguf_path(gguf),
        .names = names,
        .eps_name = "llama.attention.layer_norm_rms_epsilon",
        .theta_name = "llama.rope.freq_base",
        .theta = 10000,
        .err = err,
    };
    TRY(gguf_architecture(gguf, config, err));
    for (int i = 0; i < FIELDS; i++) {
        raw.values[i] = ABSENT;
        TRY(gguf_get_integer(gguf, names[i], &raw.values[i], err));
    }
    TRY(gguf_vocab_size(gguf, &raw.values[VOCAB_SIZE], err));
    TRY(gguf_get_number(gguf, raw.eps_name, &raw.eps, err)); /* 0, which is refused, by default */
    TRY(gguf_get_number(gguf, raw.theta_name, &raw.theta, err));
    TRY(model_config_fill(&raw, config));
    TRY(gguf_refusals(gguf, config, err));
    config->tied_embeddings = !gguf_tensor_find(gguf, "output.weight");
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
