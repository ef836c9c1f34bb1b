/* See model_refusals.h. */
#include "loaders/model_refusals.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "loaders/json.h"

#define ADAPTER_CONFIG_LARGEST ((size_t)1 << 20) /* bytes */

/* ---- names of files ------------------------------------------------------------------------- */

/* Up to one '*' in the pattern stands for any text. */
static bool name_fits(const char *name, const char *pattern)
{
    const char *star = strchr(pattern, '*');
    if (!star)
        return strcmp(name, pattern) == 0;
    size_t before = (size_t)(star - pattern), behind = strlen(star + 1), length = strlen(name);
    return length >= before + behind && memcmp(name, pattern, before) == 0 &&
           strcmp(name + length - behind, star + 1) == 0;
}

bool model_file_is_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    static const char pattern[] = "-00000-of-00000";
    size_t length = sizeof pattern - 1;
    if (!dot || (size_t)(dot - name) < length)
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = dot[(ptrdiff_t)i - (ptrdiff_t)length];
        if (pattern[i] == '0' ? c < '0' || c > '9' : c != pattern[i])
            return false;
    }
    return true;
}

bool model_file_is_adapter(const char *name)
{
    return name_fits(name, "adapter_model*.safetensors");
}

/* ---- adapters ------------------------------------------------------------------------------- */

/* folder's adapter_config.json is there. */
static enum status refuse_adapter(const char *folder, struct err *err)
{
    char path[PATH_MAX];
    json_t *root = NULL;
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    if (json_read_file(&root, path, ADAPTER_CONFIG_LARGEST, JSON_DECODE_INT_AS_REAL, err))
        return err->status;
    const char *base = json_string_value(json_object_get(root, "base_model_name_or_path"));
    enum status status =
        err_set(err, STATUS_BAD_DATA,
                "%s: an adapter (adapter_config.json), which is no model of its own; its base "
                "model %s%.200s%sis what --model takes",
                folder, base ? "is " : "", base ? base : "", base ? " and " : "");
    json_decref(root);
    return status;
}

/* ---- folders -------------------------------------------------------------------------------- */

#define PICKLES                                                                                    \
    "pickles may hold code and are never read; fetch the model in safetensors, or convert it "     \
    "with "                                                                                        \
    "transformers: save_pretrained"
#define OTHER_FRAMEWORKS "fetch the model in safetensors, or as a .gguf"

/* The first that a folder has an entry of decides. */
static const struct sign {
    const char *pattern, *what, *advice; /* advice NULL: an adapter */
} signs[] = {
    {"adapter_config.json", NULL, NULL},
    {"model_index.json", "a diffusers pipeline, which makes images",
     "name a language model's folder"},
    {"pytorch_model*.bin", "pickled weights (pytorch_model.bin)", PICKLES},
    {"*.pth", "pickled weights (.pth)", PICKLES},
    {"*.pt", "pickled weights (.pt)", PICKLES},
    {"*.ckpt", "pickled weights (.ckpt)", PICKLES},
    {"*.onnx", "an ONNX model", OTHER_FRAMEWORKS},
    {"onnx", "an ONNX model", OTHER_FRAMEWORKS},
    {"*.h5", "TensorFlow weights (.h5)", OTHER_FRAMEWORKS},
    {"*.msgpack", "Flax weights (.msgpack)", OTHER_FRAMEWORKS},
    {"snapshots", "a folder of a cache", "name one of its snapshots"},
    {"config.json", "a model's config.json without its weights", "fetch model.safetensors too"},
    {"tokenizer.json", "a tokenizer without a model", "fetch the model too"},
    {"tokenizer.model", "a tokenizer without a model", "fetch the model too"},
};
#define N_SIGNS (sizeof signs / sizeof *signs)

/* Marks which patterns of the table have an entry in the folder. */
static enum status look(const char *folder, const struct sign *table, size_t n, bool *there,
                        struct err *err)
{
    memset(there, 0, n * sizeof *there);
    DIR *directory = opendir(folder);
    if (!directory)
        return err_set(err, STATUS_RESOURCE, "%s: %s", folder, strerror(errno));
    for (struct dirent *entry; (entry = readdir(directory));)
        for (size_t i = 0; i < n; i++)
            there[i] |= name_fits(entry->d_name, table[i].pattern);
    closedir(directory);
    return STATUS_OK;
}

enum status model_refuse_folder(const char *folder, struct err *err)
{
    bool there[N_SIGNS];
    struct err unread;
    TRY(look(folder, signs, N_SIGNS, there, err));
    for (size_t i = 0; i < N_SIGNS; i++) {
        if (!there[i])
            continue;
        if (!signs[i].what)
            return refuse_adapter(folder, err ? err : &unread);
        return err_set(err, STATUS_MISSING,
                       "%s: neither .safetensors nor .gguf is here, but %s; %s", folder,
                       signs[i].what, signs[i].advice);
    }
    return err_set(err, STATUS_MISSING,
                   "%s: neither .safetensors nor .gguf nor config.json is here; name a model's "
                   "folder",
                   folder);
}

enum status model_refuse_tokenizer(const char *folder, struct err *err)
{
    static const struct sign others[] = {
        {"tekken.json", "tekken.json", "fetch the tokenizer.json of the model's transformers form"},
        {"vocab.json", "vocab.json", "save it as tokenizer.json with transformers"},
        {"vocab.txt", "vocab.txt, WordPiece's", "models of BERT's kind are not read"},
    };
    bool there[3];
    TRY(look(folder, others, 3, there, err));
    for (size_t i = 0; i < 3; i++)
        if (there[i])
            return err_set(err, STATUS_MISSING,
                           "%s: no tokenizer here that is read: neither tokenizer.json nor "
                           "tokenizer.model, but %s; %s",
                           folder, others[i].what, others[i].advice);
    return err_set(err, STATUS_MISSING,
                   "%s: no tokenizer here: neither tokenizer.json nor tokenizer.model nor a .gguf; "
                   "fetch the model's tokenizer too",
                   folder);
}

/* ---- files ---------------------------------------------------------------------------------- */

enum status model_refuse_file(const char *path, struct err *err)
{
    static const struct sign kinds[] = {
        {"adapter_model*", "an adapter's weights", "--model takes its base model"},
        {"tokenizer*", "a tokenizer's file, not a model", "name the model's folder"},
        {"*.json", "a description, not the weights", "name the model's folder"},
        {"*.bin", "pickled weights", PICKLES},
        {"*.pth", "pickled weights", PICKLES},
        {"*.pt", "pickled weights", PICKLES},
        {"*.ckpt", "pickled weights", PICKLES},
        {"*.onnx", "an ONNX model", OTHER_FRAMEWORKS},
        {"*.h5", "TensorFlow weights", OTHER_FRAMEWORKS},
        {"*.msgpack", "Flax weights", OTHER_FRAMEWORKS},
        {"*", "not a model's file", "name a model's folder, a .safetensors or a .gguf"},
    };
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (model_file_is_part(name) && name_fits(name, "*.safetensors"))
        return err_set(err, STATUS_BAD_DATA,
                       "%s: this is one shard of a model in several; name the folder, %.*s", path,
                       slash ? (int)(slash - path) : 1, slash ? path : ".");
    size_t i = 0;
    while (!name_fits(name, kinds[i].pattern))
        i++;
    return err_set(err, STATUS_BAD_DATA, "%s: this is %s; %s", path, kinds[i].what,
                   kinds[i].advice);
}

enum status model_refuse_pointer(const char *path, const unsigned char *data, size_t size,
                                 struct err *err)
{
    static const char start[] = "version https://git-lfs";
    if (size < sizeof start - 1 || memcmp(data, start, sizeof start - 1) != 0)
        return STATUS_OK;
    return err_set(err, STATUS_BAD_DATA,
                   "%s: this is a Git LFS pointer in the place of the file; run git lfs pull there",
                   path);
}

/* ---- config.json ---------------------------------------------------------------------------- */

#define UNQUANTISED                                                                                \
    "use the model that it was made from (midashi quantises while loading), or a .gguf"

static enum status refuse_method(const char *path, const char *key, const char *method,
                                 struct err *err)
{
    return err_set(err, STATUS_BAD_DATA,
                   "%s: %s: weights quantised by %.80s are not read; " UNQUANTISED, path, key,
                   method);
}

/* transformers' names of methods, and how people write them; any other is named as it stands. */
static const struct {
    const char *method, *name;
} methods[] = {
    {"gptq", "GPTQ"},
    {"awq", "AWQ"},
    {"fp8", "FP8"},
    {"fbgemm_fp8", "FBGEMM (FP8)"},
    {"compressed-tensors", "compressed-tensors (llm-compressor)"},
    {"eetq", "EETQ (int8)"},
    {"hqq", "HQQ"},
    {"aqlm", "AQLM"},
    {"quanto", "Quanto"},
    {"torchao", "torchao"},
    {"auto-round", "AutoRound"},
    {"mxfp4", "MXFP4"},
    {"bitnet", "BitNet"},
    {"modelopt", "NVIDIA ModelOpt"},
};

/* bitsandbytes: NF4 is ours, its other types are not. */
static enum status check_bitsandbytes(const char *path, const json_t *config, struct err *err)
{
    if (json_is_true(json_object_get(config, "load_in_8bit")))
        return refuse_method(path, "quantization_config", "bitsandbytes in 8 bits (load_in_8bit)",
                             err);
    const char *type = json_string_value(json_object_get(config, "bnb_4bit_quant_type"));
    /* bitsandbytes' own default is FP4. */
    if (json_is_true(json_object_get(config, "load_in_4bit")) &&
        (!type || strcmp(type, "nf4") != 0))
        return refuse_method(path, "quantization_config",
                             "bitsandbytes in FP4 (bnb_4bit_quant_type other than nf4)", err);
    return STATUS_OK;
}

static enum status check_quantisation(const char *path, const json_t *config, struct err *err)
{
    static const char key[] = "quantization_config";
    if (!json_is_object(config))
        return err_set(err, STATUS_BAD_DATA, "%s: %s: not an object", path, key);
    const char *method = json_string_value(json_object_get(config, "quant_method"));
    if (!method)
        method = json_object_get(config, "load_in_4bit") || json_object_get(config, "load_in_8bit")
                     ? "bitsandbytes"
                     : "a method that is not named";
    if (strcmp(method, "bitsandbytes") == 0)
        return check_bitsandbytes(path, config, err);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(method, methods[i].method) == 0)
            return refuse_method(path, key, methods[i].name, err);
    return refuse_method(path, key, method, err);
}

/* NULL where it is absent or null. */
static const json_t *get(const json_t *root, const char *key)
{
    const json_t *value = json_object_get(root, key);
    return json_is_null(value) ? NULL : value;
}

enum status model_refuse_config(const char *path, const json_t *root, struct err *err)
{
    if (get(root, "_diffusers_version"))
        return err_set(
            err, STATUS_BAD_DATA,
            "%s: _diffusers_version: a part of a diffusers pipeline, which makes images; "
            "name a language model's folder",
            path);
    if (get(root, "text_config"))
        return err_set(err, STATUS_BAD_DATA,
                       "%s: text_config: a model of images or sound beside text is not read; use a "
                       "model of text alone",
                       path);
    if (get(root, "compression_config"))
        return refuse_method(path, "compression_config", "compressed-tensors", err);
    if (get(root, "quantization_config"))
        return check_quantisation(path, get(root, "quantization_config"), err);
    if (get(root, "quantization"))
        return refuse_method(path, "quantization", "MLX", err);
    return STATUS_OK;
}
