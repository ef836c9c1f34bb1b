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

/* ---- llama2.c's .bin to a Hugging Face folder ----------------------------------------------- */

struct story_header {
    int32_t dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len;
};

struct safetensors_out {
    char header[1 << 16];
    size_t header_length;
    FILE *data;
    size_t offset;
};

static void add_tensor(struct safetensors_out *out, const char *name, const float *x, int rows,
                       int columns)
{
    size_t bytes = (size_t)rows * (size_t)columns * sizeof *x;
    char shape[64];
    if (rows == 1)
        snprintf(shape, sizeof shape, "%d", columns);
    else
        snprintf(shape, sizeof shape, "%d,%d", rows, columns);
    out->header_length += (size_t)snprintf(
        out->header + out->header_length, sizeof out->header - out->header_length,
        "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
        out->header_length > 1 ? "," : "", name, shape, out->offset, out->offset + bytes);
    ck_assert_uint_eq(fwrite(x, 1, bytes, out->data), bytes);
    out->offset += bytes;
}

/* llama2.c rotates neighbours (2i, 2i+1); Hugging Face's rows are in rotate-half order. */
static void add_permuted(struct safetensors_out *out, const char *name, const float *x, int heads,
                         int head_dim, int columns)
{
    size_t row_size = (size_t)columns;
    float *permuted = malloc((size_t)heads * (size_t)head_dim * row_size * sizeof *permuted);
    for (int h = 0; h < heads; h++)
        for (int j = 0; j < head_dim; j++) {
            int half = head_dim / 2, source = j < half ? 2 * j : 2 * (j - half) + 1;
            memcpy(permuted + (size_t)(h * head_dim + j) * row_size,
                   x + (size_t)(h * head_dim + source) * row_size, row_size * sizeof *x);
        }
    add_tensor(out, name, permuted, heads * head_dim, columns);
    free(permuted);
}

static const char *convert(const char *bin, const char *tokenizer_model)
{
    struct file_map map, tokenizer;
    struct err err;
    ck_assert_int_eq(file_map(&map, bin, &err), STATUS_OK);
    ck_assert_int_eq(file_map(&tokenizer, tokenizer_model, &err), STATUS_OK);
    struct story_header c;
    memcpy(&c, map.data, sizeof c);
    int head_dim = c.dim / c.n_heads, kv = c.n_kv_heads * head_dim;
    const char *folder = temporary_folder();
    write_file(folder, "tokenizer.model", tokenizer.data, tokenizer.size);

    char data_path[4200];
    snprintf(data_path, sizeof data_path, "%s/data", folder);
    struct safetensors_out *out = calloc(1, sizeof *out);
    out->data = fopen(data_path, "wb");
    out->header[out->header_length++] = '{';
    const float *x = (const float *)(map.data + sizeof c);
    add_tensor(out, "model.embed_tokens.weight", x, c.vocab_size, c.dim);
    x += (size_t)c.vocab_size * (size_t)c.dim;
    const struct {
        const char *name;
        int rows, columns, heads;
    } parts[] = {
        {"input_layernorm", 1, c.dim, 0},
        {"self_attn.q_proj", c.dim, c.dim, c.n_heads},
        {"self_attn.k_proj", kv, c.dim, c.n_kv_heads},
        {"self_attn.v_proj", kv, c.dim, 0},
        {"self_attn.o_proj", c.dim, c.dim, 0},
        {"post_attention_layernorm", 1, c.dim, 0},
        {"mlp.gate_proj", c.hidden_dim, c.dim, 0},
        {"mlp.down_proj", c.dim, c.hidden_dim, 0},
        {"mlp.up_proj", c.hidden_dim, c.dim, 0},
    };
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
        for (int layer = 0; layer < c.n_layers; layer++) {
            char name[128];
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, parts[p].name);
            if (parts[p].heads)
                add_permuted(out, name, x, parts[p].heads, head_dim, parts[p].columns);
            else
                add_tensor(out, name, x, parts[p].rows, parts[p].columns);
            x += (size_t)parts[p].rows * (size_t)parts[p].columns;
        }
    add_tensor(out, "model.norm.weight", x, 1, c.dim);
    out->header[out->header_length++] = '}';
    ck_assert_int_eq(fclose(out->data), 0);

    struct file_map data;
    ck_assert_int_eq(file_map(&data, data_path, &err), STATUS_OK);
    uint64_t length = out->header_length;
    size_t total = 8 + out->header_length + data.size;
    unsigned char *file = malloc(total);
    memcpy(file, &length, 8);
    memcpy(file + 8, out->header, out->header_length);
    memcpy(file + 8 + out->header_length, data.data, data.size);
    write_file(folder, "model.safetensors", file, total);
    free(file), free(out);
    file_unmap(&data), file_unmap(&map), file_unmap(&tokenizer);

    char config[1024];
    int n =
        snprintf(config, sizeof config,
                 "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":%d,"
                 "\"intermediate_size\":%d,\"num_hidden_layers\":%d,"
                 "\"num_attention_heads\":%d,\"num_key_value_heads\":%d,\"vocab_size\":%d,"
                 "\"max_position_embeddings\":%d,\"rms_norm_eps\":1e-5,\"rope_theta\":10000,"
                 "\"hidden_act\":\"silu\",\"tie_word_embeddings\":true}",
                 c.dim, c.hidden_dim, c.n_layers, c.n_heads, c.n_kv_heads, c.vocab_size, c.seq_len);
    write_file(folder, "config.json", config, (size_t)n);
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
