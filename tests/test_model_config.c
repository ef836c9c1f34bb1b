/* What a model is, from config.json and from GGUF metadata: good, incomplete and unsupported. */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "loaders/model_config.h"

/* ---- config.json ---------------------------------------------------------------------------- */

#define SIZES                                                                                      \
    "\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":64,\"intermediate_size\":96,"        \
    "\"num_hidden_layers\":3,\"num_attention_heads\":4,\"vocab_size\":100"

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
    {"{" SIZES ",\"attention_bias\":true}", "attention_bias: true is not supported"},
    {"{" SIZES ",\"mlp_bias\":true}", "mlp_bias: true is not supported; supported: false"},
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

/* ---- GGUF ----------------------------------------------------------------------------------- */

/* By tests/golden/make_gguf.py. */
START_TEST(model_config_reads_gguf_metadata)
{
    struct model_config config = read_whole(golden("gguf/tiny.gguf"));
    ck_assert_int_eq(config.hidden_size, 32);
    ck_assert_int_eq(config.intermediate_size, 64);
    ck_assert_int_eq(config.n_layers, 2);
    ck_assert_int_eq(config.n_heads, 2);
    ck_assert_int_eq(config.n_kv_heads, 1);
    ck_assert_int_eq(config.head_dim, 16);
    ck_assert_int_eq(config.vocab_size, 24);
    ck_assert_int_eq(config.max_positions, 256);
    ck_assert_float_eq(config.rms_norm_eps, 1e-5f);
    ck_assert(config.tied_embeddings); /* there is no output.weight */
    ck_assert_double_eq(config.rope.theta, 500000);
    ck_assert_int_eq(config.rope.scaling, ROPE_DIVIDED);
    static const float divisors[] = {1, 1, 1, 1.5f, 2.5f, 6, 8, 8};
    ck_assert_mem_eq(config.rope.divisors, divisors, sizeof divisors);
}
END_TEST

/* A GGUF with metadata alone. */
struct metadata {
    unsigned char bytes[2048];
    size_t size;
    uint64_t count;
};

static void put(struct metadata *metadata, const void *bytes, size_t n)
{
    memcpy(metadata->bytes + metadata->size, bytes, n);
    metadata->size += n;
}

static void put_key(struct metadata *metadata, const char *key, uint32_t type)
{
    uint64_t length = strlen(key);
    put(metadata, &length, 8);
    put(metadata, key, length);
    put(metadata, &type, 4);
    metadata->count++;
}

static void put_number(struct metadata *metadata, const char *key, uint32_t value)
{
    put_key(metadata, key, 4);
    put(metadata, &value, 4);
}

static void put_float(struct metadata *metadata, const char *key, float value)
{
    put_key(metadata, key, 6);
    put(metadata, &value, 4);
}

static void put_text(struct metadata *metadata, const char *key, const char *value)
{
    uint64_t length = strlen(value);
    put_key(metadata, key, 8);
    put(metadata, &length, 8);
    put(metadata, value, length);
}

static struct metadata plain_llama(const char *architecture)
{
    struct metadata metadata = {.size = 24};
    put_text(&metadata, "general.architecture", architecture);
    put_number(&metadata, "llama.embedding_length", 64);
    put_number(&metadata, "llama.feed_forward_length", 96);
    put_number(&metadata, "llama.block_count", 3);
    put_number(&metadata, "llama.attention.head_count", 4);
    put_number(&metadata, "llama.vocab_size", 100);
    put_number(&metadata, "llama.context_length", 512);
    put_float(&metadata, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    return metadata;
}

static const char *write_gguf(struct metadata *metadata, unsigned char n_tensors)
{
    memcpy(metadata->bytes, "GGUF\3\0\0\0", 8);
    metadata->bytes[8] = n_tensors;
    memcpy(metadata->bytes + 16, &metadata->count, 8);
    return write_file(temporary_folder(), "a.gguf", metadata->bytes, metadata->size);
}

START_TEST(model_config_has_defaults_for_gguf)
{
    struct metadata metadata = plain_llama("llama");
    struct model_config config = read_whole(write_gguf(&metadata, 0));
    ck_assert_int_eq(config.n_kv_heads, 4);
    ck_assert_int_eq(config.head_dim, 16);
    ck_assert_int_eq(config.vocab_size, 100);
    ck_assert_double_eq(config.rope.theta, 10000);
    ck_assert_int_eq(config.rope.scaling, ROPE_DEFAULT);
    metadata = plain_llama("llama");
    put_text(&metadata, "llama.rope.scaling.type", "linear");
    put_float(&metadata, "llama.rope.scaling.factor", 4);
    config = read_whole(write_gguf(&metadata, 0));
    ck_assert_int_eq(config.rope.scaling, ROPE_LINEAR);
    ck_assert_double_eq(config.rope.factor, 4);
}
END_TEST

START_TEST(model_config_refuses_gguf)
{
    static const struct {
        const char *architecture, *key;
        char kind; /* of the value: n, f, t */
        float number;
        const char *text, *part;
    } cases[] = {
        {"gemma\xFF", "a", 'n', 0, "", "general.architecture: gemma? is not supported"},
        {"llama", "llama.expert_count", 'n', 8, "", "llama.expert_count: 8 is not supported"},
        {"llama", "llama.rope.dimension_count", 'n', 8, "", "8 is not supported; supported: 16"},
        {"llama", "llama.attention.value_length", 'n', 8, "", "value_length: 8 is not supported"},
        {"llama", "llama.attention.key_length", 'n', 7, "", "key_length: 7 is odd"},
        {"llama", "llama.attention.head_count_kv", 'n', 3, "", "head_count_kv: 3 does not divide"},
        {"llama", "llama.attention.head_count_kv", 't', 0, "4", "is not an integer"},
        {"llama", "llama.rope.freq_base", 'f', -1, "", "freq_base: -1 is not a positive number"},
        {"llama", "llama.rope.freq_base", 'f', NAN, "", "is not a positive number"},
        {"llama", "llama.rope.scaling.type", 't', 0, "yarn", "scaling.type: not supported"},
        {"llama", "llama.rope.scaling.type", 't', 0, "linear", "factor: missing, or not positive"},
        {"llama", "llama.rope.scale_linear", 'f', 2, "", "an old way"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct metadata metadata = plain_llama(cases[i].architecture);
        if (cases[i].kind == 'n')
            put_number(&metadata, cases[i].key, (uint32_t)cases[i].number);
        else if (cases[i].kind == 'f')
            put_float(&metadata, cases[i].key, cases[i].number);
        else
            put_text(&metadata, cases[i].key, cases[i].text);
        struct model_config config;
        struct err err;
        check_error(model_config_read(&config, write_gguf(&metadata, 0), &err), &err,
                    STATUS_BAD_DATA, cases[i].part, cases[i].key);
    }
}
END_TEST

/* The same with a tensor rope_freqs.weight of n values, all `value`. */
static const char *write_divisors(struct metadata *metadata, uint32_t type, uint64_t n, float value)
{
    static const uint64_t length = sizeof "rope_freqs.weight" - 1, offset = 0;
    static const uint32_t n_dims = 1;
    put(metadata, &length, 8);
    put(metadata, "rope_freqs.weight", length);
    put(metadata, &n_dims, 4);
    put(metadata, &n, 8);
    put(metadata, &type, 4);
    put(metadata, &offset, 8);
    metadata->size = (metadata->size + 31) / 32 * 32;
    for (uint64_t i = 0; i < n; i++)
        put(metadata, &value, 4);
    return write_gguf(metadata, 1);
}

START_TEST(model_config_reads_divisors)
{
    static const struct {
        uint32_t type;
        uint64_t n;
        float value;
        const char *scaling, *part;
    } cases[] = {
        {0, 8, 2.5f, "none", NULL},
        {0, 8, 0, "none", "tensor rope_freqs.weight: value 0 is not positive"},
        {0, 8, INFINITY, "none", "tensor rope_freqs.weight: value 0 is not positive"},
        {0, 7, 1, "none", "tensor rope_freqs.weight: expected 8 values in F32"},
        {1, 8, 1, "none", "tensor rope_freqs.weight: expected 8 values in F32"},
        {0, 8, 1, "linear", "not supported together with linear scaling"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct metadata metadata = plain_llama("llama");
        put_text(&metadata, "llama.rope.scaling.type", cases[i].scaling);
        put_float(&metadata, "llama.rope.scaling.factor", 4);
        const char *path = write_divisors(&metadata, cases[i].type, cases[i].n, cases[i].value);
        struct model_config config;
        struct err err;
        enum status status = model_config_read(&config, path, &err);
        if (cases[i].part) {
            check_error(status, &err, STATUS_BAD_DATA, cases[i].part, cases[i].part);
            continue;
        }
        ck_assert_msg(status == STATUS_OK, "%s", err.text);
        ck_assert_int_eq(config.rope.scaling, ROPE_DIVIDED);
        for (int j = 0; j < 8; j++)
            ck_assert_float_eq(config.rope.divisors[j], cases[i].value);
    }
}
END_TEST

/* ---- finding the file ----------------------------------------------------------------------- */

START_TEST(model_config_finds_its_file)
{
    struct model_config config;
    struct err err;
    char folder[4096], path[5000];
    check_error(model_config_read(&config, "nowhere/at/all", &err), &err, STATUS_MISSING,
                "nowhere/at/all: no such file or folder", "missing");
    snprintf(folder, sizeof folder, "%s", temporary_folder());
    check_error(model_config_read(&config, folder, &err), &err, STATUS_MISSING,
                "neither .safetensors nor .gguf nor config.json is here", "empty folder");
    write_file(folder, "model.safetensors", "", 0);
    check_error(model_config_read(&config, folder, &err), &err, STATUS_MISSING,
                "weights stand here, but no config.json", "weights alone");

    struct metadata metadata = plain_llama("llama");
    write_gguf(&metadata, 0);
    write_file(folder, "a.gguf", metadata.bytes, metadata.size);
    ck_assert_int_eq(read_whole(folder).max_positions, 512);
    write_file(folder, "b.gguf", metadata.bytes, metadata.size);
    check_error(model_config_read(&config, folder, &err), &err, STATUS_BAD_DATA,
                "2 .gguf files stand here; name one of them", "two");

    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    check_error(model_config_read(&config, path, &err), &err, STATUS_MISSING,
                "/config.json: no such file", "no config beside the weights");
    write_file(folder, "config.json", "{" SIZES "}", strlen("{" SIZES "}"));
    ck_assert_int_eq(read_whole(path).max_positions, 2048);
    ck_assert_int_eq(read_whole(folder).max_positions, 2048);
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

START_TEST(model_config_reads_smollm2)
{
    const char *path = local_model("smollm2-135m");
    if (!path)
        SKIP("needs models/smollm2-135m");
    struct model_config config = read_whole(path);
    ck_assert_int_eq(config.hidden_size, 576);
    ck_assert_int_eq(config.intermediate_size, 1536);
    ck_assert_int_eq(config.n_layers, 30);
    ck_assert_int_eq(config.n_heads, 9);
    ck_assert_int_eq(config.n_kv_heads, 3);
    ck_assert_int_eq(config.head_dim, 64);
    ck_assert_int_eq(config.vocab_size, 49152);
    ck_assert_int_eq(config.max_positions, 8192);
    ck_assert_float_eq(config.rms_norm_eps, 1e-5f);
    ck_assert(config.tied_embeddings);
    ck_assert_double_eq(config.rope.theta, 100000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_config");
    TCase *tests = tcase_create("model_config");
    tcase_add_test(tests, model_config_has_the_defaults_of_transformers);
    tcase_add_test(tests, model_config_reads_every_value);
    tcase_add_test(tests, model_config_reads_rope_scaling);
    tcase_add_loop_test(tests, model_config_refuses, 0, (int)(sizeof refused / sizeof *refused));
    tcase_add_test(tests, model_config_reads_gguf_metadata);
    tcase_add_test(tests, model_config_has_defaults_for_gguf);
    tcase_add_test(tests, model_config_refuses_gguf);
    tcase_add_test(tests, model_config_reads_divisors);
    tcase_add_test(tests, model_config_finds_its_file);
    tcase_add_test(tests, model_config_reads_tinystories);
    tcase_add_test(tests, model_config_reads_smollm2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
