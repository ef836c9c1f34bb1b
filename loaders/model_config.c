/* What a model is. See model_config.h. Two readers, config.json's and GGUF's, hand raw numbers to
 * one set of checks. */
#include "loaders/model_config.h"

#include <math.h>
#include <string.h>
#include "host/base/file.h"
#include "host/base/memory.h"
#include "loaders/gguf.h"
#include "loaders/gguf_types.h"
#include "loaders/json.h"
#include "loaders/model_files.h"

#define SIZE_LARGEST   ((1 << 24) - 1)
#define LAYERS_LARGEST 4096
#define ABSENT         INT64_MIN
#define CONFIG_LARGEST (16 << 20) /* bytes of a config.json */

const char *architecture_name(enum architecture architecture)
{
    switch (architecture) {
    case ARCHITECTURE_LLAMA:
        return "LlamaForCausalLM";
    }
    return "unknown";
}

/* ---- checks --------------------------------------------------------------------------------- */

/* The numbers of a file, ABSENT where it is silent. names: what the file calls each, for messages;
 * the order is that of the struct. */
enum field {
    HIDDEN_SIZE,
    INTERMEDIATE_SIZE,
    LAYERS,
    HEADS,
    KV_HEADS,
    HEAD_DIM,
    VOCAB_SIZE,
    MAX_POSITIONS,
    FIELDS,
};

struct raw {
    const char *path;
    const char *const *names; /* [FIELDS] */
    int64_t values[FIELDS];
    const char *eps_name, *theta_name;
    double eps, theta;
    struct err *err;
};

static enum status take_size(const struct raw *raw, enum field field, int64_t largest, int *out)
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

static enum status check_positive(const struct raw *raw, const char *name, double value)
{
    if (!(value > 0) || !isfinite(value))
        return err_set(raw->err, STATUS_BAD_DATA, "%s: %s: %g is not a positive number", raw->path,
                       name, value);
    return STATUS_OK;
}

static enum status check_heads(const struct raw *raw, struct model_config *config)
{
    if (raw->values[HEAD_DIM] == ABSENT) {
        if (config->hidden_size % config->n_heads != 0)
            return err_set(raw->err, STATUS_BAD_DATA, "%s: %s: %d does not divide %s %d", raw->path,
                           raw->names[HEADS], config->n_heads, raw->names[HIDDEN_SIZE],
                           config->hidden_size);
        config->head_dim = config->hidden_size / config->n_heads;
    } else {
        TRY(take_size(raw, HEAD_DIM, SIZE_LARGEST, &config->head_dim));
    }
    if (config->head_dim % 2 != 0)
        return err_set(raw->err, STATUS_BAD_DATA, "%s: %s: %d is odd; rotation needs pairs",
                       raw->path, raw->names[HEAD_DIM], config->head_dim);
    if (config->n_heads % config->n_kv_heads != 0)
        return err_set(raw->err, STATUS_BAD_DATA, "%s: %s: %d does not divide %s %d", raw->path,
                       raw->names[KV_HEADS], config->n_kv_heads, raw->names[HEADS],
                       config->n_heads);
    if ((int64_t)config->n_heads * config->head_dim > SIZE_LARGEST)
        return err_set(raw->err, STATUS_BAD_DATA, "%s: %s: %d times %s %d is more than %d",
                       raw->path, raw->names[HEADS], config->n_heads, raw->names[HEAD_DIM],
                       config->head_dim, SIZE_LARGEST);
    return STATUS_OK;
}

/* All but architecture, tied_embeddings and the scaling of positions. */
static enum status fill(const struct raw *raw, struct model_config *config)
{
    TRY(take_size(raw, HIDDEN_SIZE, SIZE_LARGEST, &config->hidden_size));
    TRY(take_size(raw, INTERMEDIATE_SIZE, SIZE_LARGEST, &config->intermediate_size));
    TRY(take_size(raw, LAYERS, LAYERS_LARGEST, &config->n_layers));
    TRY(take_size(raw, HEADS, SIZE_LARGEST, &config->n_heads));
    if (raw->values[KV_HEADS] == ABSENT)
        config->n_kv_heads = config->n_heads;
    else
        TRY(take_size(raw, KV_HEADS, SIZE_LARGEST, &config->n_kv_heads));
    TRY(check_heads(raw, config));
    TRY(take_size(raw, VOCAB_SIZE, SIZE_LARGEST, &config->vocab_size));
    TRY(take_size(raw, MAX_POSITIONS, SIZE_LARGEST, &config->max_positions));
    TRY(check_positive(raw, raw->eps_name, raw->eps));
    config->rms_norm_eps = (float)raw->eps;
    TRY(check_positive(raw, raw->eps_name, (double)config->rms_norm_eps));
    TRY(check_positive(raw, raw->theta_name, raw->theta));
    config->rope.theta = raw->theta;
    return STATUS_OK;
}

static enum status unsupported(const char *path, const char *name, const char *value,
                               const char *supported, struct err *err)
{
    return err_set(err, STATUS_BAD_DATA, "%s: %s: %.80s is not supported; supported: %s", path,
                   name, value, supported);
}

/* ---- config.json ---------------------------------------------------------------------------- */

/* An object of the file, and where it stands: "" or "rope_scaling.", for messages. */
struct object {
    const char *path, *place;
    const json_t *json;
    struct err *err;
};

/* NULL where it is absent or null, which mean the same in these files. */
static const json_t *get(const struct object *object, const char *name)
{
    const json_t *value = json_object_get(object->json, name);
    return json_is_null(value) ? NULL : value;
}

static enum status wrong_type(const struct object *object, const char *name, const char *wanted)
{
    return err_set(object->err, STATUS_BAD_DATA, "%s: %s%s: not %s", object->path, object->place,
                   name, wanted);
}

/* Each leaves *value as it is where the file is silent. */

static enum status get_integer(const struct object *object, const char *name, int64_t *value)
{
    const json_t *json = get(object, name);
    if (json && !json_is_integer(json))
        return wrong_type(object, name, "a whole number");
    if (json)
        *value = json_integer_value(json);
    return STATUS_OK;
}

static enum status get_number(const struct object *object, const char *name, double *value)
{
    const json_t *json = get(object, name);
    if (json && !json_is_number(json))
        return wrong_type(object, name, "a number");
    if (json)
        *value = json_number_value(json);
    return STATUS_OK;
}

static enum status get_bool(const struct object *object, const char *name, bool *value)
{
    const json_t *json = get(object, name);
    if (json && !json_is_boolean(json))
        return wrong_type(object, name, "true or false");
    if (json)
        *value = json_is_true(json);
    return STATUS_OK;
}

static enum status get_text(const struct object *object, const char *name, const char **value)
{
    const json_t *json = get(object, name);
    if (json && !json_is_string(json))
        return wrong_type(object, name, "a string");
    if (json)
        *value = json_string_value(json);
    return STATUS_OK;
}

static enum status json_architecture(const struct object *object, struct model_config *config)
{
    const json_t *list = get(object, "architectures");
    const char *name = json_string_value(json_array_get(list, 0));
    if (list && !name)
        return wrong_type(object, "architectures", "a list of names");
    if (!list) {
        TRY(get_text(object, "model_type", &name));
        if (!name)
            return err_set(object->err, STATUS_BAD_DATA,
                           "%s: architectures: missing; this is no model's config.json",
                           object->path);
        if (strcmp(name, "llama") == 0)
            name = "LlamaForCausalLM";
    }
    if (strcmp(name, "LlamaForCausalLM") != 0)
        return unsupported(object->path, "architectures", name, "LlamaForCausalLM", object->err);
    config->architecture = ARCHITECTURE_LLAMA;
    return STATUS_OK;
}

/* What would change the arithmetic, and is not built. */
static enum status json_refusals(const struct object *object)
{
    static const char *const flags[] = {"attention_bias", "mlp_bias"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bool set = false;
        TRY(get_bool(object, flags[i], &set));
        if (set)
            return unsupported(object->path, flags[i], "true", "false", object->err);
    }
    const char *activation = "silu";
    TRY(get_text(object, "hidden_act", &activation));
    if (strcmp(activation, "silu") != 0)
        return unsupported(object->path, "hidden_act", activation, "silu", object->err);
    return STATUS_OK;
}

static enum status rope_number(const struct object *object, const char *name, double *value)
{
    *value = 0; /* none has a default, and 0 is refused */
    TRY(get_number(object, name, value));
    if (!(*value > 0) || !isfinite(*value))
        return err_set(object->err, STATUS_BAD_DATA, "%s: %s%s: missing, or not positive",
                       object->path, object->place, name);
    return STATUS_OK;
}

static enum status json_llama3(const struct object *object, struct rope_config *rope,
                               int64_t max_positions)
{
    TRY(rope_number(object, "factor", &rope->factor));
    TRY(rope_number(object, "low_freq_factor", &rope->low_frequency_factor));
    TRY(rope_number(object, "high_freq_factor", &rope->high_frequency_factor));
    if (!(rope->low_frequency_factor < rope->high_frequency_factor))
        return err_set(object->err, STATUS_BAD_DATA,
                       "%s: %slow_freq_factor: %g is not below high_freq_factor %g", object->path,
                       object->place, rope->low_frequency_factor, rope->high_frequency_factor);
    int64_t original = max_positions;
    TRY(get_integer(object, "original_max_position_embeddings", &original));
    if (original < 1 || original > SIZE_LARGEST)
        return err_set(object->err, STATUS_BAD_DATA,
                       "%s: %soriginal_max_position_embeddings: %lld is not within 1 and %d",
                       object->path, object->place, (long long)original, SIZE_LARGEST);
    rope->original_max_positions = (int)original;
    return STATUS_OK;
}

/* `rope_scaling`, with rope_theta beside it, or transformers 5's `rope_parameters`, with rope_theta
 * inside. */
static enum status json_rope(const struct object *object, const struct raw *raw,
                             struct rope_config *rope, double *theta)
{
    TRY(get_number(object, "rope_theta", theta));
    const char *name = get(object, "rope_parameters") ? "rope_parameters" : "rope_scaling";
    const json_t *json = get(object, name);
    if (!json)
        return STATUS_OK;
    if (!json_is_object(json))
        return wrong_type(object, name, "an object");
    struct object inner = *object;
    inner.place = strcmp(name, "rope_scaling") == 0 ? "rope_scaling." : "rope_parameters.";
    inner.json = json;
    TRY(get_number(&inner, "rope_theta", theta));
    const char *type = "default";
    TRY(get_text(&inner, "type", &type));
    TRY(get_text(&inner, "rope_type", &type));
    if (strcmp(type, "default") == 0)
        return STATUS_OK;
    if (strcmp(type, "linear") == 0) {
        rope->scaling = ROPE_LINEAR;
        return rope_number(&inner, "factor", &rope->factor);
    }
    if (strcmp(type, "llama3") == 0) {
        rope->scaling = ROPE_LLAMA3;
        return json_llama3(&inner, rope, raw->values[MAX_POSITIONS]);
    }
    return unsupported(object->path, name, type, "default, linear, llama3", object->err);
}

static enum status json_partial_rotation(const struct object *object)
{
    double part = 1;
    TRY(get_number(object, "partial_rotary_factor", &part));
    struct object inner = *object;
    inner.json = json_object_get(object->json, "rope_parameters");
    inner.place = "rope_parameters.";
    TRY(get_number(&inner, "partial_rotary_factor", &part));
    if (part != 1)
        return err_set(object->err, STATUS_BAD_DATA,
                       "%s: partial_rotary_factor: %g is not supported; supported: 1", object->path,
                       part);
    return STATUS_OK;
}

static enum status from_json(const struct object *object, struct model_config *config)
{
    static const char *const names[FIELDS] = {
        "hidden_size",         "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim",          "vocab_size",        "max_position_embeddings",
    };
    struct raw raw = {
        .path = object->path,
        .names = names,
        .eps_name = "rms_norm_eps",
        .eps = 1e-6,
        .theta_name = "rope_theta",
        .theta = 10000,
        .err = object->err,
    };
    TRY(json_architecture(object, config));
    TRY(json_refusals(object));
    TRY(json_partial_rotation(object));
    for (int i = 0; i < FIELDS; i++) {
        raw.values[i] = i == MAX_POSITIONS ? 2048 : ABSENT;
        TRY(get_integer(object, names[i], &raw.values[i]));
    }
    TRY(get_number(object, "rms_norm_eps", &raw.eps));
    TRY(get_bool(object, "tie_word_embeddings", &config->tied_embeddings));
    TRY(json_rope(object, &raw, &config->rope, &raw.theta));
    return fill(&raw, config);
}

static enum status read_json(struct model_config *config, const char *path, struct err *err)
{
    struct file_map map;
    TRY(file_map(&map, path, err));
    enum status status;
    json_error_t error = {0};
    json_t *json = NULL;
    if (map.size > CONFIG_LARGEST) {
        status = err_set(err, STATUS_BAD_DATA, "%s: more than %d bytes; no model's config.json",
                         path, CONFIG_LARGEST);
    } else {
        status = json_parse(&json, (const char *)map.data, map.size, JSON_REJECT_DUPLICATES, &error,
                            path, err);
        if (status == STATUS_BAD_DATA)
            err_set(err, status, "%s: line %d: not good JSON: %s", path, error.line, error.text);
    }
    if (status == STATUS_OK)
        status = from_json(&(struct object){path, "", json, err}, config);
    json_decref(json);
    file_unmap(&map);
    return status;
}

/* ---- GGUF metadata -------------------------------------------------------------------------- */

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
    struct raw raw = {
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
    TRY(fill(&raw, config));
    TRY(gguf_refusals(gguf, config, err));
    config->tied_embeddings = !gguf_tensor_find(gguf, "output.weight");
    return gguf_rope(gguf, config, &config->rope, err);
}

static enum status read_gguf(struct model_config *config, const char *path, struct err *err)
{
    struct gguf *gguf;
    TRY(gguf_open(&gguf, path, err));
    enum status status = from_gguf(gguf, config, err);
    gguf_close(gguf);
    return status;
}

enum status model_config_read(struct model_config *config, const char *path, struct err *err)
{
    struct arena arena = {0};
    const char *file = NULL;
    bool is_gguf = false;
    *config = (struct model_config){0};
    enum status status = model_files_config(&arena, path, &file, &is_gguf, err);
    if (status == STATUS_OK)
        status = is_gguf ? read_gguf(config, file, err) : read_json(config, file, err);
    arena_free(&arena);
    return status;
}
