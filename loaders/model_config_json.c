/* config.json, as transformers writes it. See model_config_internal.h. */
#include "loaders/model_config_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "loaders/json.h"
#include "loaders/json_members.h"
#include "loaders/model_refusals.h"

#define CONFIG_LARGEST (16 << 20) /* bytes */

/* ---- architectures -------------------------------------------------------------------------- */

/* How a family's files name it, and where its defaults in transformers differ. */
static const struct family {
    enum architecture architecture;
    const char *model_type;
    const char *stem;   /* of the classes' names: STEMForCausalLM, STEMModel, ... */
    int64_t n_kv_heads; /* ABSENT: as many as heads */
    int64_t head_dim;   /* ABSENT: hidden size / heads */
    int64_t max_positions;
} families[] = {
    {ARCHITECTURE_LLAMA, "llama", "Llama", ABSENT, ABSENT, 2048},
    {ARCHITECTURE_MISTRAL, "mistral", "Mistral", 8, ABSENT, 131072},
    {ARCHITECTURE_QWEN2, "qwen2", "Qwen2", 32, ABSENT, 32768},
    {ARCHITECTURE_QWEN3, "qwen3", "Qwen3", 32, 128, 32768},
};
#define N_FAMILIES (sizeof families / sizeof *families)

/* What stands on the layers, a head for tokens or for classes, is none of the layers' business. */
static bool is_class_of(const struct family *family, const char *name)
{
    static const char *const ends[] = {"ForCausalLM", "ForSequenceClassification", "Model"};
    size_t n = strlen(family->stem);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (strncmp(name, family->stem, n) == 0 && strcmp(name + n, ends[i]) == 0)
            return true;
    return false;
}

static enum status json_family(const struct json_members *object, const struct family **family)
{
    const json_t *list = json_member_find(object, "architectures");
    const char *name = json_string_value(json_array_get(list, 0)), *type = NULL;
    if (list && !name)
        return json_member_wrong_type(object, "architectures", "a list of names");
    if (!list)
        TRY(json_member_text(object, "model_type", &type));
    if (!list && !type)
        return err_set(object->err, STATUS_BAD_DATA,
                       "%s: architectures: missing; this is no model's config.json", object->path);
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (name ? is_class_of(&families[i], name) : strcmp(type, families[i].model_type) == 0) {
            *family = &families[i];
            return STATUS_OK;
        }
    return model_config_unsupported(object->path, "architectures", name ? name : type,
                                    "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, "
                                    "Qwen3ForCausalLM, and LlamaModel and so on",
                                    object->err);
}

/* What would change the arithmetic, and is not built. */
static enum status json_refusals(const struct json_members *object)
{
    bool causal = true;
    TRY(json_member_bool(object, "is_causal", &causal));
    if (!causal)
        return model_config_unsupported(object->path, "is_causal", "false", "true", object->err);
    const char *activation = "silu";
    TRY(json_member_text(object, "hidden_act", &activation));
    if (strcmp(activation, "silu") != 0)
        return model_config_unsupported(object->path, "hidden_act", activation, "silu",
                                        object->err);
    return STATUS_OK;
}

/* Which biases and norms there are. Keys that a family's class does not read mean nothing, as in
 * transformers; the tensors must agree in the end. */
static enum status json_extras(const struct json_members *object, struct model_config *config)
{
    bool attention = false, mlp = false;
    TRY(json_member_bool(object, "attention_bias", &attention));
    TRY(json_member_bool(object, "mlp_bias", &mlp));
    enum architecture a = config->architecture;
    bool read = a == ARCHITECTURE_LLAMA || a == ARCHITECTURE_QWEN3;
    config->attention_bias = a == ARCHITECTURE_QWEN2 || (read && attention);
    config->attention_output_bias = read && attention;
    config->mlp_bias = a == ARCHITECTURE_LLAMA && mlp;
    config->head_norms = a == ARCHITECTURE_QWEN3;
    return STATUS_OK;
}

/* ---- sliding window ------------------------------------------------------------------------- */

/* *first: how many full_attention stand before the first sliding_attention. */
static enum status json_layer_types(const struct json_members *object, int n_layers, int *first)
{
    const json_t *list = json_member_find(object, "layer_types");
    if (!json_is_array(list) || json_array_size(list) != (size_t)n_layers)
        return err_set(object->err, STATUS_BAD_DATA,
                       "%s: layer_types: not a list of num_hidden_layers %d names", object->path,
                       n_layers);
    *first = n_layers;
    for (int i = 0; i < n_layers; i++) {
        const char *type = json_string_value(json_array_get(list, (size_t)i));
        bool sliding = type && strcmp(type, "sliding_attention") == 0;
        if (!sliding && (!type || strcmp(type, "full_attention") != 0))
            return model_config_unsupported(object->path, "layer_types", type ? type : "no name",
                                            "full_attention, sliding_attention", object->err);
        if (!sliding && *first < i)
            return model_config_unsupported(object->path, "layer_types", "a mixture",
                                            "full_attention first, then sliding_attention",
                                            object->err);
        if (sliding && *first == n_layers)
            *first = i;
    }
    return STATUS_OK;
}

/* Mistral has the window in all blocks, Qwen in those from max_window_layers on, and only with
 * use_sliding_window. A silent file means 4096, null no window. */
static enum status json_window(const struct json_members *object, struct model_config *config)
{
    bool mistral = config->architecture == ARCHITECTURE_MISTRAL, used = mistral;
    bool qwen = !mistral && config->architecture != ARCHITECTURE_LLAMA;
    int64_t window = 4096, first = mistral ? 0 : 28;
    if (qwen) {
        TRY(json_member_bool(object, "use_sliding_window", &used));
        TRY(json_member_integer(object, "max_window_layers", &first));
    }
    TRY(json_member_integer(object, "sliding_window", &window));
    if (json_is_null(json_object_get(object->json, "sliding_window")))
        used = false;
    if (used && (window < 1 || window > MODEL_SIZE_LARGEST))
        return err_set(object->err, STATUS_BAD_DATA,
                       "%s: sliding_window: %lld is not within 1 and %d", object->path,
                       (long long)window, MODEL_SIZE_LARGEST);
    int n = config->n_layers, listed = n;
    config->sliding_window = used ? (int)window : 0;
    config->first_window_layer = !used || first > n ? n : first < 0 ? 0 : (int)first;
    if (!json_member_find(object, "layer_types"))
        return STATUS_OK;
    TRY(json_layer_types(object, n, &listed));
    if (qwen && used)
        config->first_window_layer = listed;
    if (listed != config->first_window_layer)
        return err_set(object->err, STATUS_BAD_DATA,
                       "%s: layer_types: they do not agree with sliding_window", object->path);
    return STATUS_OK;
}

/* ---- positions ------------------------------------------------------------------------------ */

static enum status rope_number(const struct json_members *object, const char *name, double *value)
{
    *value = 0; /* none has a default, and 0 is refused */
    TRY(json_member_number(object, name, value));
    if (!(*value > 0) || !isfinite(*value))
        return err_set(object->err, STATUS_BAD_DATA, "%s: %s%s: missing, or not positive",
                       object->path, object->place, name);
    return STATUS_OK;
}

static enum status json_llama3(const struct json_members *object, struct rope_config *rope,
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
    TRY(json_member_integer(object, "original_max_position_embeddings", &original));
    if (original < 1 || original > MODEL_SIZE_LARGEST)
        return err_set(object->err, STATUS_BAD_DATA,
                       "%s: %soriginal_max_position_embeddings: %lld is not within 1 and %d",
                       object->path, object->place, (long long)original, MODEL_SIZE_LARGEST);
    rope->original_max_positions = (int)original;
    return STATUS_OK;
}

/* The object that says how positions are turned: `rope_scaling`, with rope_theta beside it, or else
 * transformers 5's `rope_parameters`, with rope_theta inside. *inner has no JSON where neither
 * says anything. */
static enum status json_rope_object(const struct json_members *object, struct json_members *inner)
{
    static const char *const names[] = {"rope_scaling", "rope_parameters"};
    static const char *const places[] = {"rope_scaling.", "rope_parameters."};
    static const char *const nested[] = {"full_attention", "sliding_attention"};
    *inner = *object;
    inner->json = NULL;
    for (int i = 0; i < 2 && !inner->json; i++) {
        const json_t *json = json_member_find(object, names[i]);
        if (json && !json_is_object(json))
            return json_member_wrong_type(object, names[i], "an object");
        if (json_object_size(json) > 0) {
            inner->json = json;
            inner->place = places[i];
        }
    }
    for (int i = 0; i < 2; i++)
        if (json_member_find(inner, nested[i]))
            return err_set(object->err, STATUS_BAD_DATA,
                           "%s: %s%s: parameters for a kind of layer are not supported; "
                           "supported: one set for all",
                           object->path, inner->place, nested[i]);
    return STATUS_OK;
}

static enum status json_rope(const struct json_members *object, const struct raw_config *raw,
                             struct rope_config *rope, double *theta)
{
    struct json_members inner;
    double part = 1;
    const char *type = "default";
    TRY(json_rope_object(object, &inner));
    TRY(json_member_number(object, "rope_theta", theta));
    TRY(json_member_number(&inner, "rope_theta", theta));
    TRY(json_member_number(object, "partial_rotary_factor", &part));
    TRY(json_member_number(&inner, "partial_rotary_factor", &part));
    if (part != 1)
        return err_set(object->err, STATUS_BAD_DATA,
                       "%s: partial_rotary_factor: %g is not supported; supported: 1", object->path,
                       part);
    TRY(json_member_text(&inner, "type", &type));
    TRY(json_member_text(&inner, "rope_type", &type));
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
    if (strcmp(type, "longrope") == 0) {
        rope->scaling = ROPE_DIVIDED; /* json_divisors reads the rest */
        return STATUS_OK;
    }
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strlen(inner.place) - 1, inner.place);
    return model_config_unsupported(object->path, name, type, "default, linear, llama3, longrope",
                                    object->err);
}

/* How config.json can say what rope_freqs.weight says in a GGUF: `longrope` with the same factors
 * for short and long texts, which divides frequency i by factor i. What is longrope's own, factors
 * that change with a text's length and a scaled attention, is not built. */
static enum status json_divisors(const struct json_members *object, int head_dim,
                                 struct rope_config *rope)
{
    struct json_members inner;
    double attention = 0;
    int n = head_dim / 2;
    TRY(json_rope_object(object, &inner));
    TRY(json_member_number(&inner, "attention_factor", &attention));
    json_t *factors = json_object_get(inner.json, "long_factor");
    if (n > ROPE_DIVISORS_LARGEST || json_array_size(factors) != (size_t)n || attention != 1 ||
        !json_equal(factors, json_object_get(inner.json, "short_factor")))
        return err_set(object->err, STATUS_BAD_DATA,
                       "%s: %srope_type: longrope is supported with %d factors (at most %d), the "
                       "same in short_factor and long_factor, and an attention_factor of 1",
                       object->path, inner.place, n, ROPE_DIVISORS_LARGEST);
    for (int i = 0; i < n; i++) {
        rope->divisors[i] = (float)json_number_value(json_array_get(factors, (size_t)i));
        if (!(rope->divisors[i] > 0) || !isfinite(rope->divisors[i]))
            return err_set(object->err, STATUS_BAD_DATA,
                           "%s: %slong_factor: value %d is not positive", object->path, inner.place,
                           i);
    }
    return STATUS_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static enum status from_json(const struct json_members *object, struct model_config *config)
{
    static const char *const names[FIELDS] = {
        "hidden_size",         "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim",          "vocab_size",        "max_position_embeddings",
    };
    struct raw_config raw = {
        .path = object->path,
        .names = names,
        .eps_name = "rms_norm_eps",
        .eps = 1e-6,
        .theta_name = "rope_theta",
        .theta = 10000,
        .err = object->err,
    };
    const struct family *family = NULL;
    TRY(json_family(object, &family));
    config->architecture = family->architecture;
    TRY(json_refusals(object));
    for (int i = 0; i < FIELDS; i++)
        raw.values[i] = ABSENT;
    raw.values[HEAD_DIM] = family->head_dim;
    raw.values[MAX_POSITIONS] = family->max_positions;
    if (!json_object_get(object->json, names[KV_HEADS])) /* null means as many as heads */
        raw.values[KV_HEADS] = family->n_kv_heads;
    for (int i = 0; i < FIELDS; i++)
        TRY(json_member_integer(object, names[i], &raw.values[i]));
    TRY(json_member_number(object, "rms_norm_eps", &raw.eps));
    TRY(json_member_bool(object, "tie_word_embeddings", &config->tied_embeddings));
    TRY(json_rope(object, &raw, &config->rope, &raw.theta));
    TRY(model_config_fill(&raw, config));
    TRY(json_extras(object, config));
    if (config->rope.scaling == ROPE_DIVIDED)
        TRY(json_divisors(object, config->head_dim, &config->rope));
    return json_window(object, config);
}

enum status model_config_read_json(struct model_config *config, const char *path, struct err *err)
{
    json_t *json;
    TRY(json_read_file(&json, path, CONFIG_LARGEST, 0, err));
    enum status status = model_refuse_config(path, json, err);
    if (status == STATUS_OK)
        status = from_json(&(struct json_members){path, "", json, err}, config);
    json_decref(json);
    return status;
}
