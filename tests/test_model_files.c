/* Which file of a model is which, and what is told of folders and files that are no models. */
#include "tests/support.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "loaders/model_config.h"
#include "loaders/model_files.h"

static char folder[4096];

/* A fresh folder with these files, which spaces part; "name=text" has content, "name/" is a folder.
 */
static void make_folder(const char *files)
{
    char list[1024], path[8192];
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    snprintf(list, sizeof list, "%s", files);
    for (char *name = strtok(list, " "); name; name = strtok(NULL, " ")) {
        char *text = strchr(name, '=');
        size_t length = strlen(name);
        if (text)
            *text++ = '\0';
        if (name[length - 1] == '/') {
            snprintf(path, sizeof path, "%s/%s", folder, name);
            ck_assert_int_eq(mkdir(path, 0777), 0);
        } else {
            write_file(folder, name, text ? text : "", text ? strlen(text) : 0);
        }
    }
}

/* ---- what is there -------------------------------------------------------------------------- */

static const struct {
    const char *files, *weights, *config, *tokenizer;
    enum model_format format;
} folders[] = {
    {"config.json model.safetensors tokenizer.json", "model.safetensors", "config.json",
     "tokenizer.json", MODEL_SAFETENSORS},
    {"config.json model.safetensors model.safetensors.index.json a.gguf tokenizer.model",
     "model.safetensors", "config.json", "tokenizer.model", MODEL_SAFETENSORS},
    {"config.json model.safetensors.index.json model-00001-of-00002.safetensors other.safetensors "
     "tokenizer.model tokenizer.json",
     "model.safetensors.index.json", "config.json", "tokenizer.json", MODEL_SHARDS},
    {"config.json my-model.safetensors pytorch_model.bin a.gguf", "my-model.safetensors",
     "config.json", "a.gguf", MODEL_SAFETENSORS},
    {"config.json model.safetensors other.safetensors adapter_model.safetensors "
     "adapter_config.json a.gguf",
     "model.safetensors", "config.json", "a.gguf", MODEL_SAFETENSORS},
    {"a.gguf", "a.gguf", "a.gguf", "a.gguf", MODEL_GGUF},
    {"b.gguf weights.safetensors", "b.gguf", "b.gguf", "b.gguf", MODEL_GGUF},
    {"config.json c.gguf tokenizer.json adapter_model.safetensors", "c.gguf", "config.json",
     "tokenizer.json", MODEL_GGUF},
};

static void check_path(const char *got, const char *name)
{
    char want[8192];
    snprintf(want, sizeof want, "%s/%s", folder, name);
    ck_assert_str_eq(got, want);
}

START_TEST(folders_are_told_by_their_files)
{
    struct arena arena = {0};
    struct err err;
    const char *file;
    enum model_format format;
    bool is_gguf;
    make_folder(folders[_i].files);
    ck_assert_msg(!model_files_weights(&arena, folder, &file, &format, &err), "%s", err.text);
    check_path(file, folders[_i].weights);
    ck_assert_int_eq(format, folders[_i].format);
    ck_assert_msg(!model_files_config(&arena, folder, &file, &is_gguf, &err), "%s", err.text);
    check_path(file, folders[_i].config);
    ck_assert_int_eq(is_gguf, strstr(folders[_i].config, ".gguf") != NULL);
    ck_assert_msg(!model_files_tokenizer(&arena, folder, &file, &err), "%s", err.text);
    check_path(file, folders[_i].tokenizer);
    arena_free(&arena);
}
END_TEST

START_TEST(files_are_told_by_their_names)
{
    struct arena arena = {0};
    struct err err;
    const char *file;
    enum model_format format;
    bool is_gguf;
    char path[8192];
    make_folder("config.json tokenizer.json w.safetensors blob=GGUFxxxx named.gguf");

    snprintf(path, sizeof path, "%s/w.safetensors", folder);
    ck_assert_int_eq(model_files_weights(&arena, path, &file, &format, &err), STATUS_OK);
    check_path(file, "w.safetensors");
    ck_assert_int_eq(format, MODEL_SAFETENSORS);
    ck_assert_int_eq(model_files_config(&arena, path, &file, &is_gguf, &err), STATUS_OK);
    check_path(file, "config.json");
    ck_assert_int_eq(model_files_tokenizer(&arena, path, &file, &err), STATUS_OK);
    check_path(file, "tokenizer.json");
    ck_assert_int_eq(model_files_folder(&arena, path, &file, &err), STATUS_OK);
    ck_assert_str_eq(file, folder);

    snprintf(path, sizeof path, "%s/blob", folder); /* a cache's file has no ending */
    ck_assert_int_eq(model_files_weights(&arena, path, &file, &format, &err), STATUS_OK);
    check_path(file, "blob");
    ck_assert_int_eq(format, MODEL_GGUF);
    ck_assert_int_eq(model_files_config(&arena, path, &file, &is_gguf, &err), STATUS_OK);
    ck_assert(is_gguf);
    arena_free(&arena);
}
END_TEST

/* ---- what is not ---------------------------------------------------------------------------- */

#define NEITHER "neither .safetensors nor .gguf is here, but "
#define MISSING STATUS_MISSING
#define BAD     STATUS_BAD_DATA

static const struct {
    const char *files;
    enum status status;
    const char *part;
} refused_folders[] = {
    {"readme.md", MISSING, "neither .safetensors nor .gguf nor config.json is here; name a model"},
    {"config.json", MISSING, NEITHER "a model's config.json without its weights"},
    {"config.json pytorch_model.bin", MISSING,
     NEITHER "pickled weights (pytorch_model.bin); pickles may hold code and are never read"},
    {"config.json pytorch_model-00001-of-00002.bin pytorch_model.bin.index.json", MISSING,
     NEITHER "pickled weights (pytorch_model.bin)"},
    {"consolidated.00.pth params.json", MISSING, NEITHER "pickled weights (.pth)"},
    {"model.pt", MISSING, NEITHER "pickled weights (.pt)"},
    {"config.json model.onnx", MISSING, NEITHER "an ONNX model; fetch the model in safetensors"},
    {"config.json tokenizer.json onnx/", MISSING, NEITHER "an ONNX model"},
    {"config.json tf_model.h5", MISSING, NEITHER "TensorFlow weights (.h5)"},
    {"config.json flax_model.msgpack", MISSING, NEITHER "Flax weights (.msgpack)"},
    {"tokenizer.json tokenizer_config.json", MISSING, NEITHER "a tokenizer without a model"},
    {"tokenizer.model", MISSING, NEITHER "a tokenizer without a model"},
    {"model_index.json unet/ v1-5.safetensors", MISSING, NEITHER "a diffusers pipeline"},
    {"blobs/ refs/ snapshots/", MISSING, NEITHER "a folder of a cache; name one of its snapshots"},
    {"adapter_model.safetensors adapter_config.json={\"base_model_name_or_path\":\"acme/base\"}",
     BAD, "its base model is acme/base and is what --model takes"},
    {"adapter_model.bin tokenizer.json adapter_config.json={}", BAD,
     "an adapter (adapter_config.json), which is no model of its own; its base model is what"},
    {"adapter_config.json={", BAD, "adapter_config.json: line 1: not good JSON"},
    {"config.json a.safetensors b.safetensors", BAD, "2 .safetensors files stand here, none of"},
    {"config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors", MISSING,
     "2 shards stand here, but no model.safetensors.index.json"},
    {"a.gguf b.gguf", BAD, "2 .gguf files stand here; name one of them"},
    {"q-00001-of-00003.gguf q-00002-of-00003.gguf q-00003-of-00003.gguf", BAD,
     "a GGUF in 3 parts stands here; join them: llama-gguf-split --merge"},
};

START_TEST(folders_that_are_no_models_are_named)
{
    struct arena arena = {0};
    struct err err;
    const char *file;
    enum model_format format;
    make_folder(refused_folders[_i].files);
    check_error(model_files_weights(&arena, folder, &file, &format, &err), &err,
                refused_folders[_i].status, refused_folders[_i].part, refused_folders[_i].files);
    check_error(err.status, &err, refused_folders[_i].status, folder, "the folder's name");
    arena_free(&arena);
}
END_TEST

static const struct {
    const char *files, *part;
} without_tokenizer[] = {
    {"config.json model.safetensors", "no tokenizer here: neither tokenizer.json nor"},
    {"vocab.json merges.txt", "but vocab.json; save it as tokenizer.json with transformers"},
    {"tekken.json", "but tekken.json; fetch the tokenizer.json"},
    {"vocab.txt", "but vocab.txt, WordPiece's; models of BERT's kind are not read"},
};

START_TEST(folders_without_a_tokenizer_are_named)
{
    struct arena arena = {0};
    struct err err;
    const char *file;
    make_folder(without_tokenizer[_i].files);
    check_error(model_files_tokenizer(&arena, folder, &file, &err), &err, STATUS_MISSING,
                without_tokenizer[_i].part, without_tokenizer[_i].files);
    arena_free(&arena);
}
END_TEST

static const struct {
    const char *file, *part;
} refused_files[] = {
    {"model-00001-of-00002.safetensors",
     "this is one shard of a model in several; name the folder"},
    {"adapter_model.safetensors", "this is an adapter's weights; --model takes its base model"},
    {"adapter_model.bin", "this is an adapter's weights"},
    {"tokenizer.json", "this is a tokenizer's file, not a model; name the model's folder"},
    {"tokenizer.model", "this is a tokenizer's file"},
    {"config.json", "this is a description, not the weights; name the model's folder"},
    {"model.safetensors.index.json", "this is a description, not the weights"},
    {"pytorch_model.bin", "this is pickled weights; pickles may hold code"},
    {"consolidated.00.pth", "this is pickled weights"},
    {"model.onnx", "this is an ONNX model"},
    {"tf_model.h5", "this is TensorFlow weights"},
    {"flax_model.msgpack", "this is Flax weights"},
    {"notes.txt", "this is not a model's file; name a model's folder, a .safetensors or a .gguf"},
};

START_TEST(files_that_are_no_models_are_named)
{
    struct arena arena = {0};
    struct err err;
    const char *file;
    enum model_format format;
    char path[8192];
    make_folder(refused_files[_i].file);
    snprintf(path, sizeof path, "%s/%s", folder, refused_files[_i].file);
    check_error(model_files_weights(&arena, path, &file, &format, &err), &err, STATUS_BAD_DATA,
                refused_files[_i].part, refused_files[_i].file);
    check_error(err.status, &err, STATUS_BAD_DATA, path, "the path");
    arena_free(&arena);
}
END_TEST

START_TEST(odd_entries_are_errors)
{
    struct arena arena = {0};
    struct err err;
    const char *file;
    enum model_format format;
    struct model_config config;
    char path[8192];
    check_error(model_files_weights(&arena, "nowhere", &file, &format, &err), &err, STATUS_MISSING,
                "nowhere: no such file or folder", "nowhere");

    make_folder("config.json/ model.safetensors");
    check_error(model_config_read(&config, folder, &err), &err, STATUS_BAD_DATA,
                "config.json: this is a folder; name a regular file", "config.json/");
    snprintf(path, sizeof path, "%s/fifo", folder);
    ck_assert_int_eq(mkfifo(path, 0666), 0);
    check_error(model_files_weights(&arena, path, &file, &format, &err), &err, STATUS_BAD_DATA,
                "fifo: this is a pipe; name a regular file", "fifo");
    check_error(model_config_read(&config, path, &err), &err, STATUS_BAD_DATA,
                "fifo: this is a pipe; name a regular file", "fifo");
    snprintf(path, sizeof path, "%s/loop", folder);
    ck_assert_int_eq(symlink("loop", path), 0);
    check_error(model_files_weights(&arena, path, &file, &format, &err), &err, STATUS_RESOURCE,
                "loop: Too many levels of symbolic links", "loop");
    arena_free(&arena);
}
END_TEST

/* ---- config.json ---------------------------------------------------------------------------- */

static const struct {
    const char *key, *part;
} refused_configs[] = {
    {"\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4}",
     "quantization_config: weights quantised by GPTQ are not read; use the model that it was made "
     "from"},
    {"\"quantization_config\":{\"quant_method\":\"awq\"}", "by AWQ are not read"},
    {"\"quantization_config\":{\"quant_method\":\"fp8\"}", "by FP8 are not read"},
    {"\"quantization_config\":{\"quant_method\":\"compressed-tensors\"}", "by compressed-tensors"},
    {"\"quantization_config\":{\"quant_method\":\"eetq\"}", "by EETQ"},
    {"\"quantization_config\":{\"quant_method\":\"hqq\"}", "by HQQ are not read"},
    {"\"quantization_config\":{\"quant_method\":\"something new\"}", "by something new are not"},
    {"\"quantization_config\":{\"bits\":4}", "by a method that is not named are not read"},
    {"\"quantization_config\":\"gptq\"", "quantization_config: not an object"},
    {"\"quantization_config\":{\"quant_method\":\"bitsandbytes\",\"load_in_8bit\":true}",
     "by bitsandbytes in 8 bits (load_in_8bit) are not read"},
    {"\"quantization_config\":{\"load_in_8bit\":true}", "by bitsandbytes in 8 bits"},
    {"\"quantization_config\":{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true,"
     "\"bnb_4bit_quant_type\":\"fp4\"}",
     "by bitsandbytes in FP4"},
    {"\"quantization_config\":{\"load_in_4bit\":true}", "by bitsandbytes in FP4"},
    {"\"compression_config\":{\"format\":\"pack\"}", "compression_config: weights quantised by"},
    {"\"quantization\":{\"bits\":4,\"group_size\":64}", "quantization: weights quantised by MLX"},
    {"\"text_config\":{\"hidden_size\":8}", "text_config: a model of images or sound beside text"},
    {"\"_diffusers_version\":\"0.30\"", "_diffusers_version: a part of a diffusers pipeline"},
};

START_TEST(configs_of_what_is_not_read_are_named)
{
    char text[512];
    struct err err;
    struct model_config config;
    make_folder("model.safetensors");
    int length = snprintf(text, sizeof text, "{\"architectures\":[\"LlamaForCausalLM\"],%s}",
                          refused_configs[_i].key);
    write_file(folder, "config.json", text, (size_t)length);
    check_error(model_config_read(&config, folder, &err), &err, STATUS_BAD_DATA,
                refused_configs[_i].part, refused_configs[_i].key);
}
END_TEST

/* NF4 is not refused here, nor is a key that says nothing. */
START_TEST(configs_of_what_is_read_pass)
{
    static const char *const keys[] = {
        "\"quantization_config\":null",
        "\"text_config\":null",
        ("\"quantization_config\":{\"quant_method\":\"bitsandbytes\",\"load_in_8bit\":false,"
         "\"load_in_4bit\":true,\"bnb_4bit_quant_type\":\"nf4\"}"),
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char text[1024];
        struct err err;
        struct model_config config;
        make_folder("model.safetensors");
        int length = snprintf(text, sizeof text,
                              "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":8,"
                              "\"intermediate_size\":8,\"num_hidden_layers\":1,"
                              "\"num_attention_heads\":2,\"vocab_size\":9,%s}",
                              keys[i]);
        write_file(folder, "config.json", text, (size_t)length);
        ck_assert_msg(model_config_read(&config, folder, &err) == STATUS_OK, "%s: %s", keys[i],
                      err.text);
    }
}
END_TEST

#define COUNT(table) (int)(sizeof(table) / sizeof *(table))

int main(void)
{
    Suite *suite = suite_create("model_files");
    TCase *tests = tcase_create("model_files");
    tcase_add_loop_test(tests, folders_are_told_by_their_files, 0, COUNT(folders));
    tcase_add_test(tests, files_are_told_by_their_names);
    tcase_add_loop_test(tests, folders_that_are_no_models_are_named, 0, COUNT(refused_folders));
    tcase_add_loop_test(tests, folders_without_a_tokenizer_are_named, 0, COUNT(without_tokenizer));
    tcase_add_loop_test(tests, files_that_are_no_models_are_named, 0, COUNT(refused_files));
    tcase_add_test(tests, odd_entries_are_errors);
    tcase_add_loop_test(tests, configs_of_what_is_not_read_are_named, 0, COUNT(refused_configs));
    tcase_add_test(tests, configs_of_what_is_read_pass);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
