/* What a model is, from config.json: good, incomplete and unsupported. */
#include "tests/support.h"

#include <stdio.h>
#include <string.h>
#include "loaders/model_config.h"

/* ---- config.json ---------------------------------------------------------------------------- */

#define OF_FAMILY(class, heads)                                                                    \
    "\"architectures\":[\"" class "\"],\"num_attention_heads\":" heads                             \
                                  ",\"intermediate_size\":96,\"num_hidden_layers\":3,\"vocab_"     \
                                  "size\":100"
#define SIZES   OF_FAMILY("LlamaForCausalLM", "4") ",\"hidden_size\":64"
#define MISTRAL OF_FAMILY("MistralForCausalLM", "16") ",\"hidden_size\":128"
#define QWEN2   OF_FAMILY("Qwen2ForCausalLM", "64") ",\"hidden_size\":128"
#define QWEN3   OF_FAMILY("Qwen3ForCausalLM", "64") ",\"hidden_size\":128"

/* Writes config.json to a fresh folder; returns the folder. */
static const char *write_config(const char *json)
{
    static char folder[4096];
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    write_file(folder, "config.json", json, strlen(json));
    return folder;
}

static struct model_config read_whole(const char *path)
{
    struct model_config config;
    struct err err;
    ck_assert_msg(model_config_read(&config, path, &err) == STATUS_OK, "%s", err.text);
    return config;
}

START_TEST(model_config_has_the_defaults_of_transformers)
{
    struct model_config config = read_whole(write_config("{" SIZES "}"));
    ck_assert_int_eq(config.architecture, ARCHITECTURE_LLAMA);
    ck_assert_int_eq(config.hidden_size, 64);
    ck_assert_int_eq(config.intermediate_size, 96);
    ck_assert_int_eq(config.n_layers, 3);
    ck_assert_int_eq(config.n_heads, 4);
    ck_assert_int_eq(config.n_kv_heads, 4);
    ck_assert_int_eq(config.head_dim, 16);
    ck_assert_int_eq(config.vocab_size, 100);
    ck_assert_int_eq(config.max_positions, 2048);
    ck_assert_float_eq(config.rms_norm_eps, 1e-6f);
    ck_assert(!config.tied_embeddings);
    ck_assert_int_eq(config.rope.scaling, ROPE_DEFAULT);
    ck_assert_double_eq(config.rope.theta, 10000);
}
END_TEST

START_TEST(model_config_reads_every_value)
{
    struct model_config config = read_whole(write_config(
        "{" SIZES ",\"num_key_value_heads\":2,\"head_dim\":32,\"max_position_embeddings\":4096,"
        "\"rms_norm_eps\":1e-5,\"tie_word_embeddings\":true,\"rope_theta\":500000,"
        "\"hidden_act\":\"silu\",\"attention_bias\":false,\"rope_scaling\":null}"));
    ck_assert_int_eq(config.n_kv_heads, 2);
    ck_assert_int_eq(config.head_dim, 32);
    ck_assert_int_eq(config.max_positions, 4096);
    ck_assert_float_eq(config.rms_norm_eps, 1e-5f);
    ck_assert(config.tied_embeddings);
    ck_assert_double_eq(config.rope.theta, 500000);
}
END_TEST

START_TEST(model_config_reads_rope_scaling)
{
    static const struct {
        const char *json;
        enum rope_scaling scaling;
        double theta, factor, low, high;
        int original;
    } cases[] = {
        {"\"rope_scaling\":{\"rope_type\":\"default\"}", ROPE_DEFAULT, 1e4, 0, 0, 0, 0},
        {"\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}", ROPE_LINEAR, 1e4, 2.5, 0, 0, 0},
        {"\"rope_theta\":5e5,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,"
         "\"low_freq_factor\":1,\"high_freq_factor\":4,\"original_max_position_embeddings\":8192}",
         ROPE_LLAMA3, 5e5, 8, 1, 4, 8192},
        {"\"max_position_embeddings\":512,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,"
         "\"low_freq_factor\":1,\"high_freq_factor\":4}",
         ROPE_LLAMA3, 1e4, 8, 1, 4, 512},
        {"\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":1e5}", ROPE_DEFAULT, 1e5, 0,
         0, 0, 0},
        {"\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":4,\"rope_theta\":1e6}",
         ROPE_LINEAR, 1e6, 4, 0, 0, 0},
        /* Both: as transformers, rope_scaling unless it is empty. */
        {"\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":4,\"rope_theta\":1e6},"
         "\"rope_theta\":1e5,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":3}",
         ROPE_LINEAR, 1e5, 3, 0, 0, 0},
        {"\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":4},\"rope_theta\":1e5,"
         "\"rope_scaling\":{}",
         ROPE_LINEAR, 1e5, 4, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[1024];
        snprintf(json, sizeof json, "{" SIZES ",%s}", cases[i].json);
        struct model_config config = read_whole(write_config(json));
        ck_assert_int_eq(config.rope.scaling, cases[i].scaling);
        ck_assert_double_eq(config.rope.theta, cases[i].theta);
        ck_assert_double_eq(config.rope.factor, cases[i].factor);
        ck_assert_double_eq(config.rope.low_frequency_factor, cases[i].low);
        ck_assert_double_eq(config.rope.high_frequency_factor, cases[i].high);
        ck_assert_int_eq(config.rope.original_max_positions, cases[i].original);
    }
}
END_TEST

/* What transformers' classes say of the same files. */
START_TEST(model_config_has_the_defaults_of_each_family)
{
    static const struct {
        const char *json;
        struct model_config want;
    } cases[] = {
        {"{" MISTRAL "}",
         {.architecture = ARCHITECTURE_MISTRAL,
          .n_kv_heads = 8,
          .head_dim = 8,
          .max_positions = 131072,
          .sliding_window = 4096}},
        {"{" QWEN2 "}",
         {.architecture = ARCHITECTURE_QWEN2,
          .n_kv_heads = 32,
          .head_dim = 2,
          .max_positions = 32768,
          .attention_bias = true,
          .first_window_layer = 3}},
        {"{" QWEN3 ",\"sliding_window\":7}",
         {.architecture = ARCHITECTURE_QWEN3,
          .n_kv_heads = 32,
          .head_dim = 128,
          .max_positions = 32768,
          .head_norms = true,
          .first_window_layer = 3}},
        {"{" QWEN3 ",\"num_key_value_heads\":null,\"attention_bias\":true,\"mlp_bias\":true}",
         {.architecture = ARCHITECTURE_QWEN3,
          .n_kv_heads = 64,
          .head_dim = 128,
          .max_positions = 32768,
          .attention_bias = true,
          .attention_output_bias = true,
          .head_norms = true,
          .first_window_layer = 3}},
        {"{" SIZES ",\"attention_bias\":true,\"mlp_bias\":true,\"sliding_window\":7}",
         {.n_kv_heads = 4,
          .head_dim = 16,
          .max_positions = 2048,
          .attention_bias = true,
          .attention_output_bias = true,
          .mlp_bias = true,
          .first_window_layer = 3}},
        {"{" MISTRAL ",\"num_key_value_heads\":2,\"attention_bias\":true,\"sliding_window\":null}",
         {.architecture = ARCHITECTURE_MISTRAL,
          .n_kv_heads = 2,
          .head_dim = 8,
          .max_positions = 131072,
          .first_window_layer = 3}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct model_config got = read_whole(write_config(cases[i].json));
        const struct model_config *want = &cases[i].want;
        ck_assert_int_eq(got.architecture, want->architecture);
        ck_assert_int_eq(got.n_kv_heads, want->n_kv_heads);
        ck_assert_int_eq(got.head_dim, want->head_dim);
        ck_assert_int_eq(got.max_positions, want->max_positions);
        ck_assert_float_eq(got.rms_norm_eps, 1e-6f);
        ck_assert_double_eq(got.rope.theta, 10000);
        ck_assert(!got.tied_embeddings);
        ck_assert_int_eq(got.attention_bias, want->attention_bias);
        ck_assert_int_eq(got.attention_output_bias, want->attention_output_bias);
        ck_assert_int_eq(got.mlp_bias, want->mlp_bias);
        ck_assert_int_eq(got.head_norms, want->head_norms);
        ck_assert_int_eq(got.sliding_window, want->sliding_window);
        ck_assert_int_eq(got.first_window_layer, want->first_window_layer);
    }
}
END_TEST

START_TEST(model_config_knows_base_models_and_types)
{
    static const struct {
        const char *json;
        enum architecture architecture;
    } cases[] = {
        {"\"architectures\":[\"LlamaModel\"]", ARCHITECTURE_LLAMA},
        {"\"architectures\":[\"MistralModel\"]", ARCHITECTURE_MISTRAL},
        {"\"architectures\":[\"Qwen2Model\"]", ARCHITECTURE_QWEN2},
        {"\"architectures\":[\"Qwen3Model\"]", ARCHITECTURE_QWEN3},
        {"\"model_type\":\"llama\"", ARCHITECTURE_LLAMA},
        {"\"model_type\":\"mistral\"", ARCHITECTURE_MISTRAL},
        {"\"model_type\":\"qwen2\"", ARCHITECTURE_QWEN2},
        {"\"model_type\":\"qwen3\"", ARCHITECTURE_QWEN3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[512];
        snprintf(json, sizeof json,
                 "{%s,\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":3,"
                 "\"num_attention_heads\":32,\"vocab_size\":100}",
                 cases[i].json);
        ck_assert_int_eq(read_whole(write_config(json)).architecture, cases[i].architecture);
    }
}
END_TEST

START_TEST(model_config_reads_windows)
{
    static const struct {
        const char *json;
        int window, first; /* of 3 blocks */
    } cases[] = {
        {MISTRAL ",\"sliding_window\":5", 5, 0},
        {MISTRAL ",\"sliding_window\":5,\"layer_types\":[\"sliding_attention\","
                 "\"sliding_attention\",\"sliding_attention\"]",
         5, 0},
        {QWEN2 ",\"use_sliding_window\":true", 4096, 3},
        {QWEN2 ",\"use_sliding_window\":true,\"max_window_layers\":1", 4096, 1},
        {QWEN2 ",\"use_sliding_window\":true,\"max_window_layers\":-1,\"sliding_window\":9", 9, 0},
        {QWEN2 ",\"use_sliding_window\":true,\"max_window_layers\":0,\"sliding_window\":null", 0,
         3},
        {QWEN3 ",\"use_sliding_window\":true,\"max_window_layers\":0,\"sliding_window\":9,"
               "\"layer_types\":[\"full_attention\",\"full_attention\",\"sliding_attention\"]",
         9, 2},
        {QWEN3 ",\"max_window_layers\":0,\"layer_types\":[\"full_attention\",\"full_attention\","
               "\"full_attention\"]",
         0, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[1024];
        snprintf(json, sizeof json, "{%s}", cases[i].json);
        struct model_config config = read_whole(write_config(json));
        ck_assert_int_eq(config.sliding_window, cases[i].window);
        ck_assert_int_eq(config.first_window_layer, cases[i].first);
    }
}
END_TEST

static const struct {
    const char *json, *part;
} refused[] = {
    {"", "config.json: line 1: not good JSON"},
    {"{\n\n\"a\":}", "config.json: line 3: not good JSON"},
    {"[1]", "architectures: missing"},
    {"{}", "architectures: missing"},
    {"{\"architectures\":\"LlamaForCausalLM\"}", "architectures: not a list of names"},
    {"{\"architectures\":[]}", "architectures: not a list of names"},
    {"{\"architectures\":[\"GPT2LMHeadModel\"]}",
     "architectures: GPT2LMHeadModel is not supported; supported: LlamaForCausalLM"},
    {"{\"model_type\":\"bert\"}", "architectures: bert is not supported"},
    {"{\"architectures\":[\"LlamaForCausalLM\"]}", "hidden_size: missing"},
    {"{" SIZES ",\"hidden_size\":64}", "duplicate"},
    {"{" SIZES ",\"num_key_value_heads\":3}",
     "num_key_value_heads: 3 does not divide num_attention_heads 4"},
    {"{" SIZES ",\"num_key_value_heads\":8}", "num_key_value_heads: 8 does not divide"},
    {"{" SIZES ",\"num_key_value_heads\":0}", "num_key_value_heads: 0 is not within 1"},
    {"{" SIZES ",\"num_key_value_heads\":\"2\"}", "num_key_value_heads: not a whole number"},
    {"{" SIZES ",\"num_key_value_heads\":2.0}", "num_key_value_heads: not a whole number"},
    {"{" SIZES ",\"head_dim\":15}", "head_dim: 15 is odd"},
    {"{" SIZES ",\"head_dim\":-16}", "head_dim: -16 is not within 1 and 16777215"},
    {"{" SIZES ",\"head_dim\":16777214}", "num_attention_heads: 4 times head_dim 16777214"},
    {"{" SIZES ",\"max_position_embeddings\":16777216}", "max_position_embeddings: 16777216"},
    {"{" SIZES ",\"rms_norm_eps\":0}", "rms_norm_eps: 0 is not a positive number"},
    {"{" SIZES ",\"rms_norm_eps\":1e-60}", "rms_norm_eps: 0 is not a positive number"},
    {"{" SIZES ",\"rms_norm_eps\":1e60}", "rms_norm_eps: inf is not a positive number"},
    {"{" SIZES ",\"rms_norm_eps\":\"x\"}", "rms_norm_eps: not a number"},
    {"{" SIZES ",\"tie_word_embeddings\":1}", "tie_word_embeddings: not true or false"},
    {"{" SIZES ",\"attention_bias\":1}", "attention_bias: not true or false"},
    {"{" SIZES ",\"is_causal\":false}", "is_causal: false is not supported; supported: true"},
    {"{" MISTRAL ",\"sliding_window\":0}", "sliding_window: 0 is not within 1 and 16777215"},
    {"{" MISTRAL ",\"sliding_window\":1.5}", "sliding_window: not a whole number"},
    {"{" MISTRAL ",\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\"]}",
     "layer_types: they do not agree with sliding_window"},
    {"{" SIZES ",\"layer_types\":[\"sliding_attention\",\"sliding_attention\","
     "\"sliding_attention\"]}",
     "layer_types: they do not agree with sliding_window"},
    {"{" QWEN3 ",\"layer_types\":[\"full_attention\",\"full_attention\",\"sliding_attention\"]}",
     "layer_types: they do not agree with sliding_window"},
    {"{" QWEN3 ",\"use_sliding_window\":true,\"layer_types\":[\"full_attention\","
     "\"sliding_attention\",\"full_attention\"]}",
     "layer_types: a mixture is not supported; supported: full_attention first"},
    {"{" QWEN3 ",\"layer_types\":[\"full_attention\",\"linear_attention\",\"full_attention\"]}",
     "layer_types: linear_attention is not supported; supported: full_attention"},
    {"{" QWEN3 ",\"layer_types\":[\"full_attention\"]}",
     "layer_types: not a list of num_hidden_layers 3 names"},
    {"{" QWEN3 ",\"layer_types\":[1,2,3]}", "layer_types: no name is not supported"},
    {"{" QWEN2 ",\"use_sliding_window\":1}", "use_sliding_window: not true or false"},
    {"{" QWEN3 ",\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"default\"}}}",
     "rope_parameters.full_attention: parameters for a kind of layer are not supported"},
    {"{\"architectures\":[\"LlamaForTokenClassification\"]}",
     "LlamaForTokenClassification is not supported; supported: LlamaForCausalLM, Mistral"},
    {"{\"architectures\":[\"Qwen3MoeForCausalLM\"]}", "Qwen3MoeForCausalLM is not supported"},
    {"{" SIZES ",\"hidden_act\":\"gelu\"}", "hidden_act: gelu is not supported; supported: silu"},
    {"{" SIZES ",\"partial_rotary_factor\":0.5}", "partial_rotary_factor: 0.5 is not supported"},
    {"{" SIZES ",\"rope_theta\":-1}", "rope_theta: -1 is not a positive number"},
    {"{" SIZES ",\"rope_scaling\":8}", "rope_scaling: not an object"},
    {"{" SIZES ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}}",
     "rope_scaling: yarn is not supported; supported: default, linear, llama3"},
    {"{" SIZES ",\"rope_scaling\":{\"type\":\"linear\"}}",
     "rope_scaling.factor: missing, or not positive"},
    {"{" SIZES ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":-2}}",
     "rope_scaling.factor: missing, or not positive"},
    {"{" SIZES ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":\"2\"}}",
     "rope_scaling.factor: not a number"},
    {"{" SIZES ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,"
     "\"high_freq_factor\":4}}",
     "rope_scaling.low_freq_factor: 4 is not below high_freq_factor 4"},
    {"{" SIZES ",\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8}}",
     "rope_parameters.low_freq_factor: missing"},
    {"{" SIZES ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
     "\"high_freq_factor\":4,\"original_max_position_embeddings\":0}}",
     "rope_scaling.original_max_position_embeddings: 0 is not within"},
    {"{\"model_type\":\"llama\",\"hidden_size\":65,\"intermediate_size\":9,\"num_hidden_layers\":3,"
     "\"num_attention_heads\":4,\"vocab_size\":100}",
     "num_attention_heads: 4 does not divide hidden_size 65"},
    {"{\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":9,"
     "\"num_hidden_layers\":5000,\"num_attention_heads\":4,\"vocab_size\":100}",
     "num_hidden_layers: 5000 is not within 1 and 4096"},
};

START_TEST(model_config_refuses)
{
    struct model_config config;
    struct err err;
    const char *folder = write_config(refused[_i].json);
    check_error(model_config_read(&config, folder, &err), &err, STATUS_BAD_DATA, refused[_i].part,
                refused[_i].json);
    check_error(err.status, &err, STATUS_BAD_DATA, folder, refused[_i].json);
}
END_TEST

START_TEST(model_config_reads_tinystories)
{
    const char *path = shared_data("models/tinystories-656k");
    if (!path)
        SKIP("needs ../shared/data/models/tinystories-656k");
    struct model_config config = read_whole(path);
    ck_assert_int_eq(config.hidden_size, 128);
    ck_assert_int_eq(config.n_kv_heads, 4);
    ck_assert_int_eq(config.max_positions, 512);
    ck_assert(config.tied_embeddings);
}
END_TEST

/* ---- memory --------------------------------------------------------------------------------- */

static enum status read_again(void *path, struct err *err)
{
    struct model_config config;
    return model_config_read(&config, path, err);
}

START_TEST(model_config_survives_lack_of_memory)
{
    const char *json = write_config("{" SIZES ",\"rope_scaling\":null}");
    ck_assert_int_ge(check_lack_of_memory(read_again, (void *)(uintptr_t)json, "config.json"), 20);
    void *gguf = (void *)(uintptr_t)golden("gguf/tiny.gguf");
    ck_assert_int_ge(check_lack_of_memory(read_again, gguf, "tiny.gguf"), 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_config");
    TCase *tests = tcase_create("model_config");
    tcase_add_test(tests, model_config_has_the_defaults_of_transformers);
    tcase_add_test(tests, model_config_has_the_defaults_of_each_family);
    tcase_add_test(tests, model_config_knows_base_models_and_types);
    tcase_add_test(tests, model_config_reads_windows);
    tcase_add_test(tests, model_config_reads_every_value);
    tcase_add_test(tests, model_config_reads_rope_scaling);
    tcase_add_loop_test(tests, model_config_refuses, 0, (int)(sizeof refused / sizeof *refused));
    tcase_add_test(tests, model_config_reads_tinystories);
    tcase_add_test(tests, model_config_survives_lack_of_memory);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
