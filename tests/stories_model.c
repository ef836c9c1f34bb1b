/* See stories_model.h. */
#include "tests/stories_model.h"

#include <stdint.h>
#include <string.h>
#include "host/base/file.h"
#include "tests/model_writer.h"
#include "tests/support.h"

struct story_header {
    int32_t dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len;
};

/* llama2.c has a kind of tensor for all layers, then the next. */
static const char *const story_order[] = {
    "model.embed_tokens",
    "input_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "post_attention_layernorm",
    "mlp.gate_proj",
    "mlp.down_proj",
    "mlp.up_proj",
    "model.norm",
};
#define N_STORY_PARTS (sizeof story_order / sizeof *story_order)

struct story {
    struct model_shape shape;
    const float *parts[N_STORY_PARTS];
};

/* llama2.c rotates neighbours (2i, 2i+1); Hugging Face's rows are in rotate-half order. */
static void fill_from_story(void *context, const char *part, int layer, int rows, int columns,
                            float *values)
{
    const struct story *story = context;
    size_t i = 0, row_size = (size_t)columns;
    while (strcmp(story_order[i], part) != 0)
        ck_assert_uint_lt(++i, N_STORY_PARTS);
    const float *x = story->parts[i] + (size_t)(layer < 0 ? 0 : layer * rows) * row_size;
    int d = story->shape.head_dim;
    bool turned = strcmp(part, "self_attn.q_proj") == 0 || strcmp(part, "self_attn.k_proj") == 0;
    for (int row = 0; row < rows; row++) {
        int j = row % d, half = d / 2, source = j < half ? 2 * j : 2 * (j - half) + 1;
        int from = turned ? row - j + source : row;
        memcpy(values + (size_t)row * row_size, x + (size_t)from * row_size,
               row_size * sizeof *values);
    }
}

const char *stories_model(void)
{
    const char *bin = shared_data("models/stories260K/stories260K.bin");
    const char *tokenizer_model = shared_data("models/stories260K/tok512.model");
    if (!bin || !tokenizer_model)
        return NULL;
    struct file_map map, tokenizer;
    struct err err;
    ck_assert_int_eq(file_map(&map, bin, &err), STATUS_OK);
    ck_assert_int_eq(file_map(&tokenizer, tokenizer_model, &err), STATUS_OK);
    struct story_header c;
    memcpy(&c, map.data, sizeof c);
    struct story story = {.shape = {c.dim, c.hidden_dim, c.n_layers, c.n_heads, c.n_kv_heads,
                                    c.dim / c.n_heads, c.vocab_size, c.seq_len}};
    size_t d = (size_t)c.dim, f = (size_t)c.hidden_dim, layers = (size_t)c.n_layers;
    size_t kv = (size_t)(c.n_kv_heads * story.shape.head_dim);
    const size_t sizes[N_STORY_PARTS] = {
        (size_t)c.vocab_size * d,
        layers * d,
        layers * d * d,
        layers * kv * d,
        layers * kv * d,
        layers * d * d,
        layers * d,
        layers * f * d,
        layers * d * f,
        layers * f * d,
        d,
    };
    const float *x = (const float *)(map.data + sizeof c);
    for (size_t i = 0; i < N_STORY_PARTS; x += sizes[i], i++)
        story.parts[i] = x;
    const char *folder = temporary_folder();
    write_file(folder, "tokenizer.model", tokenizer.data, tokenizer.size);
    write_model_config(folder, &story.shape);
    write_model_weights(folder, &story.shape, fill_from_story, &story);
    file_unmap(&map), file_unmap(&tokenizer);
    return folder;
}
