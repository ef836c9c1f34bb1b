/* config.json, as transformers writes it. See model_config_internal.h. */
#include "loaders/model_config_internal.h"

#include <math.h>
#include <string.h>
#include "loaders/json_file.h"
#include "loaders/model_refusals.h"

#define CONFIG_LARGEST (16 << 20) /* bytes */

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
        return model_config_unsupported(object->path, "architectures", name, "LlamaForCausalLM",
                                        object->err);
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
            return model_config_unsupported(object->path, flags[i], "true", "false", object->err);
    }
    const char *activation = "silu";
    TRY(get_text(object, "hidden_act", &activation));
    if (strcmp(activation, "silu") != 0)
        return model_config_unsupported(object->path, "hidden_act", activation, "silu",
                                        object->err);
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
    if (original < 1 || original > MODEL_SIZE_LARGEST)
        return err_set(object->err, STATUS_BAD_DATA,
                       "%s: %soriginal_max_position_embeddings: %lld is not within 1 and %d",
                       object->path, object->place, (long long)original, MODEL_SIZE_LARGEST);
    rope->original_max_positions = (int)original;
    return STATUS_OK;
}

/* `rope_scaling`, with rope_theta beside it, or transformers 5's `rope_parameters`, with rope_theta
 * inside. */
static enum status json_rope(const struct object *object, const struct raw_config *raw,
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
    return model_config_unsupported(object->path, name, type, "default, linear, llama3",
                                    object->err);
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
    struct raw_config raw = {
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
    return model_config_fill(&raw, config);
}

enum status model_config_read_json(struct model_config *config, const char *path, struct err *err)
{
    json_t *json;
    TRY(json_file_read(&json, path, CONFIG_LARGEST, 0, err));
    enum status status = model_refuse_config(path, json, err);
    if (status == STATUS_OK)
        status = from_json(&(struct object){path, "", json, err}, config);
    json_decref(json);
    return status;
}
