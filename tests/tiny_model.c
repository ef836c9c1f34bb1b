/* See tiny_model.h. */
#include "tests/tiny_model.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "host/base/utf8.h"
#include "tests/support.h"

enum { HIDDEN = 48, INTERMEDIATE = 80, LAYERS = 3, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 12 };
enum { BYTES = 256, BOS = BYTES, VOCABULARY = BYTES + 1 };

static FILE *open_file(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file) {
        perror(path);
        exit(1);
    }
    return file;
}

static void write_config(const char *folder)
{
    FILE *file = open_file(folder, "config.json");
    fprintf(file,
            "{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": %d, "
            "\"intermediate_size\": %d, \"num_hidden_layers\": %d, \"num_attention_heads\": %d, "
            "\"num_key_value_heads\": %d, \"head_dim\": %d, \"vocab_size\": %d, "
            "\"max_position_embeddings\": 256, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, "
            "\"hidden_act\": \"silu\", \"tie_word_embeddings\": true}\n",
            HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY);
    fclose(file);
}

/* GPT-2's printable stand-in for a byte: itself where it prints, else U+0100 and following. */
static int32_t stand_in(int byte)
{
    int moved = 0;
    for (int b = 0; b <= byte; b++) {
        bool prints = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        if (b == byte)
            return prints ? byte : 256 + moved;
        moved += !prints;
    }
    return 0;
}

static void write_tokenizer(const char *folder)
{
    FILE *file = open_file(folder, "tokenizer.json");
    fprintf(file,
            "{\"version\": \"1.0\", \"added_tokens\": [{\"id\": %d, \"content\": \"<s>\", "
            "\"special\": true, \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
            "\"normalized\": false}], \"normalizer\": null, \"pre_tokenizer\": {\"type\": "
            "\"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": "
            "true}, \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "
            "[{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": "
            "\"A\", \"type_id\": 0}}], \"pair\": [], \"special_tokens\": {\"<s>\": {\"id\": "
            "\"<s>\", \"ids\": [%d], \"tokens\": [\"<s>\"]}}}, \"decoder\": {\"type\": "
            "\"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
            "\"use_regex\": true}, \"model\": {\"type\": \"BPE\", \"merges\": [], \"vocab\": {",
            BOS, BOS);
    for (int byte = 0; byte < BYTES; byte++) {
        char text[5] = "";
        utf8_encode(stand_in(byte), text);
        fprintf(file, "%s\"%s%s\": %d", byte ? ", " : "", byte == '"' || byte == '\\' ? "\\" : "",
                text, byte);
    }
    fputs("}}}\n", file);
    fclose(file);
}

struct shape {
    const char *name;
    int rows, columns; /* rows 1: a vector */
};

static const struct shape layer_shapes[] = {
    {"input_layernorm", 1, HIDDEN},
    {"self_attn.q_proj", HEADS *HEAD_DIM, HIDDEN},
    {"self_attn.k_proj", KV_HEADS *HEAD_DIM, HIDDEN},
    {"self_attn.v_proj", KV_HEADS *HEAD_DIM, HIDDEN},
    {"self_attn.o_proj", HIDDEN, HEADS *HEAD_DIM},
    {"post_attention_layernorm", 1, HIDDEN},
    {"mlp.gate_proj", INTERMEDIATE, HIDDEN},
    {"mlp.up_proj", INTERMEDIATE, HIDDEN},
    {"mlp.down_proj", HIDDEN, INTERMEDIATE},
};

static struct tensor {
    char name[128], shape[32];
    size_t begin, end; /* in data */
} tensors[2 + 9 * LAYERS];
static int n_tensors;
static float data[1 << 20];

/* A matrix keeps the size of what it multiplies; a norm's weight is near 1. */
static void add(const char *name, int rows, int columns)
{
    struct tensor *tensor = &tensors[n_tensors];
    tensor->begin = n_tensors > 0 ? tensors[n_tensors - 1].end : 0;
    tensor->end = tensor->begin + (size_t)rows * (size_t)columns;
    n_tensors++;
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    if (rows == 1)
        snprintf(tensor->shape, sizeof tensor->shape, "%d", columns);
    else
        snprintf(tensor->shape, sizeof tensor->shape, "%d,%d", rows, columns);
    fill_normal(data + tensor->begin, tensor->end - tensor->begin, tensor->begin + 1,
                rows == 1 ? 0.1f : 1.0f / sqrtf((float)columns));
    for (size_t i = tensor->begin; i < tensor->end && rows == 1; i++)
        data[i] += 1;
}

static void add_all(void)
{
    n_tensors = 0;
    add("model.embed_tokens.weight", VOCABULARY, HIDDEN);
    for (int layer = 0; layer < LAYERS; layer++)
        for (size_t i = 0; i < sizeof layer_shapes / sizeof *layer_shapes; i++) {
            char name[128];
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, layer_shapes[i].name);
            add(name, layer_shapes[i].rows, layer_shapes[i].columns);
        }
    add("model.norm.weight", 1, HIDDEN);
}

/* Tensors first .. last. */
static void write_weights(const char *folder, const char *name, int first, int last)
{
    static char header[1 << 16];
    size_t length = 0, begin = tensors[first].begin;
    for (int i = first; i < last; i++)
        length += (size_t)snprintf(
            header + length, sizeof header - length,
            "%c\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
            i > first ? ',' : '{', tensors[i].name, tensors[i].shape,
            4 * (tensors[i].begin - begin), 4 * (tensors[i].end - begin));
    header[length++] = '}';
    uint64_t written_length = length;
    FILE *file = open_file(folder, name);
    fwrite(&written_length, sizeof written_length, 1, file);
    fwrite(header, 1, length, file);
    fwrite(data + begin, sizeof *data, tensors[last - 1].end - begin, file);
    fclose(file);
}

static void write_shards(const char *folder, int n)
{
    FILE *index = open_file(folder, "model.safetensors.index.json");
    fputs("{\"metadata\": {}, \"weight_map\": {", index);
    for (int shard = 0; shard < n; shard++) {
        char name[64];
        int first = shard * n_tensors / n, last = (shard + 1) * n_tensors / n;
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", shard + 1, n);
        write_weights(folder, name, first, last);
        for (int i = first; i < last; i++)
            fprintf(index, "%s\"%s\": \"%s\"", i ? ", " : "", tensors[i].name, name);
    }
    fputs("}}\n", index);
    fclose(index);
}

void tiny_model_write(const char *folder, int shards)
{
    mkdir(folder, 0777);
    write_config(folder);
    write_tokenizer(folder);
    add_all();
    if (shards == 0)
        write_weights(folder, "model.safetensors", 0, n_tensors);
    else
        write_shards(folder, shards);
}
