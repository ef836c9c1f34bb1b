/* Folders with an adapter that is refused: of another model, with tensors or labels that do not
 * fit, cut short. The golden adapters are those of tests/golden/make_peft_adapters.py. */
#include "tests/support.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "host/lora_adapter.h"
#include "loaders/json.h"
#include "loaders/safetensors.h"
#include "loaders/safetensors_writer.h"

static struct model_config config_of(const char *family)
{
    struct model_config config;
    struct err err;
    char path[64];
    snprintf(path, sizeof path, "families/%s", family);
    ck_assert_int_eq(model_config_read(&config, golden(path), &err), STATUS_OK);
    return config;
}

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
    char path[PATH_MAX + 64], from[128];
    static float large[1 << 16];
    snprintf(from, sizeof from, "peft/%s/adapter_model.safetensors", name);
    ck_assert_int_eq(safetensors_open(&file, golden(from), &err), STATUS_OK);
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
    snprintf(from, sizeof from, "peft/%s/adapter_config.json", name);
    json_t *root = json_load_file(golden(from), 0, &error);
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

int main(void)
{
    json_use_memory();
    Suite *suite = suite_create("adapter_refusals");
    TCase *tests = tcase_create("adapter_refusals");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, adapter_of_another_model_is_refused, 0,
                        sizeof refusals / sizeof *refusals);
    tcase_add_test(tests, folder_that_is_none_is_refused);
    tcase_add_test(tests, labels_must_fit_the_head);
    tcase_add_test(tests, tensors_that_are_cut_are_an_error);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
