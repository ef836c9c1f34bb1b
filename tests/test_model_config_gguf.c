/* What a model is, from GGUF metadata; and which file of a folder says it. */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "loaders/model_config.h"

static struct model_config read_whole(const char *path)
{
    struct model_config config;
    struct err err;
    ck_assert_msg(model_config_read(&config, path, &err) == STATUS_OK, "%s", err.text);
    return config;
}

/* ---- metadata ------------------------------------------------------------------------------- */

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

/* prefix: of the keys, architecture's name where that is good. */
static struct metadata plain_model(const char *architecture, const char *prefix)
{
    static const struct {
        const char *key;
        uint32_t value;
    } numbers[] = {
        {"embedding_length", 64},    {"feed_forward_length", 96}, {"block_count", 3},
        {"attention.head_count", 4}, {"vocab_size", 100},         {"context_length", 512},
    };
    struct metadata metadata = {.size = 24};
    char key[64];
    put_text(&metadata, "general.architecture", architecture);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        snprintf(key, sizeof key, "%s.%s", prefix, numbers[i].key);
        put_number(&metadata, key, numbers[i].value);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", prefix);
    put_float(&metadata, key, 1e-5f);
    return metadata;
}

static struct metadata plain_llama(const char *architecture)
{
    return plain_model(architecture, "llama");
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

START_TEST(model_config_reads_qwen_gguf)
{
    struct metadata metadata = plain_model("qwen2", "qwen2");
    put_number(&metadata, "qwen2.attention.head_count_kv", 2);
    put_number(&metadata, "qwen2.attention.sliding_window", 9);
    put_float(&metadata, "qwen2.rope.freq_base", 1e6f);
    struct model_config config = read_whole(write_gguf(&metadata, 0));
    ck_assert_int_eq(config.architecture, ARCHITECTURE_QWEN2);
    ck_assert_int_eq(config.n_kv_heads, 2);
    ck_assert_double_eq(config.rope.theta, 1e6);
    ck_assert(config.attention_bias && !config.attention_output_bias && !config.head_norms);
    ck_assert(config.sliding_window == 9 && config.first_window_layer == 0);

    metadata = plain_model("qwen3", "qwen3");
    put_number(&metadata, "qwen3.attention.key_length", 32);
    put_number(&metadata, "qwen3.attention.value_length", 32);
    put_number(&metadata, "qwen3.attention.sliding_window", 0);
    config = read_whole(write_gguf(&metadata, 0));
    ck_assert_int_eq(config.architecture, ARCHITECTURE_QWEN3);
    ck_assert_int_eq(config.head_dim, 32);
    ck_assert(config.head_norms && !config.attention_bias && !config.mlp_bias);
    ck_assert(config.sliding_window == 0 && config.first_window_layer == 3);

    /* The other architecture's keys count for nothing. */
    metadata = plain_model("qwen3", "qwen2");
    struct err err;
    check_error(model_config_read(&config, write_gguf(&metadata, 0), &err), &err, STATUS_BAD_DATA,
                "qwen3.embedding_length: missing", "another prefix");
}
END_TEST

START_TEST(model_config_refuses_gguf)
{
    static const struct {
        const char *architecture, *key;
        char kind; /* of the value: n, f, t, b */
        float number;
        const char *text, *part;
    } cases[] = {
        {"gemma\xFF", "a", 'n', 0, "", "general.architecture: gemma? is not supported"},
        {"llama", "llama.attention.sliding_window", 'n', 16777216, "", "is not within 0 and"},
        {"llama", "llama.attention.sliding_window_pattern", 'n', 2, "",
         "one window for all layers"},
        {"llama", "llama.attention.causal", 'b', 0, "", "causal: false is not supported"},
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
        else if (cases[i].kind == 'b')
            put_key(&metadata, cases[i].key, 7), put(&metadata, "", 1);
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
    static const char json[] = "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":64,"
                               "\"intermediate_size\":96,\"num_hidden_layers\":3,"
                               "\"num_attention_heads\":4,\"vocab_size\":100}";
    write_file(folder, "config.json", json, sizeof json - 1);
    ck_assert_int_eq(read_whole(path).max_positions, 2048);
    ck_assert_int_eq(read_whole(folder).max_positions, 2048);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_config_gguf");
    TCase *tests = tcase_create("model_config_gguf");
    tcase_add_test(tests, model_config_reads_gguf_metadata);
    tcase_add_test(tests, model_config_has_defaults_for_gguf);
    tcase_add_test(tests, model_config_reads_qwen_gguf);
    tcase_add_test(tests, model_config_refuses_gguf);
    tcase_add_test(tests, model_config_reads_divisors);
    tcase_add_test(tests, model_config_finds_its_file);
    tcase_add_test(tests, model_config_reads_smollm2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
