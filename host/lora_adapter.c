/* Making and writing adapters. See lora_adapter.h; lora_adapter_load.c reads them. */
#include "host/lora_adapter.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "host/base/file.h"
#include "host/base/philox.h"
#include "host/output_folder.h"
#include "loaders/json.h"
#include "loaders/safetensors_writer.h"

/* ---- shapes --------------------------------------------------------------------------------- */

static const char *const target_names[LORA_TARGETS] = {
    [LORA_Q] = "self_attn.q_proj", [LORA_K] = "self_attn.k_proj", [LORA_V] = "self_attn.v_proj",
    [LORA_O] = "self_attn.o_proj", [LORA_GATE] = "mlp.gate_proj", [LORA_UP] = "mlp.up_proj",
    [LORA_DOWN] = "mlp.down_proj",
};

const char *lora_target_name(enum lora_target target)
{
    return target_names[target];
}

void lora_target_shape(const struct model_config *config, enum lora_target target, int *rows,
                       int *columns)
{
    int d = config->hidden_size, f = config->intermediate_size;
    int query = config->n_heads * config->head_dim, kv = config->n_kv_heads * config->head_dim;
    *columns = target == LORA_O ? query : target == LORA_DOWN ? f : d;
    *rows = target == LORA_Q                           ? query
            : target == LORA_K || target == LORA_V     ? kv
            : target == LORA_GATE || target == LORA_UP ? f
                                                       : d;
}

void lora_module_name(const struct lora_adapter *adapter, int layer, enum lora_target target,
                      char name[LORA_NAME_SIZE])
{
    snprintf(name, LORA_NAME_SIZE, LORA_NAME_PREFIX "%slayers.%d.%s",
             adapter->base_names ? "" : "model.", layer, target_names[target]);
}

enum status lora_adapter_shape(struct lora_adapter *adapter, const struct model_config *config,
                               struct err *err)
{
    adapter->n_layers = config->n_layers;
    adapter->hidden_size = config->hidden_size;
    size_t n = (size_t)config->n_layers;
    adapter->layers = arena_alloc(&adapter->arena, n, sizeof *adapter->layers);
    if (!adapter->layers)
        return err_no_memory(err, "the adapter's layers", n * sizeof *adapter->layers);
    memset(adapter->layers, 0, n * sizeof *adapter->layers);
    for (int layer = 0; layer < adapter->n_layers; layer++)
        for (int target = 0; target < LORA_TARGETS; target++) {
            struct lora *lora = &adapter->layers[layer][target];
            lora_target_shape(config, target, &lora->rows, &lora->columns);
        }
    return STATUS_OK;
}

enum status lora_adapter_carve(struct lora_adapter *adapter, struct err *err)
{
    int64_t n = (int64_t)adapter->n_labels * adapter->hidden_size;
    for (int layer = 0; layer < adapter->n_layers; layer++)
        for (int target = 0; target < LORA_TARGETS; target++) {
            const struct lora *lora = &adapter->layers[layer][target];
            n += lora->rank * ((int64_t)lora->rows + lora->columns);
            if (lora->rank > adapter->largest_rank)
                adapter->largest_rank = lora->rank;
        }
    adapter->n_parameters = n;
    adapter->parameters = arena_alloc(&adapter->arena, (size_t)n, sizeof(float));
    if (!adapter->parameters)
        return err_no_memory(err, "the adapter's parameters", (size_t)n * sizeof(float));
    float *at = adapter->parameters;
    for (int layer = 0; layer < adapter->n_layers; layer++)
        for (int target = 0; target < LORA_TARGETS; target++) {
            struct lora *lora = &adapter->layers[layer][target];
            if (lora->rank == 0)
                continue;
            lora->a = at;
            at += (int64_t)lora->rank * lora->columns;
            lora->b = at;
            at += (int64_t)lora->rows * lora->rank;
        }
    adapter->head = adapter->n_labels > 0 ? at : NULL;
    return STATUS_OK;
}

/* ---- a new adapter -------------------------------------------------------------------------- */

/* Steps of training count from 1. A tensor's stream is its target's place in the model, the head's
 * one behind the last. */
#define INITIAL_STEP 0

static void fill_uniform(float *x, int64_t n, float bound, uint64_t seed, uint32_t stream)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)((2 * philox_uniform(seed, INITIAL_STEP, stream, (uint64_t)i) - 1) *
                       (double)bound);
}

/* Box and Muller's: two uniform numbers make one of ours. */
static void fill_normal(float *x, int64_t n, double deviation, uint64_t seed, uint32_t stream)
{
    for (int64_t i = 0; i < n; i++) {
        double u = philox_uniform(seed, INITIAL_STEP, stream, 2 * (uint64_t)i);
        double v = philox_uniform(seed, INITIAL_STEP, stream, 2 * (uint64_t)i + 1);
        x[i] = (float)(deviation * sqrt(-2 * log(1 - u)) * cos(2 * M_PI * v));
    }
}

static void fill(struct lora_adapter *adapter, uint64_t seed)
{
    /* The one flat array is ours to write; struct lora borrows it. */
    float *at = adapter->parameters;
    for (int layer = 0; layer < adapter->n_layers; layer++)
        for (int target = 0; target < LORA_TARGETS; target++) {
            const struct lora *lora = &adapter->layers[layer][target];
            int64_t n_a = (int64_t)lora->rank * lora->columns;
            int64_t n_b = (int64_t)lora->rows * lora->rank;
            fill_uniform(at, n_a, 1 / sqrtf((float)lora->columns), seed,
                         (uint32_t)(layer * LORA_TARGETS + target));
            memset(at + n_a, 0, (size_t)n_b * sizeof *at);
            at += n_a + n_b;
        }
    fill_normal(at, (int64_t)adapter->n_labels * adapter->hidden_size, 0.02, seed,
                (uint32_t)(adapter->n_layers * LORA_TARGETS));
}

static enum status copy_labels(struct lora_adapter *adapter, const char *const *labels, int n,
                               struct err *err)
{
    adapter->n_labels = n;
    adapter->labels = arena_alloc(&adapter->arena, (size_t)n, sizeof *adapter->labels);
    if (!adapter->labels)
        return err_no_memory(err, "the labels", (size_t)n * sizeof *adapter->labels);
    for (int i = 0; i < n; i++) {
        adapter->labels[i] = arena_text(&adapter->arena, labels[i], strlen(labels[i]));
        if (!adapter->labels[i])
            return err_no_memory(err, "a label", strlen(labels[i]));
    }
    return STATUS_OK;
}

static enum status create(struct lora_adapter *adapter, const struct model_config *config,
                          const struct lora_settings *settings, uint64_t seed, struct err *err)
{
    static const char *const targets[] = {"q_proj",    "k_proj",  "v_proj",    "o_proj",
                                          "gate_proj", "up_proj", "down_proj", NULL};
    const struct adapter_settings file = {
        .rank = settings->rank,
        .alpha = settings->alpha,
        .dropout = settings->dropout,
        .rslora = settings->rslora,
        .task = settings->task,
        .targets = targets,
        .base_model = settings->base_model,
    };
    if (settings->rank < 1 || settings->rank > ADAPTER_RANK_LARGEST)
        return err_set(err, STATUS_USAGE, "--rank %d: give a whole number from 1 to %d",
                       settings->rank, ADAPTER_RANK_LARGEST);
    TRY(adapter_config_make(&adapter->config, &file, err));
    TRY(lora_adapter_shape(adapter, config, err));
    for (int layer = 0; layer < adapter->n_layers; layer++)
        for (int target = 0; target < LORA_TARGETS; target++) {
            struct lora *lora = &adapter->layers[layer][target];
            char name[LORA_NAME_SIZE];
            lora_module_name(adapter, layer, target, name);
            TRY(adapter_config_module(&adapter->config, name + strlen(LORA_NAME_PREFIX),
                                      &lora->rank, &lora->scale, err));
        }
    if (settings->n_labels > 0)
        TRY(copy_labels(adapter, settings->labels, settings->n_labels, err));
    TRY(lora_adapter_carve(adapter, err));
    fill(adapter, seed);
    return STATUS_OK;
}

enum status lora_adapter_create(struct lora_adapter *adapter, const struct model_config *config,
                                const struct lora_settings *settings, uint64_t seed,
                                struct err *err)
{
    assert((settings->task == ADAPTER_CLASSIFIES) == (settings->n_labels > 0));
    *adapter = (struct lora_adapter){0};
    enum status status = create(adapter, config, settings, seed, err);
    if (status != STATUS_OK)
        lora_adapter_free(adapter);
    return status;
}

void lora_adapter_free(struct lora_adapter *adapter)
{
    adapter_config_free(&adapter->config);
    arena_free(&adapter->arena);
    *adapter = (struct lora_adapter){0};
}

/* ---- writing -------------------------------------------------------------------------------- */

struct saving {
    const struct lora_adapter *adapter;
    const char *folder;
    struct out_file config, labels; /* labels: stream NULL without a head */
    struct safetensors_writer writer;
    struct arena arena; /* the table of tensors */
    struct err *err;
};

static const char *in_folder(char path[PATH_MAX], const char *folder, const char *name)
{
    snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return path;
}

static enum status write_json(struct saving *saving, struct out_file *file, const char *name,
                              const json_t *value)
{
    char path[PATH_MAX];
    TRY(out_file_open(file, in_folder(path, saving->folder, name), saving->err));
    if (json_dumpf(value, file->stream, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) != 0 &&
        !ferror(file->stream))
        return err_no_memory(saving->err, name, 0);
    fputc('\n', file->stream);
    return STATUS_OK;
}

static enum status write_labels(struct saving *saving)
{
    const struct lora_adapter *adapter = saving->adapter;
    if (adapter->n_labels == 0)
        return STATUS_OK;
    json_t *list = json_array();
    bool good = list;
    for (int i = 0; i < adapter->n_labels && good; i++)
        good = json_array_append_new(list, json_string(adapter->labels[i])) == 0;
    enum status status = good ? write_json(saving, &saving->labels, ADAPTER_LABELS_FILE, list)
                              : err_no_memory(saving->err, ADAPTER_LABELS_FILE, 0);
    json_decref(list);
    return status;
}

static const char *tensor_name(struct saving *saving, int layer, enum lora_target target,
                               const char *part)
{
    char module[LORA_NAME_SIZE], name[LORA_NAME_SIZE + 32];
    lora_module_name(saving->adapter, layer, target, module);
    int n = snprintf(name, sizeof name, "%s.%s.weight", module, part);
    return arena_text(&saving->arena, name, (size_t)n);
}

/* The tensors in the order of the flat array, with the place of each in it. */
static enum status write_tensors(struct saving *saving)
{
    const struct lora_adapter *adapter = saving->adapter;
    size_t most = (size_t)adapter->n_layers * LORA_TARGETS * 2 + 1;
    struct safetensors_entry *entries = arena_alloc(&saving->arena, most, sizeof *entries);
    const float **data = arena_alloc(&saving->arena, most, sizeof *data);
    int n = 0;
    bool good = entries && data;
    for (int i = 0; i < adapter->n_layers * LORA_TARGETS && good; i++) {
        int layer = i / LORA_TARGETS, target = i % LORA_TARGETS;
        const struct lora *lora = &adapter->layers[layer][target];
        if (lora->rank == 0)
            continue;
        data[n] = lora->a;
        entries[n++] = (struct safetensors_entry){
            tensor_name(saving, layer, target, "lora_A"), "F32", 2, {lora->rank, lora->columns}};
        data[n] = lora->b;
        entries[n++] = (struct safetensors_entry){
            tensor_name(saving, layer, target, "lora_B"), "F32", 2, {lora->rows, lora->rank}};
        good = entries[n - 2].name && entries[n - 1].name;
    }
    if (!good)
        return err_no_memory(saving->err, "the table of tensors", most * sizeof *entries);
    if (adapter->head) {
        data[n] = adapter->head;
        entries[n++] = (struct safetensors_entry){
            LORA_HEAD_NAME, "F32", 2, {adapter->n_labels, adapter->hidden_size}};
    }
    char path[PATH_MAX];
    TRY(safetensors_writer_open(&saving->writer,
                                in_folder(path, saving->folder, ADAPTER_WEIGHTS_FILE), entries, n,
                                saving->err));
    for (int i = 0; i < n; i++)
        TRY(safetensors_writer_put(&saving->writer, i, data[i], saving->err));
    return STATUS_OK;
}

/* The folder's file NAME has the bytes that `file` is going to have. */
static bool is_same(const struct saving *saving, const struct out_file *file, const char *name)
{
    char path[PATH_MAX];
    struct file_map old, new;
    if (!file->stream)
        return access(in_folder(path, saving->folder, name), F_OK) != 0;
    if (file_map(&old, in_folder(path, saving->folder, name), NULL) != STATUS_OK)
        return false;
    bool same = fflush(file->stream) == 0 && file_map(&new, file->temporary, NULL) == STATUS_OK;
    if (same) {
        same = old.size == new.size;
        same = same && memcmp(old.data, new.data, old.size) == 0;
        same &= file_map_check(&old, path, NULL) == STATUS_OK;
        file_unmap(&new);
    }
    file_unmap(&old);
    return same;
}

static enum status commit(struct saving *saving)
{
    char path[PATH_MAX];
    bool same = is_same(saving, &saving->config, ADAPTER_CONFIG_FILE) &&
                is_same(saving, &saving->labels, ADAPTER_LABELS_FILE);
    FILE *streams[] = {saving->config.stream, saving->labels.stream, saving->writer.file.stream};
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
        if (streams[i] && (fflush(streams[i]) != 0 || ferror(streams[i])))
            return err_set(saving->err, STATUS_RESOURCE, "%s: cannot write; is the disk full?",
                           saving->folder);
    if (!same) {
        unlink(in_folder(path, saving->folder, ADAPTER_CONFIG_FILE));
        unlink(in_folder(path, saving->folder, ADAPTER_LABELS_FILE));
    }
    TRY(safetensors_writer_commit(&saving->writer, saving->err));
    if (saving->labels.stream)
        TRY(out_file_commit(&saving->labels, saving->err));
    return out_file_commit(&saving->config, saving->err);
}

enum status lora_adapter_save(const struct lora_adapter *adapter, const char *folder,
                              struct err *err)
{
    struct saving saving = {.adapter = adapter, .folder = folder, .err = err};
    bool made = false;
    if (strlen(folder) + 64 > PATH_MAX)
        return err_set(err, STATUS_USAGE, "%s: the path is too long", folder);
    TRY(output_folder_make(folder, &made, err));
    enum status status =
        write_json(&saving, &saving.config, ADAPTER_CONFIG_FILE, adapter->config.json);
    if (status == STATUS_OK)
        status = write_labels(&saving);
    if (status == STATUS_OK)
        status = write_tensors(&saving);
    if (status == STATUS_OK)
        status = commit(&saving);
    out_file_discard(&saving.config);
    out_file_discard(&saving.labels);
    safetensors_writer_discard(&saving.writer);
    arena_free(&saving.arena);
    if (status != STATUS_OK && made)
        rmdir(folder);
    return status;
}
