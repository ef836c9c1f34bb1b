/* See model_config_write.h. */
#include "loaders/model_config_write.h"

/* ---- the class ------------------------------------------------------------------------------ */

/* What each class of transformers can say, and where it says it (model_config_json.c). */
static bool can_say(enum architecture architecture, const struct model_config *c)
{
    bool both = c->attention_bias == c->attention_output_bias;
    switch (architecture) {
    case ARCHITECTURE_LLAMA:
        return both && !c->head_norms && c->sliding_window == 0;
    case ARCHITECTURE_MISTRAL:
        return both && !c->attention_bias && !c->mlp_bias && !c->head_norms &&
               (c->sliding_window == 0 || c->first_window_layer == 0);
    case ARCHITECTURE_QWEN2:
        return c->attention_bias && !c->attention_output_bias && !c->mlp_bias && !c->head_norms;
    case ARCHITECTURE_QWEN3:
        return both && !c->mlp_bias && c->head_norms;
    }
    return false;
}

static const char *model_type(enum architecture architecture)
{
    switch (architecture) {
    case ARCHITECTURE_LLAMA:
        return "llama";
    case ARCHITECTURE_MISTRAL:
        return "mistral";
    case ARCHITECTURE_QWEN2:
        return "qwen2";
    case ARCHITECTURE_QWEN3:
        return "qwen3";
    }
    return "unknown";
}

/* The keys that are a family's own; 0, or -1 where there is no memory. */
static int set_extras(json_t *root, enum architecture architecture, const struct model_config *c)
{
    int failed = 0;
    bool windowed = c->sliding_window > 0;
    if (architecture == ARCHITECTURE_LLAMA || architecture == ARCHITECTURE_QWEN3)
        failed |= json_object_set_new(root, "attention_bias", json_boolean(c->attention_bias));
    if (architecture == ARCHITECTURE_LLAMA) {
        failed |= json_object_set_new(root, "mlp_bias", json_boolean(c->mlp_bias));
        return failed;
    }
    failed |= json_object_set_new(root, "sliding_window",
                                  windowed ? json_integer(c->sliding_window) : json_null());
    if (architecture == ARCHITECTURE_MISTRAL)
        return failed;
    failed |= json_object_set_new(root, "use_sliding_window", json_boolean(windowed));
    return failed |
           json_object_set_new(root, "max_window_layers", json_integer(c->first_window_layer));
}

/* ---- positions ------------------------------------------------------------------------------ */

static json_t *factors(const struct model_config *config)
{
    json_t *array = json_array();
    for (int i = 0; i < config->head_dim / 2; i++)
        if (json_array_append_new(array, json_real((double)config->rope.divisors[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

/* A JSON null for default positions. */
static json_t *rope_scaling(const struct model_config *config)
{
    const struct rope_config *rope = &config->rope;
    switch (rope->scaling) {
    case ROPE_DEFAULT:
        break;
    case ROPE_LINEAR:
        return json_pack("{s:s, s:f}", "rope_type", "linear", "factor", rope->factor);
    case ROPE_LLAMA3:
        return json_pack("{s:s, s:f, s:f, s:f, s:i}", "rope_type", "llama3", "factor", rope->factor,
                         "low_freq_factor", rope->low_frequency_factor, "high_freq_factor",
                         rope->high_frequency_factor, "original_max_position_embeddings",
                         rope->original_max_positions);
    case ROPE_DIVIDED:
        return json_pack("{s:s, s:o, s:o, s:f, s:f, s:i}", "rope_type", "longrope", "short_factor",
                         factors(config), "long_factor", factors(config), "factor", 1.0,
                         "attention_factor", 1.0, "original_max_position_embeddings",
                         config->max_positions);
    }
    return json_null();
}

/* ---- the whole ------------------------------------------------------------------------------ */

static json_t *as_class(const struct model_config *config, enum architecture architecture)
{
    json_t *root = json_pack(
        "{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:o, s:s, s:b}",
        "architectures", architecture_name(architecture), "model_type", model_type(architecture),
        "hidden_size", config->hidden_size, "intermediate_size", config->intermediate_size,
        "num_hidden_layers", config->n_layers, "num_attention_heads", config->n_heads,
        "num_key_value_heads", config->n_kv_heads, "head_dim", config->head_dim, "vocab_size",
        config->vocab_size, "max_position_embeddings", config->max_positions, "rms_norm_eps",
        (double)config->rms_norm_eps, "rope_theta", config->rope.theta, "rope_scaling",
        rope_scaling(config), "hidden_act", "silu", "tie_word_embeddings", config->tied_embeddings);
    if (root && set_extras(root, architecture, config) == 0)
        return root;
    json_decref(root);
    return NULL;
}

enum status model_config_to_json(json_t **out, const struct model_config *config, const char *path,
                                 struct err *err)
{
    const enum architecture order[] = {config->architecture, ARCHITECTURE_LLAMA,
                                       ARCHITECTURE_MISTRAL, ARCHITECTURE_QWEN2,
                                       ARCHITECTURE_QWEN3};
    *out = NULL;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (can_say(order[i], config)) {
            *out = as_class(config, order[i]);
            return *out ? STATUS_OK : err_no_memory(err, "config.json", 0);
        }
    return err_set(err, STATUS_BAD_DATA,
                   "%s: no model class of transformers has its biases and its window together, so "
                   "that no config.json can say what it is; use the .gguf as it is",
                   path);
}
