/* See model_writer.h. */
#include "tests/model_writer.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/utf8.h"
#include "tests/support.h"

enum { BYTES = 256, BOS = BYTES };

const struct model_shape tiny_shape = {
    .hidden = 48,
    .intermediate = 80,
    .n_layers = 3,
    .n_heads = 4,
    .n_kv_heads = 2,
    .head_dim = 12,
    .vocab_size = BYTES + 1,
    .max_positions = 256,
};

/* ---- files ---------------------------------------------------------------------------------- */

static FILE *open_file(const char *folder, const char *name)
{
    char path[4300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file) {
        perror(path);
        exit(1);
    }
    return file;
}

static void close_file(FILE *file, const char *name)
{
    bool failed = ferror(file);
    if (fclose(file) != 0 || failed) {
        perror(name);
        exit(1);
    }
}

/* ---- config.json ---------------------------------------------------------------------------- */

void write_model_config(const char *folder, const struct model_shape *shape)
{
    FILE *file = open_file(folder, "config.json");
    fprintf(file,
            "{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": %d, "
            "\"intermediate_size\": %d, \"num_hidden_layers\": %d, \"num_attention_heads\": %d, "
            "\"num_key_value_heads\": %d, \"head_dim\": %d, \"vocab_size\": %d, "
            "\"max_position_embeddings\": %d, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, "
            "\"hidden_act\": \"silu\", \"tie_word_embeddings\": true}\n",
            shape->hidden, shape->intermediate, shape->n_layers, shape->n_heads, shape->n_kv_heads,
            shape->head_dim, shape->vocab_size, shape->max_positions);
    close_file(file, "config.json");
}

/* ---- model.safetensors ---------------------------------------------------------------------- */

/* Calls visit for each tensor in the file's order. */
typedef void visit_tensor(void *context, const char *part, int layer, int rows, int columns);

static void visit_tensors(const struct model_shape *s, visit_tensor *visit, void *context)
{
    int query = s->n_heads * s->head_dim, key_value = s->n_kv_heads * s->head_dim;
    const struct {
        const char *part;
        int rows, columns;
    } parts[] = {
        {"input_layernorm", 1, s->hidden},
        {"self_attn.q_proj", query, s->hidden},
        {"self_attn.k_proj", key_value, s->hidden},
        {"self_attn.v_proj", key_value, s->hidden},
        {"self_attn.o_proj", s->hidden, query},
        {"post_attention_layernorm", 1, s->hidden},
        {"mlp.gate_proj", s->intermediate, s->hidden},
        {"mlp.up_proj", s->intermediate, s->hidden},
        {"mlp.down_proj", s->hidden, s->intermediate},
    };
    visit(context, "model.embed_tokens", -1, s->vocab_size, s->hidden);
    for (int layer = 0; layer < s->n_layers; layer++)
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            visit(context, parts[i].part, layer, parts[i].rows, parts[i].columns);
    visit(context, "model.norm", -1, 1, s->hidden);
}

/* The tensors of one file: `first` up to `last` in the order of visit_tensors. */
struct part_of_model {
    int at, first, last;
};

static bool is_in(struct part_of_model *part)
{
    int i = part->at++;
    return i >= part->first && i < part->last;
}

struct header {
    struct part_of_model part;
    FILE *index;      /* NULL: none; of shards, "name": "file" goes there */
    const char *file; /* its name, for the index */
    char text[1 << 16];
    size_t length, offset; /* of the text; of the next tensor's data */
};

__attribute__((format(printf, 2, 3))) static void append(struct header *header, const char *format,
                                                         ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t room = sizeof header->text - header->length;
    int n = vsnprintf(header->text + header->length, room, format, arguments);
    va_end(arguments);
    if (n < 0 || (size_t)n >= room) {
        fputs("model_writer: too many tensors\n", stderr);
        exit(1);
    }
    header->length += (size_t)n;
}

static void describe(void *context, const char *part, int layer, int rows, int columns)
{
    struct header *header = context;
    size_t end = header->offset + (size_t)rows * (size_t)columns * sizeof(float);
    char name[128];
    if (!is_in(&header->part))
        return;
    if (layer >= 0)
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, part);
    else
        snprintf(name, sizeof name, "%s.weight", part);
    append(header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", header->length ? "," : "{", name);
    if (rows > 1)
        append(header, "%d,", rows);
    append(header, "%d],\"data_offsets\":[%zu,%zu]}", columns, header->offset, end);
    header->offset = end;
    if (header->index)
        fprintf(header->index, "%s\"%s\": \"%s\"", header->part.at > 1 ? ", " : "", name,
                header->file);
}

struct data {
    struct part_of_model part;
    FILE *file;
    fill_tensor *fill;
    void *context;
};

/* Tensors of other files are filled too: a random fill goes by their number. */
static void write_tensor(void *context, const char *part, int layer, int rows, int columns)
{
    struct data *data = context;
    size_t n = (size_t)rows * (size_t)columns;
    float *values = malloc(n * sizeof *values);
    if (!values) {
        perror(part);
        exit(1);
    }
    data->fill(data->context, part, layer, rows, columns, values);
    if (is_in(&data->part))
        fwrite(values, sizeof *values, n, data->file);
    free(values);
}

static void write_part(const char *folder, const char *name, const struct model_shape *shape,
                       struct part_of_model part, FILE *index, fill_tensor *fill, void *context)
{
    struct header *header = calloc(1, sizeof *header);
    if (!header) {
        perror("header");
        exit(1);
    }
    header->part = part;
    header->index = index;
    header->file = name;
    visit_tensors(shape, describe, header);
    append(header, "}");
    struct data data = {part, open_file(folder, name), fill, context};
    uint64_t length = header->length;
    fwrite(&length, sizeof length, 1, data.file);
    fwrite(header->text, 1, header->length, data.file);
    visit_tensors(shape, write_tensor, &data);
    close_file(data.file, name);
    free(header);
}

static int count_tensors(const struct model_shape *shape)
{
    return 2 + 9 * shape->n_layers;
}

void write_model_weights(const char *folder, const struct model_shape *shape, fill_tensor *fill,
                         void *context)
{
    struct part_of_model all = {.last = count_tensors(shape)};
    write_part(folder, "model.safetensors", shape, all, NULL, fill, context);
}

/* ---- tokenizer.json ------------------------------------------------------------------------- */

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

void write_byte_tokenizer(const char *folder, const char *dropped)
{
    FILE *file = open_file(folder, "tokenizer.json");
    fprintf(file,
            "{\"version\": \"1.0\", \"added_tokens\": [{\"id\": %d, \"content\": \"<s>\", "
            "\"special\": true, \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
            "\"normalized\": false}], \"normalizer\": ",
            BOS);
    if (dropped)
        fprintf(file,
                "{\"type\": \"Replace\", \"pattern\": {\"String\": \"%s\"}, \"content\": \"\"}",
                dropped);
    else
        fputs("null", file);
    fprintf(file,
            ", \"pre_tokenizer\": {\"type\": "
            "\"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": "
            "true}, \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "
            "[{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": "
            "\"A\", \"type_id\": 0}}], \"pair\": [], \"special_tokens\": {\"<s>\": {\"id\": "
            "\"<s>\", \"ids\": [%d], \"tokens\": [\"<s>\"]}}}, \"decoder\": {\"type\": "
            "\"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
            "\"use_regex\": true}, \"model\": {\"type\": \"BPE\", \"merges\": [], \"vocab\": {",
            BOS);
    for (int byte = 0; byte < BYTES; byte++) {
        char text[5] = "";
        utf8_encode(stand_in(byte), text);
        fprintf(file, "%s\"%s%s\": %d", byte ? ", " : "", byte == '"' || byte == '\\' ? "\\" : "",
                text, byte);
    }
    fputs("}}}\n", file);
    close_file(file, "tokenizer.json");
}

/* ---- a random model ------------------------------------------------------------------------- */

static void fill_random(void *context, const char *part, int layer, int rows, int columns,
                        float *values)
{
    (void)part, (void)layer;
    uint64_t *seed = context;
    size_t n = (size_t)rows * (size_t)columns;
    fill_normal(values, n, ++*seed, rows == 1 ? 0.1f : 1.0f / sqrtf((float)columns));
    for (size_t i = 0; i < n && rows == 1; i++)
        values[i] += 1;
}

void write_random_model(const char *folder, const struct model_shape *shape)
{
    uint64_t seed = 0;
    write_model_config(folder, shape);
    write_model_weights(folder, shape, fill_random, &seed);
    write_byte_tokenizer(folder, NULL);
}

void write_random_shards(const char *folder, const struct model_shape *shape, int n)
{
    write_model_config(folder, shape);
    write_byte_tokenizer(folder, NULL);
    FILE *index = open_file(folder, "model.safetensors.index.json");
    fputs("{\"metadata\": {}, \"weight_map\": {", index);
    for (int shard = 0; shard < n; shard++) {
        char name[64];
        uint64_t seed = 0;
        struct part_of_model part = {.first = shard * count_tensors(shape) / n,
                                     .last = (shard + 1) * count_tensors(shape) / n};
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", shard + 1, n);
        write_part(folder, name, shape, part, index, fill_random, &seed);
    }
    fputs("}}\n", index);
    close_file(index, "model.safetensors.index.json");
}
