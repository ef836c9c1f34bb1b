/* Merging: the folder computes what the model with its adapter computes, in the types that the
 * model had. Golden numbers by tests/golden/make_peft_adapters.py; tests/cli/test_adapter.sh has
 * the command. */
#include "tests/support.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "host/base/file.h"
#include "host/base/float16.h"
#include "host/llama.h"
#include "host/lora_adapter.h"
#include "host/merge.h"
#include "host/output_folder.h"
#include "loaders/json.h"
#include "loaders/safetensors.h"
#include "loaders/safetensors_writer.h"
#include "tests/model_writer.h"

static void golden_path(char path[PATH_MAX], const char *folder, const char *name)
{
    char relative[256];
    snprintf(relative, sizeof relative, "%s/%s", folder, name);
    snprintf(path, PATH_MAX, "%s", golden(relative));
}

/* A family's model with a tokenizer beside it, its tensors in the type. */
static void make_source(char folder[PATH_MAX], const char *family, const char *type)
{
    char from[PATH_MAX], path[PATH_MAX + 64], name[64];
    struct file_map map;
    struct err err;
    snprintf(folder, PATH_MAX, "%s", temporary_folder());
    snprintf(name, sizeof name, "%s/config.json", family);
    golden_path(from, "families", name);
    ck_assert_int_eq(file_map(&map, from, &err), STATUS_OK);
    write_file(folder, "config.json", map.data, map.size);
    file_unmap(&map);
    write_byte_tokenizer(folder, NULL);

    struct safetensors *file;
    struct safetensors_writer writer;
    struct safetensors_entry entries[64];
    static uint16_t halves[1 << 14];
    static float floats[1 << 14];
    snprintf(name, sizeof name, "%s/model.safetensors", family);
    golden_path(from, "families", name);
    ck_assert_int_eq(safetensors_open(&file, from, &err), STATUS_OK);
    int n = safetensors_count(file);
    for (int i = 0; i < n; i++) {
        const struct safetensors_tensor *tensor = safetensors_at(file, i);
        entries[i] = (struct safetensors_entry){
            tensor->name, type, tensor->n_dims, {tensor->dims[0], tensor->dims[1]}};
    }
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    ck_assert_int_eq(safetensors_writer_open(&writer, path, entries, n, &err), STATUS_OK);
    for (int i = 0; i < n; i++) {
        const struct safetensors_tensor *tensor = safetensors_at(file, i);
        memcpy(halves, tensor->data, (size_t)tensor->bytes); /* BF16 */
        for (int64_t j = 0; j < tensor->bytes / 2; j++) {
            floats[j] = bf16_to_float(halves[j]);
            if (strcmp(type, "F16") == 0)
                halves[j] = f16_from_float(floats[j]);
        }
        const void *data = strcmp(type, "F32") == 0 ? (const void *)floats : halves;
        ck_assert_int_eq(safetensors_writer_put(&writer, i, data, &err), STATUS_OK);
    }
    ck_assert_int_eq(safetensors_writer_commit(&writer, &err), STATUS_OK);
    safetensors_close(file);
}

static void merge(const char *source, const char *adapter, char folder[PATH_MAX],
                  struct merge_counts *counts)
{
    char path[PATH_MAX];
    struct device device;
    struct err err = {0};
    golden_path(path, "peft", adapter);
    snprintf(folder, PATH_MAX, "%s/merged", temporary_folder());
    ck_assert(test_device(0, &device));
    ck_assert_msg(merge_model(&device, source, path, folder, false, NULL, counts, &err) ==
                      STATUS_OK,
                  "%s", err.text);
    device_close(&device);
}

/* ---- against merge_and_unload ---------------------------------------------------------------- */

static const struct safetensors_tensor *find(const struct safetensors *file, const char *name)
{
    for (int i = 0; i < safetensors_count(file); i++)
        if (strcmp(safetensors_at(file, i)->name, name) == 0)
            return safetensors_at(file, i);
    ck_abort_msg("no tensor %s", name);
    return NULL;
}

static float value_of(const struct safetensors_tensor *tensor, int64_t i)
{
    float x;
    uint16_t h;
    if (strcmp(tensor->type_name, "F32") == 0) {
        memcpy(&x, tensor->data + 4 * i, sizeof x);
        return x;
    }
    memcpy(&h, tensor->data + 2 * i, sizeof h);
    return strcmp(tensor->type_name, "F16") == 0 ? f16_to_float(h) : bf16_to_float(h);
}

/* ulp: of the type's last place, relative. */
static void check_merged(const char *folder, const char *golden_name, const char *type, double ulp)
{
    char path[PATH_MAX + 64];
    struct safetensors *got, *want;
    struct err err;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    ck_assert_msg(safetensors_open(&got, path, &err) == STATUS_OK, "%s", err.text);
    golden_path(path, "peft", golden_name);
    ck_assert_int_eq(safetensors_open(&want, path, &err), STATUS_OK);
    for (int i = 0; i < safetensors_count(want); i++) {
        const struct safetensors_tensor *a = safetensors_at(want, i), *b = find(got, a->name);
        bool head = strcmp(a->name, "score.weight") == 0;
        ck_assert_str_eq(b->type_name, head ? "F32" : type);
        ck_assert_int_eq(b->n_dims, a->n_dims);
        ck_assert_int_eq(b->dims[0], a->dims[0]);
        for (int64_t j = 0; j < a->bytes / 4; j++) {
            double x = (double)value_of(a, j), y = (double)value_of(b, j);
            if (!(fabs(x - y) <= 1e-6 + ulp * fabs(x)))
                ck_abort_msg("%s, %s: %g, not %g", type, a->name, y, x);
        }
    }
    safetensors_close(got);
    safetensors_close(want);
}

static const struct {
    const char *type;
    double ulp; /* half a unit in the last place */
} types[] = {{"F32", 1e-6}, {"F16", 0x1p-11 * 1.01}, {"BF16", 0x1p-8 * 1.01}};

START_TEST(merged_weights_are_those_of_peft)
{
    char source[PATH_MAX], folder[PATH_MAX];
    struct merge_counts counts;
    make_source(source, "llama", types[_i].type);
    merge(source, "plain", folder, &counts);
    ck_assert_int_eq(counts.n_matrices, 14);
    ck_assert_int_eq(counts.n_labels, 0);
    check_merged(folder, "plain_merged.safetensors", types[_i].type, types[_i].ulp);
}
END_TEST

START_TEST(merged_head_becomes_a_classifier)
{
    char source[PATH_MAX], folder[PATH_MAX], path[PATH_MAX + 64];
    struct merge_counts counts;
    struct model_config config;
    struct err err;
    json_t *root;
    make_source(source, "llama", "F32");
    merge(source, "classifier", folder, &counts);
    ck_assert_int_eq(counts.n_labels, 3);
    check_merged(folder, "classifier_merged.safetensors", "F32", 1e-6);
    snprintf(path, sizeof path, "%s/config.json", folder);
    ck_assert_int_eq(json_read_file(&root, path, 1 << 20, 0, &err), STATUS_OK);
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(root, "architectures"), 0)),
                     "LlamaForSequenceClassification");
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(root, "id2label"), "2")),
                     "LABEL_2");
    ck_assert_int_eq(
        json_integer_value(json_object_get(json_object_get(root, "label2id"), "LABEL_1")), 1);
    ck_assert_str_eq(json_string_value(json_object_get(root, "merged_by")), "midashi");
    json_decref(root);
    ck_assert_msg(model_config_read(&config, folder, &err) == STATUS_OK, "%s", err.text);
}
END_TEST

/* ---- the forward pass ----------------------------------------------------------------------- */

static enum status keep(void *context, int layer, const void *hidden, int n_tokens, struct err *err)
{
    (void)layer, (void)n_tokens, (void)err;
    memcpy(context, hidden, 20 * 32 * sizeof(float));
    return STATUS_OK;
}

/* The residual stream after the last block (20, 32). */
static void states(float out[20 * 32], const char *model, const char *adapter_path)
{
    struct model_config config;
    struct weights *weights;
    struct llama llama;
    struct lora_adapter adapter = {0};
    struct device device;
    struct err err = {0};
    int32_t tokens[20], positions[20], cu_seqlens[] = {0, 3, 20};
    struct llama_batch batch = {tokens, positions, cu_seqlens, 2, 20};
    for (int i = 0; i < 20; i++) {
        tokens[i] = (i * i * 7 + 3) % 256;
        positions[i] = i < 3 ? i : i - 3;
    }
    ck_assert(test_device(0, &device));
    ck_assert_msg(model_config_read(&config, model, &err) == STATUS_OK, "%s", err.text);
    ck_assert_msg(weights_open(&weights, model, &config, &err) == STATUS_OK, "%s", err.text);
    ck_assert_msg(llama_load(&llama, &device, weights, &config, PRECISION_F32, config.n_layers, 20,
                             20, NULL, NULL, &err) == STATUS_OK,
                  "%s", err.text);
    if (adapter_path) {
        ck_assert_int_eq(lora_adapter_load(&adapter, adapter_path, &config, &err), STATUS_OK);
        ck_assert_int_eq(llama_set_adapter(&llama, &adapter, &err), STATUS_OK);
    }
    ck_assert_int_eq(llama_forward(&llama, &device, &batch, config.n_layers, keep, out, &err),
                     STATUS_OK);
    llama_free(&llama);
    lora_adapter_free(&adapter);
    weights_close(weights);
    device_close(&device);
}

static const struct {
    const char *family, *adapter;
} pairs[] = {
    {"llama", "plain"},  {"llama", "patterns_rslora"}, {"llama", "subset"}, {"qwen2", "rslora"},
    {"qwen2", "layers"}, {"qwen3", "patterns"},        {"mistral", "base"},
};

START_TEST(merged_model_computes_what_model_and_adapter_do)
{
    char source[PATH_MAX], folder[PATH_MAX], adapter[PATH_MAX];
    static float want[20 * 32], got[20 * 32], base[20 * 32];
    struct merge_counts counts;
    make_source(source, pairs[_i].family, "F32");
    golden_path(adapter, "peft", pairs[_i].adapter);
    merge(source, pairs[_i].adapter, folder, &counts);
    states(want, source, adapter);
    states(got, folder, NULL);
    states(base, source, NULL);
    double error = 0, change = 0, norm = 0;
    for (int i = 0; i < 20 * 32; i++) {
        error += pow((double)got[i] - (double)want[i], 2);
        change += pow((double)base[i] - (double)want[i], 2);
        norm += pow((double)want[i], 2);
    }
    ck_assert_double_le(sqrt(error / norm), 1e-5);
    ck_assert_double_gt(sqrt(change / norm), 1e-2);
}
END_TEST

/* ---- what cannot be ------------------------------------------------------------------------- */

/* F16 ends at 65504. */
START_TEST(sums_beyond_a_type_are_refused)
{
    char source[PATH_MAX], adapter[PATH_MAX], folder[PATH_MAX];
    struct model_config config;
    struct lora_adapter lora;
    struct merge_counts counts;
    struct device device;
    struct err err;
    make_source(source, "llama", "F16");
    golden_path(adapter, "peft", "plain");
    ck_assert_int_eq(model_config_read(&config, source, &err), STATUS_OK);
    ck_assert_int_eq(lora_adapter_load(&lora, adapter, &config, &err), STATUS_OK);
    for (int64_t i = 0; i < lora.n_parameters; i++)
        lora.parameters[i] = 1000;
    snprintf(adapter, sizeof adapter, "%s/a", temporary_folder());
    ck_assert_int_eq(lora_adapter_save(&lora, adapter, &err), STATUS_OK);
    lora_adapter_free(&lora);
    snprintf(folder, sizeof folder, "%s/merged", temporary_folder());
    ck_assert(test_device(0, &device));
    check_error(merge_model(&device, source, adapter, folder, false, NULL, &counts, &err), &err,
                STATUS_BAD_DATA,
                "tensor model.layers.0.self_attn.q_proj.weight: with the adapter, a value is "
                "beyond the largest of F16; use a model in BF16 or F32",
                "F16");
    ck_assert_int_eq(access(folder, F_OK), -1);
    device_close(&device);
}
END_TEST

START_TEST(a_folder_of_another_run_is_refused)
{
    char source[PATH_MAX], adapter[PATH_MAX], folder[PATH_MAX];
    struct output_folder other;
    struct merge_counts counts;
    struct device device;
    struct err err;
    make_source(source, "llama", "F32");
    golden_path(adapter, "peft", "plain");
    snprintf(folder, sizeof folder, "%s/merged", temporary_folder());
    ck_assert(test_device(0, &device));
    ck_assert_int_eq(output_folder_open(&other, folder, NULL, &err), STATUS_OK);
    check_error(merge_model(&device, source, adapter, folder, true, NULL, &counts, &err), &err,
                STATUS_USAGE, "merged: another run is writing into this folder", "a locked folder");
    output_folder_close(&other);
    ck_assert_int_eq(merge_model(&device, source, adapter, folder, false, NULL, &counts, &err),
                     STATUS_OK);
    device_close(&device);
}
END_TEST

int main(void)
{
    json_use_memory();
    Suite *suite = suite_create("merge");
    TCase *tests = tcase_create("merge");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, merged_weights_are_those_of_peft, 0, sizeof types / sizeof *types);
    tcase_add_test(tests, merged_head_becomes_a_classifier);
    tcase_add_loop_test(tests, merged_model_computes_what_model_and_adapter_do, 0,
                        sizeof pairs / sizeof *pairs);
    tcase_add_test(tests, sums_beyond_a_type_are_refused);
    tcase_add_test(tests, a_folder_of_another_run_is_refused);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
