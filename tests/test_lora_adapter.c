/* Adapters of PEFT's on tiny models: what they compute, and how they are written.
 * tests/test_adapter_refusals.c has those that are refused. Golden numbers by
 * tests/golden/make_peft_adapters.py. */
#include "tests/support.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "host/llama.h"
#include "host/lora_adapter.h"
#include "loaders/json.h"
#include "loaders/npy.h"

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
        double error = relative_distance(got + row * d, want + row * d, d);
        if (!(error <= worst))
            worst = error;
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

/* ---- lack of memory ------------------------------------------------------------------------- */

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
    tcase_add_test(tests, adapter_without_memory);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
