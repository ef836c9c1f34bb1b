/* A whole model end to end: stories260K (llama2.c's format, converted here to a safetensors folder)
 * must write, greedily, the text that llama2.c writes. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/file.h"
#include "host/llama.h"
#include "kernels/matmul.h"
#include "loaders/tokenizer.h"
#include "tests/model_writer.h"

/* ---- llama2.c's .bin to a Hugging Face folder ----------------------------------------------- */

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

static const char *convert(const char *bin, const char *tokenizer_model)
{
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

/* ---- greedy writing ------------------------------------------------------------------------- */

#define N_STEPS 200

struct last_state {
    const struct llama *llama;
    struct device *device;
    float *state; /* (D) */
};

static enum status keep_last(void *context, int layer, const void *hidden, int n_tokens,
                             struct err *err)
{
    struct last_state *last = context;
    int d = last->llama->config.hidden_size;
    if (layer < last->llama->config.n_layers)
        return STATUS_OK;
    const float *row = (const float *)hidden + (size_t)(n_tokens - 1) * (size_t)d;
    return llama_final_norm(last->llama, last->device, last->state, row, 1, err);
}

static int best_token(const float *logits, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

START_TEST(stories260k_writes_its_golden_text)
{
    const char *bin = shared_data("models/stories260K/stories260K.bin");
    const char *tokenizer_model = shared_data("models/stories260K/tok512.model");
    const char *golden_path = shared_data("models/stories260K/golden_t0_n200.txt");
    if (!bin || !tokenizer_model || !golden_path)
        SKIP("needs models/stories260K of the shared data");
    const char *folder = convert(bin, tokenizer_model);
    struct err err = {0};
    struct device device;
    struct model_config config;
    struct weights *weights;
    struct tokenizer *tokenizer;
    struct llama llama;
    test_device(0, &device);
    ck_assert_msg(model_config_read(&config, folder, &err) == STATUS_OK, "%s", err.text);
    ck_assert_msg(weights_open(&weights, folder, &config, &err) == STATUS_OK, "%s", err.text);
    ck_assert_msg(tokenizer_open(&tokenizer, folder, &err) == STATUS_OK, "%s", err.text);
    ck_assert_msg(llama_load(&llama, &device, weights, &config, PRECISION_F32, config.n_layers, 256,
                             256, NULL, &err) == STATUS_OK,
                  "%s", err.text);

    int32_t tokens[N_STEPS + 1] = {1}; /* BOS */
    char text[8 * N_STEPS] = "";
    size_t length = 0;
    float *state = guarded_floats((size_t)config.hidden_size);
    float *logits = guarded_floats((size_t)config.vocab_size);
    struct last_state last = {&llama, &device, state};
    for (int n = 1; n <= N_STEPS; n++) {
        int32_t cu_seqlens[2] = {0, n};
        struct llama_batch batch = {tokens, cu_seqlens, 1};
        ck_assert_int_eq(
            llama_forward(&llama, &device, &batch, config.n_layers, keep_last, &last, &err),
            STATUS_OK);
        ck_assert_int_eq(matmul_fwd(&device, logits, state, &llama.embedding, 1, false, &err),
                         STATUS_OK);
        tokens[n] = best_token(logits, config.vocab_size);
        if (tokens[n] == 1)
            break;
        const char *bytes;
        size_t size = tokenizer_bytes(tokenizer, tokens[n], &bytes);
        if (n == 1 && size > 0 && bytes[0] == ' ')
            bytes++, size--; /* the space that SentencePiece puts before a text */
        memcpy(text + length, bytes, size);
        length += size;
    }
    struct file_map want;
    ck_assert_int_eq(file_map(&want, golden_path, &err), STATUS_OK);
    size_t want_length = want.size;
    while (want_length > 0 && want.data[want_length - 1] == '\n')
        want_length--;
    ck_assert_msg(length == want_length && memcmp(text, want.data, length) == 0,
                  "got:\n%.*s\nwant:\n%.*s", (int)length, text, (int)want_length,
                  (const char *)want.data);
    file_unmap(&want);
    check_guarded(state, (size_t)config.hidden_size);
    check_guarded(logits, (size_t)config.vocab_size);
    llama_free(&llama);
    tokenizer_close(tokenizer);
    weights_close(weights);
    device_close(&device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stories");
    TCase *tests = tcase_create("stories");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, stories260k_writes_its_golden_text);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
