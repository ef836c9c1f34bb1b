/* Reading adapters. See lora_adapter.h. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "host/base/file.h"
#include "host/finite.h"
#include "host/lora_adapter.h"
#include "loaders/gguf_types.h"
#include "loaders/json.h"
#include "loaders/name_index.h"
#include "loaders/safetensors.h"

#define LABELS_LARGEST ((size_t)16 << 20) /* bytes */

struct loading {
    struct lora_adapter *adapter;
    const char *folder;
    const char *path; /* of the tensors */
    struct safetensors *file;
    struct name_index index;
    bool *used; /* each tensor of the file */
    struct arena arena;
    struct err *err;
};

/* ---- the folder ----------------------------------------------------------------------------- */

enum status lora_adapter_check(const char *path, struct err *err)
{
    struct stat there;
    if (strlen(path) + 64 > PATH_MAX)
        return err_set(err, STATUS_USAGE, "%s: the path is too long", path);
    if (stat(path, &there) != 0)
        return err_set(err, errno == ENOENT ? STATUS_MISSING : STATUS_RESOURCE,
                       "%s: %s; name the folder that PEFT or midashi train wrote", path,
                       strerror(errno));
    if (!S_ISDIR(there.st_mode))
        return err_set(err, STATUS_BAD_DATA,
                       "%s: not a folder; an adapter is a folder with " ADAPTER_CONFIG_FILE
                       " and " ADAPTER_WEIGHTS_FILE,
                       path);
    if (!file_is_in(path, ADAPTER_CONFIG_FILE) && file_is_in(path, "adapter/" ADAPTER_CONFIG_FILE))
        return err_set(err, STATUS_MISSING, "%s: no adapter here; did you mean %s/adapter?", path,
                       path);
    if (!file_is_in(path, ADAPTER_CONFIG_FILE))
        return err_set(err, STATUS_MISSING,
                       "%s: no adapter here, or one that was not finished: " ADAPTER_CONFIG_FILE
                       " is missing; name the folder that PEFT or midashi train wrote",
                       path);
    if (!file_is_in(path, ADAPTER_WEIGHTS_FILE) && file_is_in(path, "adapter_model.bin"))
        return err_set(err, STATUS_MISSING,
                       "%s: pickled weights (adapter_model.bin), which may hold code and are never "
                       "read; save the adapter with PEFT in safetensors",
                       path);
    return STATUS_OK;
}

/* ---- tensors -------------------------------------------------------------------------------- */

static enum status open_tensors(struct loading *loading, const char *folder)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/" ADAPTER_WEIGHTS_FILE, folder);
    TRY(safetensors_open(&loading->file, path, loading->err));
    loading->path = safetensors_path(loading->file);
    int n = safetensors_count(loading->file);
    loading->used = arena_alloc(&loading->arena, (size_t)n, sizeof *loading->used);
    if (!loading->used || !name_index_init(&loading->index, &loading->arena, n))
        return err_no_memory(loading->err, "the table of tensors", (size_t)n);
    for (int i = 0; i < n; i++) {
        const char *name = safetensors_at(loading->file, i)->name;
        loading->used[i] = false;
        loading->index.entries[i] = (struct name_entry){name, strlen(name), i};
        if (strncmp(name, LORA_NAME_PREFIX "layers.", strlen(LORA_NAME_PREFIX "layers.")) == 0)
            loading->adapter->base_names = true;
    }
    name_index_sort(&loading->index);
    return STATUS_OK;
}

/* NULL: not there. Counts as used. */
static const struct safetensors_tensor *find_tensor(struct loading *loading, const char *name)
{
    int i = name_index_find(&loading->index, name, strlen(name));
    if (i < 0)
        return NULL;
    loading->used[i] = true;
    return safetensors_at(loading->file, i);
}

static enum status missing(const struct loading *loading, const char *name)
{
    return err_set(loading->err, STATUS_BAD_DATA,
                   "%s: tensor %s: missing, though " ADAPTER_CONFIG_FILE
                   " asks for it; the two do not belong together: fetch both again",
                   loading->path, name);
}

/* A matrix (rows, columns) of a type that can be read. */
static enum status check_tensor(const struct loading *loading,
                                const struct safetensors_tensor *tensor, int64_t rows,
                                int64_t columns)
{
    const char *type = tensor->type_name;
    if (tensor->n_dims != 2)
        return err_set(loading->err, STATUS_BAD_DATA,
                       "%s: tensor %s: it has %d dimensions, not 2; the adapter cannot be used",
                       loading->path, tensor->name, tensor->n_dims);
    if (tensor->dims[0] != rows || tensor->dims[1] != columns)
        return err_set(
            loading->err, STATUS_BAD_DATA,
            "%s: tensor %s: its shape is %lld x %lld, but the model and " ADAPTER_CONFIG_FILE
            " ask for %lld x %lld; the adapter belongs to another "
            "model",
            loading->path, tensor->name, (long long)tensor->dims[0], (long long)tensor->dims[1],
            (long long)rows, (long long)columns);
    if (strcmp(type, "F32") != 0 && strcmp(type, "F16") != 0 && strcmp(type, "BF16") != 0)
        return err_set(loading->err, STATUS_BAD_DATA,
                       "%s: tensor %s: type %s is not read, only F32, F16 and BF16; save the "
                       "adapter again",
                       loading->path, tensor->name, type);
    return STATUS_OK;
}

/* PEFT's name of a part of a module. */
static const char *part_name(char name[LORA_NAME_SIZE + 32], const char *module, const char *part)
{
    snprintf(name, LORA_NAME_SIZE + 32, "%s.%s.weight", module, part);
    return name;
}

/* Ranks and scales of all modules, held against the tensors before anything is allocated. */
static enum status plan_modules(struct loading *loading)
{
    struct lora_adapter *adapter = loading->adapter;
    char module[LORA_NAME_SIZE], name[LORA_NAME_SIZE + 32];
    int n_targets = 0;
    for (int i = 0; i < adapter->n_layers * LORA_TARGETS; i++) {
        int layer = i / LORA_TARGETS, target = i % LORA_TARGETS;
        struct lora *lora = &adapter->layers[layer][target];
        lora_module_name(adapter, layer, target, module);
        TRY(adapter_config_module(&adapter->config, module + strlen(LORA_NAME_PREFIX), &lora->rank,
                                  &lora->scale, loading->err));
        if (lora->rank == 0)
            continue;
        n_targets++;
        const struct safetensors_tensor *a, *b;
        if (!(a = find_tensor(loading, part_name(name, module, "lora_A"))))
            return missing(loading, name);
        if (!(b = find_tensor(loading, part_name(name, module, "lora_B"))))
            return missing(loading, name);
        TRY(check_tensor(loading, a, lora->rank, lora->columns));
        TRY(check_tensor(loading, b, lora->rows, lora->rank));
    }
    if (n_targets == 0)
        return err_set(loading->err, STATUS_BAD_DATA,
                       "%s/" ADAPTER_CONFIG_FILE
                       ": target_modules: none of them is a matrix of this model's layers; the "
                       "adapter belongs to another model",
                       loading->folder);
    return STATUS_OK;
}

static enum status plan_head(struct loading *loading)
{
    struct lora_adapter *adapter = loading->adapter;
    if (!adapter->config.classifies)
        return STATUS_OK;
    const struct safetensors_tensor *head = find_tensor(loading, LORA_HEAD_NAME);
    if (!head)
        return missing(loading, LORA_HEAD_NAME);
    if (head->n_dims != 2 || head->dims[0] < 1 || head->dims[0] > INT_MAX)
        return err_set(loading->err, STATUS_BAD_DATA,
                       "%s: tensor %s: not one row for each label; the adapter cannot be used",
                       loading->path, head->name);
    TRY(check_tensor(loading, head, head->dims[0], adapter->hidden_size));
    adapter->n_labels = (int)head->dims[0];
    return STATUS_OK;
}

/* A tensor that has no place here would change the result. */
static enum status check_all_used(const struct loading *loading)
{
    for (int i = 0; i < safetensors_count(loading->file); i++) {
        const char *name = safetensors_at(loading->file, i)->name;
        if (loading->used[i])
            continue;
        const char *layers = strstr(name, "layers.");
        int layer;
        if (layers && sscanf(layers, "layers.%9d.", &layer) == 1 &&
            layer >= loading->adapter->n_layers)
            return err_set(loading->err, STATUS_BAD_DATA,
                           "%s: tensor %s: the model has %d layers, 0 to %d; the adapter belongs "
                           "to another model",
                           loading->path, name, loading->adapter->n_layers,
                           loading->adapter->n_layers - 1);
        return err_set(loading->err, STATUS_BAD_DATA,
                       "%s: tensor %s: it has no place in this model, or " ADAPTER_CONFIG_FILE
                       " does not ask for it; use the adapter with the model that it was made for, "
                       "or merge it with PEFT (merge_and_unload)",
                       loading->path, name);
    }
    return STATUS_OK;
}

static enum status read_tensor(const struct loading *loading, const char *name, float *out)
{
    int i = name_index_find(&loading->index, name, strlen(name));
    const struct safetensors_tensor *tensor = safetensors_at(loading->file, i);
    int64_t columns = tensor->dims[1];
    gguf_tensor_type_named(tensor->type_name)
        ->read(tensor->data, (size_t)(tensor->dims[0] * columns), out);
    for (int64_t row = 0; row < tensor->dims[0]; row++)
        if (!finite_f32(out + row * columns, columns))
            return err_set(loading->err, STATUS_BAD_DATA,
                           "%s: tensor %s: row %lld holds NaN or an infinity; the training "
                           "failed, or the file is damaged",
                           loading->path, name, (long long)row);
    return STATUS_OK;
}

static enum status read_tensors(struct loading *loading)
{
    struct lora_adapter *adapter = loading->adapter;
    char module[LORA_NAME_SIZE], name[LORA_NAME_SIZE + 32];
    float *at = adapter->parameters;
    for (int i = 0; i < adapter->n_layers * LORA_TARGETS; i++) {
        const struct lora *lora = &adapter->layers[i / LORA_TARGETS][i % LORA_TARGETS];
        if (lora->rank == 0)
            continue;
        lora_module_name(adapter, i / LORA_TARGETS, i % LORA_TARGETS, module);
        TRY(read_tensor(loading, part_name(name, module, "lora_A"), at));
        at += (int64_t)lora->rank * lora->columns;
        TRY(read_tensor(loading, part_name(name, module, "lora_B"), at));
        at += (int64_t)lora->rows * lora->rank;
    }
    if (adapter->head)
        TRY(read_tensor(loading, LORA_HEAD_NAME, adapter->head));
    return safetensors_check(loading->file, loading->err);
}

/* ---- labels --------------------------------------------------------------------------------- */

static enum status set_label(struct lora_adapter *adapter, int i, const char *label,
                             struct err *err)
{
    adapter->labels[i] = arena_text(&adapter->arena, label, strlen(label));
    return adapter->labels[i] ? STATUS_OK : err_no_memory(err, "a label", strlen(label));
}

static enum status take_labels(struct lora_adapter *adapter, const char *path, const json_t *list,
                               struct err *err)
{
    if (!json_is_array(list) || json_array_size(list) != (size_t)adapter->n_labels)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: not a list of %d names, one for each row of the head; fetch it again, "
                       "or delete it",
                       path, adapter->n_labels);
    for (int i = 0; i < adapter->n_labels; i++) {
        const char *label = json_string_value(json_array_get(list, (size_t)i));
        if (!label)
            return err_set(err, STATUS_BAD_DATA, "%s: label %d is not a string", path, i);
        TRY(set_label(adapter, i, label, err));
    }
    return STATUS_OK;
}

static enum status read_labels(struct loading *loading)
{
    struct lora_adapter *adapter = loading->adapter;
    size_t n = (size_t)adapter->n_labels;
    if (n == 0)
        return STATUS_OK;
    adapter->labels = arena_alloc(&adapter->arena, n, sizeof *adapter->labels);
    if (!adapter->labels)
        return err_no_memory(loading->err, "the labels", n * sizeof *adapter->labels);
    if (!file_is_in(loading->folder, ADAPTER_LABELS_FILE)) {
        for (int i = 0; i < adapter->n_labels; i++) {
            char label[32];
            snprintf(label, sizeof label, "LABEL_%d", i); /* transformers' */
            TRY(set_label(adapter, i, label, loading->err));
        }
        return STATUS_OK;
    }
    char path[PATH_MAX];
    json_t *list;
    snprintf(path, sizeof path, "%s/" ADAPTER_LABELS_FILE, loading->folder);
    TRY(json_read_file(&list, path, LABELS_LARGEST, 0, loading->err));
    enum status status = take_labels(adapter, path, list, loading->err);
    json_decref(list);
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static enum status load(struct loading *loading, const struct model_config *config)
{
    struct lora_adapter *adapter = loading->adapter;
    char path[PATH_MAX];
    TRY(lora_adapter_check(loading->folder, loading->err));
    snprintf(path, sizeof path, "%s/" ADAPTER_CONFIG_FILE, loading->folder);
    TRY(adapter_config_read(&adapter->config, path, loading->err));
    TRY(open_tensors(loading, loading->folder));
    TRY(lora_adapter_shape(adapter, config, loading->err));
    TRY(plan_modules(loading));
    TRY(plan_head(loading));
    TRY(check_all_used(loading));
    TRY(lora_adapter_carve(adapter, loading->err));
    TRY(read_tensors(loading));
    return read_labels(loading);
}

enum status lora_adapter_load(struct lora_adapter *adapter, const char *path,
                              const struct model_config *config, struct err *err)
{
    struct loading loading = {.adapter = adapter, .folder = path, .err = err};
    *adapter = (struct lora_adapter){0};
    enum status status = load(&loading, config);
    safetensors_close(loading.file);
    arena_free(&loading.arena);
    if (status != STATUS_OK)
        lora_adapter_free(adapter);
    return status;
}
