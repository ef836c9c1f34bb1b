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

static char header[1 << 16];
static size_t header_length, data_length;
static float data[1 << 20];

/* A matrix keeps the size of what it multiplies; a norm's weight is near 1. */
static void add(const char *name, int rows, int columns)
{
    size_t n = (size_t)rows * (size_t)columns, end = data_length + n;
    char shape[32];
    if (rows == 1)
        snprintf(shape, sizeof shape, "%d", columns);
    else
        snprintf(shape, sizeof shape, "%d,%d", rows, columns);
    header_length +=
        (size_t)snprintf(header + header_length, sizeof header - header_length,
                         "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                         header_length > 1 ? "," : "", name, shape, 4 * data_length, 4 * end);
    fill_normal(data + data_length, n, data_length + 1,
                rows == 1 ? 0.1f : 1.0f / sqrtf((float)columns));
    for (size_t i = data_length; i < end && rows == 1; i++)
        data[i] += 1;
    data_length = end;
}

static void write_weights(const char *folder)
{
    header_length = data_length = 0;
    header[header_length++] = '{';
    add("model.embed_tokens.weight", VOCABULARY, HIDDEN);
    for (int layer = 0; layer < LAYERS; layer++)
        for (size_t i = 0; i < sizeof layer_shapes / sizeof *layer_shapes; i++) {
            char name[128];
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, layer_shapes[i].name);
            add(name, layer_shapes[i].rows, layer_shapes[i].columns);
        }
    add("model.norm.weight", 1, HIDDEN);
    header[header_length++] = '}';
    uint64_t length = header_length;
    FILE *file = open_file(folder, "model.safetensors");
    fwrite(&length, sizeof length, 1, file);
    fwrite(header, 1, header_length, file);
    fwrite(data, sizeof *data, data_length, file);
    fclose(file);
}

void tiny_model_write(const char *folder)
{
    mkdir(folder, 0777);
    write_config(folder);
    write_tokenizer(folder);
    write_weights(folder);
}
