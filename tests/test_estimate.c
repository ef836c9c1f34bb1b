/* The estimate of memory against what loading a model takes. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/estimate.h"
#include "host/llama.h"

enum { HIDDEN = 72, INTERMEDIATE = 200, LAYERS = 3, VOCABULARY = 300, QUERY = 72, KEY = 24 };

/* A Llama of zeros, its output head apart from the embeddings where `head` is set. */
static void write_model(const char *folder, bool head)
{
    static const struct {
        const char *name;
        int rows, columns;
    } shapes[] = {
        {"input_layernorm", 1, HIDDEN},          {"self_attn.q_proj", QUERY, HIDDEN},
        {"self_attn.k_proj", KEY, HIDDEN},       {"self_attn.v_proj", KEY, HIDDEN},
        {"self_attn.o_proj", HIDDEN, QUERY},     {"post_attention_layernorm", 1, HIDDEN},
        {"mlp.gate_proj", INTERMEDIATE, HIDDEN}, {"mlp.up_proj", INTERMEDIATE, HIDDEN},
        {"mlp.down_proj", HIDDEN, INTERMEDIATE},
    };
    static char file[2000000];
    char *at = file + 8;
    size_t offset = 0, n;
#define ADD(format, name, rows, columns)                                                           \
    n = (size_t)(rows) * (columns);                                                                \
    at += sprintf(at,                                                                              \
                  "%c\"" format "\":{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":"        \
                  "[%zu,%zu]}",                                                                    \
                  offset ? ',' : '{', name, rows, columns, 4 * offset, 4 * (offset + n));          \
    offset += n
    ADD("%s", "model.embed_tokens.weight", VOCABULARY, HIDDEN);
    for (int layer = 0; layer < LAYERS; layer++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            char name[128];
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, shapes[i].name);
            ADD("%s", name, shapes[i].rows, shapes[i].columns);
        }
    ADD("%s", "model.norm.weight", 1, HIDDEN);
    if (head) {
        ADD("%s", "lm_head.weight", VOCABULARY, HIDDEN);
    }
    *at++ = '}';
    memcpy(file, &(uint64_t){(uint64_t)(at - file - 8)}, 8);
    ck_assert_uint_le((size_t)(at - file) + 4 * offset, sizeof file);
    write_file(folder, "model.safetensors", file, (size_t)(at - file) + 4 * offset);
}

START_TEST(estimate_is_what_loading_takes)
{
    for (int head = 0; head < 2; head++) {
        const struct model_config config = {
            .hidden_size = HIDDEN,
            .intermediate_size = INTERMEDIATE,
            .n_layers = LAYERS,
            .n_heads = 6,
            .n_kv_heads = 2,
            .head_dim = 12,
            .vocab_size = VOCABULARY,
            .max_positions = 128,
            .rms_norm_eps = 1e-5f,
            .tied_embeddings = !head,
            .rope = {.theta = 10000},
        };
        char folder[4096];
        struct weights *weights;
        struct estimate estimate;
        struct err err;
        snprintf(folder, sizeof folder, "%s", temporary_folder());
        write_model(folder, head);
        ck_assert_msg(!weights_open(&weights, folder, &config, &err), "%s", err.text);
        estimate_memory(&estimate, weights, &config, 100, 60);
        ck_assert_int_eq(estimate.tensors, 2 + 9 * LAYERS + head);
        ck_assert_int_eq(
            estimate.parameters,
            HIDDEN * VOCABULARY * (1 + head) + HIDDEN +
                LAYERS * (2 * HIDDEN + 2 * HIDDEN * (QUERY + KEY) + 3 * HIDDEN * INTERMEDIATE));
        for (int precision = PRECISION_NF4; precision <= PRECISION_F32; precision++) {
            struct device device;
            struct llama llama;
            test_device(0, &device);
            ck_assert_msg(!llama_load(&llama, &device, weights, &config, precision, LAYERS, 60, 100,
                                      NULL, NULL, &err),
                          "%s", err.text);
            /* Each of a tensor's arrays is rounded up to 64 bytes, and there is a table of layers.
             */
            size_t slack = 64 * (3 * (2 + 9 * LAYERS) + 1) + LAYERS * sizeof(struct llama_layer);
            size_t want = llama.weight_bytes, got = estimate.weights[precision];
            ck_assert_msg(got <= want && want - got <= slack, "precision %d: %zu, not %zu",
                          precision, got, want);
            want = llama.arena.total - llama.weight_bytes;
            got = estimate.cpu_activations;
            ck_assert_msg(got <= want && want - got <= 12 * 64 + 6 * sizeof(double),
                          "activations: %zu, not %zu", got, want);
            ck_assert_uint_eq(estimate_cpu(&estimate, precision),
                              estimate.weights[precision] + estimate.cpu_activations);
            llama_free(&llama);
            device_close(&device);
        }
        ck_assert_uint_lt(estimate.gpu_activations, estimate.cpu_activations);
        ck_assert_uint_eq(estimate_gpu(&estimate, PRECISION_BF16),
                          estimate.weights[PRECISION_BF16] + estimate.gpu_activations + 500000000);
        weights_close(weights);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("estimate");
    TCase *tests = tcase_create("estimate");
    tcase_add_test(tests, estimate_is_what_loading_takes);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
