/* Fuzzes what a model is, from config.json; metadata of a GGUF where the bytes start with "GGUF".
 * What is accepted must be what model_config.h promises. */
#include <math.h>
#include <string.h>
#include "loaders/model_config.h"
#include "tests/fuzz/fuzz.h"

static void check_size(int64_t value)
{
    REQUIRE(value >= 1 && value < 1 << 24);
}

static void check_rope(const struct rope_config *rope, int head_dim)
{
    REQUIRE(isfinite(rope->theta) && rope->theta > 0);
    switch (rope->scaling) {
    case ROPE_DEFAULT:
        break;
    case ROPE_LLAMA3:
        REQUIRE(rope->low_frequency_factor > 0);
        REQUIRE(rope->high_frequency_factor > rope->low_frequency_factor);
        check_size(rope->original_max_positions);
        /* fall through */
    case ROPE_LINEAR:
        REQUIRE(isfinite(rope->factor) && rope->factor > 0);
        break;
    case ROPE_DIVIDED:
        for (int i = 0; i < head_dim / 2; i++)
            REQUIRE(isfinite(rope->divisors[i]) && rope->divisors[i] > 0);
        break;
    }
}

static void check_config(const struct model_config *config)
{
    check_size(config->hidden_size);
    check_size(config->intermediate_size);
    check_size(config->n_layers);
    check_size(config->vocab_size);
    check_size(config->max_positions);
    check_size((int64_t)config->n_heads * config->head_dim);
    REQUIRE(config->n_kv_heads >= 1 && config->n_heads % config->n_kv_heads == 0);
    REQUIRE(config->head_dim >= 2 && config->head_dim % 2 == 0);
    REQUIRE(config->sliding_window >= 0 && config->sliding_window < 1 << 24);
    REQUIRE(config->first_window_layer >= 0 && config->first_window_layer <= config->n_layers);
    REQUIRE(isfinite(config->rms_norm_eps) && config->rms_norm_eps > 0);
    check_rope(&config->rope, config->head_dim);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model_config config;
    struct err err;
    const char *path = fuzz_file("model.gguf", data, size);
    if (size < 4 || memcmp(data, "GGUF", 4) != 0)
        path = fuzz_file("config.json", data, size);
    enum status status = model_config_read(&config, path, &err);
    if (status == STATUS_OK)
        check_config(&config);
    else
        fuzz_check_error(status, &err, path);
    return 0;
}
