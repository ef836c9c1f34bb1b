/* Adapters of PEFT's on tiny models: what they compute, how they are written, and what is refused.
 * Golden numbers by tests/golden/make_peft_adapters.py. */
#include "tests/support.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "host/base/float16.h"
#include "host/base/memory.h"
#include "host/llama.h"
#include "host/lora_adapter.h"
#include "loaders/json.h"
#include "loaders/npy.h"
#include "loaders/safetensors.h"
#include "loaders/safetensors_writer.h"

/* ---- models --------------------------------------------------------------------------------- */

#define N_TEXTS 4
static const int lengths[N_TEXTS] = {1, 5, 17, 40};

struct model {
    struct model_config config;
    struct weights *weights;
    struct llama llama;
};

static const char *path_of(const char *folder, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return golden(path);
}

static void open_model(struct model *model, struct device *device, const char *family,
                       enum precision precision)
{
    struct err err = {0};
    const char *path = path_of("families", family);
    ck_assert_int_eq(model_config_read(&model->config, path, &err), STATUS_OK);
    ck_assert_int_eq(weights_open(&model->weights, path, &model->config, &err), STATUS_OK);
    ck_assert_msg(llama_load(&model->llama, device, model->weights, &model->config, precision,
                             model->config.n_layers, 40, 64, NULL, NULL, &err) == STATUS_OK,
                  "%s", err.text);
}

static void close_model(struct model *model)
{
    llama_free(&model->llama);
    weights_close(model->weights);
}

struct last_states {
    const struct model *model;
    struct device *device;
    float *states;
};

static enum status keep_last(void *context, int layer, const void *hidden, int n_tokens,
                             struct err *err)
{
    struct last_states *last = context;
    if (layer < last->model->config.n_layers)
        return STATUS_OK;
    return llama_final_norm(&last->model->llama, last->device, last->states, hidden, n_tokens, err);
}

/* The last hidden states of the golden texts (T, D), or of one alone; the caller frees. */
static float *run(struct model *model, struct device *device, int first, int n_texts)
{
    int32_t tokens[64], positions[64], cu_seqlens[N_TEXTS + 1] = {0};
    for (int t = 0; t < n_texts; t++) {
        int begin = cu_seqlens[t], n = lengths[first + t];
        for (int i = 0; i < n; i++) {
            tokens[begin + i] = (7 * i * i + 13 * i + 31 * n + 5) % 256;
            positions[begin + i] = i;
        }
        cu_seqlens[t + 1] = begin + n;
    }
    size_t size = (size_t)cu_seqlens[n_texts] * (size_t)model->config.hidden_size;
    struct last_states last = {model, device, malloc(size * sizeof(float))};
    struct llama_batch batch = {tokens, positions, cu_seqlens, n_texts, cu_seqlens[n_texts]};
    struct err err = {0};
    ck_assert_msg(llama_forward(&model->llama, device, &batch, model->config.n_layers, keep_last,
                                &last, &err) == STATUS_OK,
                  "%s", err.text);
    return last.states;
}

static void load(struct lora_adapter *adapter, const char *folder, const struct model *model)
{
    struct err err = {0};
    ck_assert_msg(lora_adapter_load(adapter, folder, &model->config, &err) == STATUS_OK, "%s",
                  err.text);
}

/* ---- against PEFT --------------------------------------------------------------------------- */

static const struct {
    const char *adapter, *model, *states;
    enum precision precision;
} cases[] = {
    {"plain", "llama", "plain.npy", PRECISION_F32},
    {"plain", "llama", "plain_nf4.npy", PRECISION_NF4},
    {"rslora", "qwen2", "rslora.npy", PRECISION_F32},
    {"patterns", "qwen3", "patterns.npy", PRECISION_F32},
    {"patterns_rslora", "llama", "patterns_rslora.npy", PRECISION_F32},
    {"subset", "llama", "subset.npy", PRECISION_F32},
    {"layers", "qwen2", "layers.npy", PRECISION_F32},
    {"layers_any", "qwen2", "layers_any.npy", PRECISION_F32},
    {"classifier", "llama", "classifier.npy", PRECISION_F32},
    {"base", "mistral", "base.npy", PRECISION_F32},
};

/* The largest error of a row, relative to its length. */
static double worst_row(const float *got, const char *golden_name)
{
    struct npy npy;
    struct err err;
    double worst = 0;
    ck_assert_msg(npy_open(&npy, path_of("peft", golden_name), &err) == STATUS_OK, "%s", err.text);
    const float *want = npy.data;
    size_t d = (size_t)npy.columns;
    for (size_t row = 0; row < (size_t)npy.rows; row++) {
        double error = 0, norm = 0;
        for (size_t j = row * d; j < (row + 1) * d; j++) {
            double difference = (double)got[j] - (double)want[j];
            error += difference * difference;
            norm += (double)want[j] * (double)want[j];
        }
        if (!(sqrt(error / norm) <= worst))
            worst = sqrt(error / norm);
    }
    npy_close(&npy);
    return worst;
}

START_TEST(adapter_computes_what_peft_computes)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        struct model model;
        struct lora_adapter adapter;
        struct err err;
        open_model(&model, &device, cases[_i].model, cases[_i].precision);
        load(&adapter, path_of("peft", cases[_i].adapter), &model);
        float *without = run(&model, &device, 0, N_TEXTS);
        ck_assert_int_eq(llama_set_adapter(&model.llama, &adapter, &err), STATUS_OK);
        float *with = run(&model, &device, 0, N_TEXTS);
        /* NF4's embeddings are BF16, which holds those of the golden models. */
        double worst = worst_row(with, cases[_i].states);
        ck_assert_msg(worst <= 1e-4, "%s, %s: %g", cases[_i].adapter, test_device_name(&device),
                      worst);
        ck_assert_msg(worst_row(without, cases[_i].states) > 1e-2, "the adapter does nothing");
        for (int t = 0, row = 0; t < N_TEXTS; row += lengths[t++]) {
            float *alone = run(&model, &device, t, 1);
            size_t d = (size_t)model.config.hidden_size;
            ck_assert_mem_eq(alone, with + (size_t)row * d, (size_t)lengths[t] * d * sizeof *alone);
            free(alone);
        }
        ck_assert_int_eq(llama_set_adapter(&model.llama, NULL, &err), STATUS_OK);
        float *again = run(&model, &device, 0, N_TEXTS);
        ck_assert_mem_eq(again, without, 63 * (size_t)model.config.hidden_size * sizeof *again);
        free(without), free(with), free(again);
        lora_adapter_free(&adapter);
        close_model(&model);
        device_close(&device);
    }
}
END_TEST

START_TEST(head_gives_the_logits_of_peft)
{
    struct device device;
    struct model model;
    struct lora_adapter adapter;
    struct err err;
    test_device(0, &device);
    open_model(&model, &device, "llama", PRECISION_F32);
    load(&adapter, path_of("peft", "classifier"), &model);
    ck_assert_int_eq(adapter.n_labels, 3);
    ck_assert_str_eq(adapter.labels[2], "LABEL_2");
    ck_assert_int_eq(llama_set_adapter(&model.llama, &adapter, &err), STATUS_OK);
    float *states = run(&model, &device, 0, N_TEXTS), logits[N_TEXTS * 3];
    size_t d = (size_t)model.config.hidden_size;
    for (int t = 0, row = 0; t < N_TEXTS; t++) {
        row += lengths[t];
        for (int c = 0; c < 3; c++) {
            double sum = 0;
            for (size_t j = 0; j < d; j++)
                sum += (double)states[(size_t)(row - 1) * d + j] *
                       (double)adapter.head[(size_t)c * d + j];
            logits[t * 3 + c] = (float)sum;
        }
    }
    double worst = worst_row(logits, "classifier_logits.npy");
    ck_assert_msg(worst <= 1e-4, "%g", worst);
    free(states);
    lora_adapter_free(&adapter);
    close_model(&model);
    device_close(&device);
}
END_TEST

/* ---- files ---------------------------------------------------------------------------------- */

static struct model_config config_of(const char *family)
{
    struct model_config config;
    struct err err;
    ck_assert_int_eq(model_config_read(&config, path_of("families", family), &err), STATUS_OK);
    return config;
}

static void folder_path(char path[PATH_MAX], const char *name)
{
    snprintf(path, PATH_MAX, "%s/%s", temporary_folder(), name);
}

START_TEST(adapter_is_written_as_it_was_read)
{
    const struct model_config config = config_of(cases[_i].model);
    struct lora_adapter adapter, again;
    struct err err = {0};
    char folder[PATH_MAX];
    folder_path(folder, "a");
    ck_assert_int_eq(lora_adapter_load(&adapter, path_of("peft", cases[_i].adapter), &config, &err),
                     STATUS_OK);
    ck_assert_msg(lora_adapter_save(&adapter, folder, &err) == STATUS_OK, "%s", err.text);
    ck_assert_msg(lora_adapter_load(&again, folder, &config, &err) == STATUS_OK, "%s", err.text);
    ck_assert_int_eq(again.n_parameters, adapter.n_parameters);
    ck_assert_mem_eq(again.parameters, adapter.parameters,
                     (size_t)adapter.n_parameters * sizeof(float));
    ck_assert(json_equal(again.config.json, adapter.config.json));
    ck_assert_int_eq(again.base_names, adapter.base_names);
    for (int layer = 0; layer < config.n_layers; layer++)
        for (int target = 0; target < LORA_TARGETS; target++) {
            ck_assert_int_eq(again.layers[layer][target].rank, adapter.layers[layer][target].rank);
            ck_assert(again.layers[layer][target].scale == adapter.layers[layer][target].scale);
        }
    lora_adapter_free(&again);
    lora_adapter_free(&adapter);
}
END_TEST

static const char *const labels[] = {"sea", "カ\"タ\\", ""};
static const struct lora_settings new_settings = {.rank = 4,
                                                  .alpha = 6,
                                                  .dropout = 0.1,
                                                  .rslora = true,
                                                  .task = ADAPTER_CLASSIFIES,
                                                  .n_labels = 3,
                                                  .labels = labels};

static void create(struct lora_adapter *adapter, const struct model_config *config, uint64_t seed)
{
    struct err err = {0};
    ck_assert_msg(lora_adapter_create(adapter, config, &new_settings, seed, &err) == STATUS_OK,
                  "%s", err.text);
}

START_TEST(new_adapter_has_initial_values)
{
    const struct model_config config = config_of("llama");
    struct lora_adapter adapter, twin, other;
    create(&adapter, &config, 1);
    create(&twin, &config, 1);
    create(&other, &config, 2);
    size_t bytes = (size_t)adapter.n_parameters * sizeof(float);
    ck_assert_mem_eq(adapter.parameters, twin.parameters, bytes);
    ck_assert(memcmp(adapter.parameters, other.parameters, bytes) != 0);
    ck_assert_ptr_eq(adapter.layers[0][LORA_Q].a, adapter.parameters);
    const float *end = adapter.parameters;
    for (int layer = 0; layer < config.n_layers; layer++)
        for (int target = 0; target < LORA_TARGETS; target++) {
            const struct lora *lora = &adapter.layers[layer][target];
            double bound = 1 / sqrt(lora->columns), squares = 0;
            int n = lora->rank * lora->columns;
            ck_assert_ptr_eq(lora->a, end);
            for (int i = 0; i < n; i++) {
                ck_assert(fabs((double)lora->a[i]) <= bound * (1 + 1e-6));
                squares += (double)lora->a[i] * (double)lora->a[i];
            }
            ck_assert_double_lt(fabs(squares / n * 3 / (bound * bound) - 1), 0.35);
            for (int i = 0; i < lora->rank * lora->rows; i++)
                ck_assert(lora->b[i] == 0);
            ck_assert(lora->scale == 3); /* 6 / sqrt(4) */
            end = lora->b + lora->rank * lora->rows;
        }
    ck_assert(memcmp(adapter.layers[0][LORA_Q].a, adapter.layers[0][LORA_K].a, 64) != 0);
    ck_assert_ptr_eq(adapter.head, end);
    double squares = 0;
    for (int i = 0; i < 3 * config.hidden_size; i++)
        squares += (double)adapter.head[i] * (double)adapter.head[i];
    ck_assert_double_lt(fabs(squares / (3 * config.hidden_size) / 0.0004 - 1), 0.5);
    ck_assert_int_eq(adapter.n_parameters,
                     adapter.head + 3 * config.hidden_size - adapter.parameters);
    lora_adapter_free(&adapter), lora_adapter_free(&twin), lora_adapter_free(&other);
    struct lora_settings none = new_settings;
    struct err err;
    none.rank = 0;
    check_error(lora_adapter_create(&adapter, &config, &none, 0, &err), &err, STATUS_USAGE,
                "--rank 0: give a whole number from 1 to 65536", "rank 0");
}
END_TEST

START_TEST(new_adapter_comes_back_with_its_labels)
{
    const struct model_config config = config_of("llama");
    struct lora_adapter adapter, again;
    struct err err = {0};
    char folder[PATH_MAX];
    folder_path(folder, "a");
    create(&adapter, &config, 1);
    for (int turn = 0; turn < 2; turn++) { /* into a folder that holds it already */
        ck_assert_msg(lora_adapter_save(&adapter, folder, &err) == STATUS_OK, "%s", err.text);
        ck_assert_msg(lora_adapter_load(&again, folder, &config, &err) == STATUS_OK, "%s",
                      err.text);
        ck_assert_int_eq(again.n_labels, 3);
        for (int i = 0; i < 3; i++)
            ck_assert_str_eq(again.labels[i], labels[i]);
        ck_assert_mem_eq(again.parameters, adapter.parameters,
                         (size_t)adapter.n_parameters * sizeof(float));
        lora_adapter_free(&again);
    }
    lora_adapter_free(&adapter);
}
END_TEST

/* Over an adapter with other settings: the old labels do not stay, and until the new settings are
 * there, there is no adapter. */
START_TEST(other_adapter_takes_the_place_of_the_old)
{
    const struct model_config config = config_of("llama");
    struct lora_adapter adapter, plain;
    struct err err = {0};
    char folder[PATH_MAX], path[PATH_MAX + 32];
    folder_path(folder, "a");
    create(&adapter, &config, 1);
    ck_assert_int_eq(lora_adapter_save(&adapter, folder, &err), STATUS_OK);
    ck_assert_int_eq(lora_adapter_load(&plain, path_of("peft", "plain"), &config, &err), STATUS_OK);
    ck_assert_int_eq(lora_adapter_save(&plain, folder, &err), STATUS_OK);
    snprintf(path, sizeof path, "%s/labels.json", folder);
    ck_assert_int_eq(access(path, F_OK), -1);
    lora_adapter_free(&plain);
    ck_assert_int_eq(lora_adapter_load(&plain, folder, &config, &err), STATUS_OK);
    ck_assert_int_eq(plain.n_labels, 0);
    lora_adapter_free(&plain);
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    ck_assert_int_eq(unlink(path), 0);
    check_error(lora_adapter_load(&plain, folder, &config, &err), &err, STATUS_MISSING,
                "no adapter here, or one that was not finished", "half a folder");
    lora_adapter_free(&adapter);
}
END_TEST

/* ---- refusals ------------------------------------------------------------------------------- */

enum change { NOTHING, DROP, RENAME, WIDEN, RETYPE, FLATTEN, POISON, TWICE };

/* A copy of the golden adapter NAME, with one tensor changed, and other settings where members is
 * not NULL: {"a": ..} over the file's. */
static void write_changed(const char *folder, const char *name, enum change change,
                          const char *tensor_name, const char *other, const char *members)
{
    struct safetensors *file;
    struct safetensors_writer writer;
    struct safetensors_entry entries[64];
    const unsigned char *data[64];
    struct err err = {0};
    int n = 0;
    char path[PATH_MAX + 64], golden_path[PATH_MAX];
    static float large[1 << 16];
    snprintf(golden_path, sizeof golden_path, "%s/adapter_model.safetensors",
             path_of("peft", name));
    ck_assert_int_eq(safetensors_open(&file, golden_path, &err), STATUS_OK);
    for (int i = 0; i < safetensors_count(file); i++) {
        const struct safetensors_tensor *tensor = safetensors_at(file, i);
        bool hit = strcmp(tensor->name, tensor_name) == 0;
        struct safetensors_entry entry = {
            tensor->name, tensor->type_name, 2, {tensor->dims[0], tensor->dims[1]}};
        if (hit && change == DROP)
            continue;
        data[n] = hit && change != NOTHING ? (const unsigned char *)large : tensor->data;
        if (hit) {
            memcpy(large, tensor->data, (size_t)tensor->bytes);
            if (change == RENAME)
                entry.name = other;
            if (change == WIDEN)
                entry.dims[1]++;
            if (change == RETYPE)
                entry.type_name = "I32";
            if (change == FLATTEN)
                entry.n_dims = 1;
            if (change == POISON)
                large[tensor->dims[1] + 3] = NAN;
        }
        entries[n++] = entry;
        if (hit && change == TWICE) {
            entry.name = other;
            data[n] = (const unsigned char *)large;
            entries[n++] = entry;
        }
    }
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    ck_assert_int_eq(safetensors_writer_open(&writer, path, entries, n, &err), STATUS_OK);
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(safetensors_writer_put(&writer, i, data[i], &err), STATUS_OK);
    ck_assert_int_eq(safetensors_writer_commit(&writer, &err), STATUS_OK);
    safetensors_close(file);

    json_error_t error;
    snprintf(golden_path, sizeof golden_path, "%s/adapter_config.json", path_of("peft", name));
    json_t *root = json_load_file(golden_path, 0, &error);
    json_t *more = json_loads(members ? members : "{}", 0, &error);
    json_object_update(root, more);
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    ck_assert_int_eq(json_dump_file(root, path, 0), 0);
    json_decref(root);
    json_decref(more);
}

#define Q_A  "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
#define Q_B  "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
#define HEAD "base_model.model.score.weight"

static const struct {
    const char *adapter, *model;
    enum change change;
    const char *tensor, *other, *members, *part;
} refusals[] = {
    {"plain", "llama", DROP, Q_A, NULL, NULL,
     "tensor " Q_A ": missing, though adapter_config.json"},
    {"plain", "llama", DROP, Q_B, NULL, NULL, "tensor " Q_B ": missing"},
    {"plain", "llama", TWICE, Q_A, "base_model.model.lm_head.lora_A.weight", NULL,
     "tensor base_model.model.lm_head.lora_A.weight: it has no place in this model"},
    {"plain", "llama", TWICE, Q_A, "base_model.model.model.embed_tokens.lora_embedding_A", NULL,
     "embed_tokens.lora_embedding_A: it has no place in this model"},
    {"plain", "llama", TWICE, Q_A,
     "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", NULL,
     "lora_magnitude_vector: it has no place in this model"},
    {"plain", "llama", TWICE, Q_A, "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight",
     NULL, "the model has 2 layers, 0 to 1; the adapter belongs to another model"},
    {"plain", "llama", RENAME, Q_A, "model.layers.0.self_attn.q_proj.lora_A.weight", NULL,
     "tensor " Q_A ": missing"},
    {"plain", "llama", WIDEN, Q_A, NULL, NULL,
     "its shape is 4 x 33, but the model and adapter_config.json ask for 4 x 32"},
    {"plain", "llama", RETYPE, Q_A, NULL, NULL, "type I32 is not read, only F32, F16 and BF16"},
    {"plain", "llama", FLATTEN, Q_A, NULL, NULL, "it has 1 dimensions, not 2"},
    {"plain", "llama", POISON, Q_A, NULL, NULL, "tensor " Q_A ": row 1 holds NaN or an infinity"},
    {"plain", "llama", NOTHING, "", NULL, "{\"r\": 5}", "its shape is 4 x 32, but the model and"},
    {"plain", "llama", NOTHING, "", NULL, "{\"target_modules\": [\"q_proj\"]}",
     "adapter_config.json does not ask for it"},
    {"plain", "llama", NOTHING, "", NULL, "{\"target_modules\": [\"c_attn\"]}",
     "target_modules: none of them is a matrix of this model's layers"},
    {"plain", "llama", NOTHING, "", NULL, "{\"task_type\": \"SEQ_CLS\"}",
     "tensor " HEAD ": missing"},
    {"plain", "llama", NOTHING, "", NULL, "{\"use_dora\": true}", "use_dora: DoRA"},
    {"plain", "mistral", NOTHING, "", NULL, NULL, "its shape is 32 x 4, but the model and"},
    {"rslora", "llama", NOTHING, "", NULL, NULL, "the model has 2 layers, 0 to 1"},
    {"plain", "qwen2", NOTHING, "", NULL, NULL, "layers.2.self_attn.q_proj.lora_A.weight: missing"},
    {"classifier", "llama", DROP, HEAD, NULL, NULL, "tensor " HEAD ": missing"},
    {"classifier", "llama", WIDEN, HEAD, NULL, NULL, "its shape is 3 x 33"},
    {"classifier", "llama", FLATTEN, HEAD, NULL, NULL, "not one row for each label"},
    {"classifier", "llama", TWICE, HEAD, "base_model.model.score.bias", NULL,
     "score.bias: it has no place"},
    {"classifier", "llama", NOTHING, "", NULL,
     "{\"task_type\": \"CAUSAL_LM\", \"modules_to_save\": null}",
     "tensor " HEAD ": it has no place in this model, or adapter_config.json does not ask"},
    {"base", "mistral", TWICE, "base_model.model.layers.0.self_attn.q_proj.lora_A.weight", Q_A,
     NULL, "tensor " Q_A ": it has no place"},
};

START_TEST(adapter_of_another_model_is_refused)
{
    const struct model_config config = config_of(refusals[_i].model);
    struct lora_adapter adapter;
    struct err err;
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    write_changed(folder, refusals[_i].adapter, refusals[_i].change, refusals[_i].tensor,
                  refusals[_i].other, refusals[_i].members);
    enum status status = lora_adapter_load(&adapter, folder, &config, &err);
    check_error(status, &err, STATUS_BAD_DATA, refusals[_i].part, refusals[_i].part);
    check_error(status, &err, STATUS_BAD_DATA, folder, refusals[_i].part);
}
END_TEST

START_TEST(folder_that_is_none_is_refused)
{
    const struct model_config config = config_of("llama");
    struct lora_adapter adapter;
    struct err err;
    char folder[PATH_MAX];
    check_error(lora_adapter_load(&adapter, "/absent/adapter", &config, &err), &err, STATUS_MISSING,
                "/absent/adapter: No such file", "absent");
    check_error(
        lora_adapter_load(&adapter, golden("peft/plain/adapter_model.safetensors"), &config, &err),
        &err, STATUS_BAD_DATA, "not a folder; an adapter is a folder with", "a file");
    check_error(lora_adapter_load(&adapter, golden("families/llama"), &config, &err), &err,
                STATUS_MISSING, "no adapter here", "a model");
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    write_file(folder, "adapter_config.json", "{}", 2);
    write_file(folder, "adapter_model.bin", "x", 1);
    check_error(lora_adapter_load(&adapter, folder, &config, &err), &err, STATUS_MISSING,
                "pickled weights (adapter_model.bin), which may hold code", "a pickle");
}
END_TEST

START_TEST(labels_must_fit_the_head)
{
    static const struct {
        const char *json, *part;
    } wrong[] = {
        {"[\"a\",\"b\"]", "labels.json: not a list of 3 names, one for each row of the head"},
        {"{\"0\":\"a\"}", "not a list of 3 names"},
        {"[\"a\",\"b\",3]", "label 2 is not a string"},
        {"[\"a\"", "labels.json: line 1: not good JSON"},
    };
    const struct model_config config = config_of("llama");
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    write_changed(folder, "classifier", NOTHING, "", NULL, NULL);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct lora_adapter adapter;
        struct err err;
        write_file(folder, "labels.json", wrong[i].json, strlen(wrong[i].json));
        check_error(lora_adapter_load(&adapter, folder, &config, &err), &err, STATUS_BAD_DATA,
                    wrong[i].part, wrong[i].json);
    }
}
END_TEST

/* Every beginning of the tensors' file, in steps, is an error. */
START_TEST(tensors_that_are_cut_are_an_error)
{
    static char bytes[1 << 17];
    const struct model_config config = config_of("llama");
    char folder[PATH_MAX];
    FILE *file = fopen(golden("peft/plain/adapter_model.safetensors"), "rb");
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    write_changed(folder, "plain", NOTHING, "", NULL, NULL);
    for (size_t n = 0; n < size; n += n < 200 ? 1 : 131) {
        struct lora_adapter adapter;
        struct err err;
        write_file(folder, "adapter_model.safetensors", bytes, n);
        check_error(lora_adapter_load(&adapter, folder, &config, &err), &err, STATUS_BAD_DATA,
                    "adapter_model.safetensors: ", "a cut file");
    }
}
END_TEST

/* ---- lack of memory, and GPUs --------------------------------------------------------------- */

struct places {
    struct model_config config;
    char source[PATH_MAX], target[PATH_MAX];
};

static enum status load_and_save(void *context, struct err *err)
{
    struct places *places = context;
    struct lora_adapter adapter;
    TRY(lora_adapter_load(&adapter, places->source, &places->config, err));
    enum status status = lora_adapter_save(&adapter, places->target, err);
    lora_adapter_free(&adapter);
    return status;
}

static enum status create_and_free(void *context, struct err *err)
{
    struct lora_adapter adapter;
    TRY(lora_adapter_create(&adapter, context, &new_settings, 0, err));
    lora_adapter_free(&adapter);
    return STATUS_OK;
}

START_TEST(adapter_without_memory)
{
    /* A base model's adapter: see write_adapter in test_out_of_memory.c. */
    struct places places = {.config = config_of("mistral")};
    snprintf(places.source, sizeof places.source, "%s", golden("peft/base"));
    folder_path(places.target, "a");
    ck_assert_int_gt(check_lack_of_memory(create_and_free, &places.config, "create"), 20);
    ck_assert_int_gt(check_lack_of_memory(load_and_save, &places, "load and save"), 50);
}
END_TEST

int main(void)
{
    json_use_memory();
    Suite *suite = suite_create("lora_adapter");
    TCase *tests = tcase_create("lora_adapter");
    int n = sizeof cases / sizeof *cases;
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, adapter_computes_what_peft_computes, 0, n);
    tcase_add_test(tests, head_gives_the_logits_of_peft);
    tcase_add_loop_test(tests, adapter_is_written_as_it_was_read, 0, n);
    tcase_add_test(tests, new_adapter_has_initial_values);
    tcase_add_test(tests, new_adapter_comes_back_with_its_labels);
    tcase_add_test(tests, other_adapter_takes_the_place_of_the_old);
    tcase_add_loop_test(tests, adapter_of_another_model_is_refused, 0,
                        sizeof refusals / sizeof *refusals);
    tcase_add_test(tests, folder_that_is_none_is_refused);
    tcase_add_test(tests, labels_must_fit_the_head);
    tcase_add_test(tests, tensors_that_are_cut_are_an_error);
    tcase_add_test(tests, adapter_without_memory);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
