/* Reading adapter_config.json. See adapter_config.h; adapter_rules.c has the modules. */
#include "loaders/adapter_config.h"

#include <math.h>
#include <string.h>
#include "host/base/names.h"
#include "loaders/adapter_rules.h"
#include "loaders/json.h"
#include "loaders/json_members.h"

#define FILE_LARGEST ((size_t)1 << 20) /* bytes */

/* ---- what is not read ----------------------------------------------------------------------- */

#define MERGE_THERE "merge it there (merge_and_unload) and use the merged model"

/* Variants of LoRA that compute something else. Set means: neither null, false, 0 nor empty. */
static const struct {
    const char *key, *what;
} variants[] = {
    {"use_dora", "DoRA"},
    {"fan_in_fan_out", "weights stored as (in, out)"},
    {"lora_bias", "a bias of the adapter's own"},
    {"trainable_token_indices", "trained tokens of the embeddings"},
    {"megatron_config", "Megatron's parallel layers"},
    {"layer_replication", "replicated layers"},
    {"target_parameters", "adapters of parameters that are no modules"},
    {"use_qalora", "QALoRA"},
    {"use_bdlora", "BD-LoRA"},
    {"arrow_config", "Arrow routing"},
    {"kasa_config", "KaSA"},
    {"monteclora_config", "MonteCLoRA"},
    {"alora_invocation_tokens", "activated LoRA"},
};

/* Keys that are read below, or that change nothing once an adapter is trained. */
static const char *const known[] = {
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "modules_to_save",
    "task_type",
    "base_model_name_or_path",
    "peft_type",
    "bias",
    "init_lora_weights",
    "auto_mapping",
    "revision",
    "inference_mode",
    "peft_version",
    "megatron_core",
    "qalora_group_size",
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "velora_config",
    "runtime_config",
    "ensure_weight_tying",
};

static bool is_set(const json_t *value)
{
    if (json_is_string(value))
        return json_string_length(value) > 0;
    if (json_is_number(value))
        return json_number_value(value) != 0;
    return json_is_true(value) || json_array_size(value) > 0 || json_object_size(value) > 0;
}

static enum status refuse_variants(const struct json_members *file)
{
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
        if (is_set(json_object_get(file->json, variants[i].key)))
            return err_set(file->err, STATUS_BAD_DATA,
                           "%s: %s: %s is not supported, only plain LoRA; " MERGE_THERE, file->path,
                           variants[i].key, variants[i].what);
    return STATUS_OK;
}

static bool is_listed(const char *key)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(key, known[i]) == 0)
            return true;
    return false;
}

/* What a later PEFT adds may change what is computed. */
static enum status refuse_unknown(const struct json_members *file)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)file->json, key, value)
    {
        if (is_set(value) && !is_listed(key))
            return err_set(
                file->err, STATUS_BAD_DATA,
                "%s: %.80s: not known here; set it to null if it changes nothing that an adapter "
                "computes, else merge the adapter with PEFT (merge_and_unload)",
                file->path, key);
    }
    return STATUS_OK;
}

/* PEFT's folder holds the change against a base model that it changed before training. */
static enum status check_initial_values(const struct json_members *file)
{
    static const char *const harmless[] = {"gaussian", "eva", "orthogonal", "mica"};
    const json_t *value = json_member_find(file, "init_lora_weights");
    const char *name = json_string_value(value);
    if (!value || json_is_boolean(value))
        return STATUS_OK;
    for (size_t i = 0; name && i < sizeof harmless / sizeof *harmless; i++)
        if (strcmp(name, harmless[i]) == 0)
            return STATUS_OK;
    if (!name)
        return json_member_wrong_type(file, "init_lora_weights", "true, false or a name");
    return err_set(file->err, STATUS_BAD_DATA,
                   "%s: init_lora_weights: %.40s changes the base model's weights, which the "
                   "adapter then needs; save it with PEFT as plain LoRA "
                   "(path_initial_model_for_weight_conversion), or " MERGE_THERE,
                   file->path, name);
}

static const char *const task_names[] = {"SEQ_CLS", "CAUSAL_LM", "FEATURE_EXTRACTION"};

/* The kind of adapter first: of another kind, nothing else means what it says. */
static enum status check_kind(const struct json_members *file)
{
    const char *type = NULL, *bias = "none", *task = NULL;
    TRY(json_member_text(file, "peft_type", &type));
    TRY(json_member_text(file, "bias", &bias));
    TRY(json_member_text(file, "task_type", &task));
    if (!type)
        return err_set(file->err, STATUS_BAD_DATA,
                       "%s: peft_type: missing; this is not PEFT's adapter_config.json",
                       file->path);
    if (strcmp(type, "LORA") != 0)
        return err_set(file->err, STATUS_BAD_DATA,
                       "%s: peft_type: %.40s is not supported, only LORA; merge it there if it can "
                       "be merged, or train a LoRA",
                       file->path, type);
    TRY(refuse_variants(file));
    if (strcmp(bias, "none") != 0)
        return err_set(file->err, STATUS_BAD_DATA,
                       "%s: bias: %.40s is not supported, only none; " MERGE_THERE, file->path,
                       bias);
    if (task && find_name(task_names, N_NAMES(task_names), task) < 0)
        return err_set(file->err, STATUS_BAD_DATA,
                       "%s: task_type: %.40s is not supported, only SEQ_CLS, CAUSAL_LM and "
                       "FEATURE_EXTRACTION; use another adapter",
                       file->path, task);
    TRY(check_initial_values(file));
    return refuse_unknown(file);
}

/* ---- what is read --------------------------------------------------------------------------- */

/* PEFT saves `score` of any adapter for sequence classification, and lists `classifier` with it,
 * which is how other families call theirs. */
static enum status read_saved(const struct json_members *file, struct adapter_config *config)
{
    const json_t *list = json_member_find(file, "modules_to_save");
    const char *task = NULL;
    TRY(json_member_text(file, "task_type", &task));
    config->task = task ? (enum adapter_task)find_name(task_names, N_NAMES(task_names), task)
                        : ADAPTER_CONTINUES;
    config->classifies = config->task == ADAPTER_CLASSIFIES;
    if (list && !json_is_array(list))
        return json_member_wrong_type(file, "modules_to_save", "a list of names");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (!name)
            return json_member_wrong_type(file, "modules_to_save", "a list of names");
        if (strcmp(name, "score") == 0)
            config->classifies = true;
        else if (strcmp(name, "classifier") != 0)
            return err_set(file->err, STATUS_BAD_DATA,
                           "%s: modules_to_save: %.80s, trained whole, is not supported, only the "
                           "head (score); " MERGE_THERE,
                           file->path, name);
    }
    return STATUS_OK;
}

static enum status read_numbers(const struct json_members *file, struct adapter_config *config)
{
    int64_t rank = 8; /* PEFT's defaults */
    config->alpha = 8;
    TRY(json_member_integer(file, "r", &rank));
    TRY(json_member_number(file, "lora_alpha", &config->alpha));
    TRY(json_member_number(file, "lora_dropout", &config->dropout));
    TRY(json_member_bool(file, "use_rslora", &config->rslora));
    if (rank < 1 || rank > ADAPTER_RANK_LARGEST)
        return err_set(file->err, STATUS_BAD_DATA,
                       "%s: r: a rank of %lld is not within 1 and %d; use another adapter",
                       file->path, (long long)rank, ADAPTER_RANK_LARGEST);
    config->rank = (int)rank;
    if (!(config->dropout >= 0 && config->dropout <= 1))
        return err_set(file->err, STATUS_BAD_DATA, "%s: lora_dropout: %g is not within 0 and 1",
                       file->path, config->dropout);
    return STATUS_OK;
}

static enum status parse(struct adapter_config *config, const char *path, struct err *err)
{
    const struct json_members file = {path, "", config->json, err};
    if (!json_is_object(config->json))
        return err_set(err, STATUS_BAD_DATA, "%s: not an object", path);
    TRY(check_kind(&file));
    TRY(read_numbers(&file, config));
    TRY(read_saved(&file, config));
    return adapter_rules_open(&config->rules, &file, &config->arena);
}

enum status adapter_config_read(struct adapter_config *config, const char *path, struct err *err)
{
    *config = (struct adapter_config){0};
    enum status status = json_read_file(&config->json, path, FILE_LARGEST, 0, err);
    if (status == STATUS_OK)
        status = parse(config, path, err);
    if (status != STATUS_OK)
        adapter_config_free(config);
    return status;
}

/* A whole number as PEFT writes it, without a point. */
static json_t *number(double x)
{
    return x == floor(x) && fabs(x) < 1e15 ? json_integer((json_int_t)x) : json_real(x);
}

static json_t *names(const char *const *list)
{
    json_t *array = json_array();
    for (; *list; list++)
        if (json_array_append_new(array, json_string(*list)) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

enum status adapter_config_make(struct adapter_config *config,
                                const struct adapter_settings *settings, struct err *err)
{
    static const char *const head[] = {"classifier", "score", NULL};
    const char *base = settings->base_model;
    *config = (struct adapter_config){0};
    config->json = json_pack(
        "{s:{}, s:n, s:o, s:s, s:b, s:b, s:b, s:n, s:n, s:o, s:o, s:o, s:s, s:i, s:{}, s:n, s:o, "
        "s:s, s:b, s:b}",
        "alpha_pattern", "auto_mapping", "base_model_name_or_path",
        base ? json_string(base) : json_null(), "bias", "none", "fan_in_fan_out", false,
        "inference_mode", true, "init_lora_weights", true, "layers_pattern", "layers_to_transform",
        "lora_alpha", number(settings->alpha), "lora_dropout", json_real(settings->dropout),
        "modules_to_save", settings->task == ADAPTER_CLASSIFIES ? names(head) : json_null(),
        "peft_type", "LORA", "r", settings->rank, "rank_pattern", "revision", "target_modules",
        names(settings->targets), "task_type", task_names[settings->task], "use_dora", false,
        "use_rslora", settings->rslora);
    enum status status = config->json ? parse(config, ADAPTER_CONFIG_FILE, err)
                                      : err_no_memory(err, ADAPTER_CONFIG_FILE, 0);
    if (status != STATUS_OK)
        adapter_config_free(config);
    return status;
}

void adapter_config_free(struct adapter_config *config)
{
    adapter_rules_close(config->rules);
    json_decref(config->json);
    arena_free(&config->arena);
    *config = (struct adapter_config){0};
}

/* ---- modules -------------------------------------------------------------------------------- */

enum status adapter_config_module(const struct adapter_config *config, const char *module,
                                  int *rank, float *scale, struct err *err)
{
    bool targeted;
    double alpha = config->alpha;
    *rank = 0;
    *scale = 0;
    TRY(adapter_rules_target(config->rules, module, &targeted, err));
    if (!targeted)
        return STATUS_OK;
    *rank = config->rank;
    TRY(adapter_rules_override(config->rules, module, rank, &alpha, err));
    *scale = (float)(alpha / (config->rslora ? sqrt(*rank) : *rank));
    if (!isfinite(*scale))
        return err_set(err, STATUS_BAD_DATA, "%s: lora_alpha: %g for %.80s is too large",
                       adapter_rules_path(config->rules), alpha, module);
    return STATUS_OK;
}
