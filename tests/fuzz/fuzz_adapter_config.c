/* Fuzzes adapter_config.json: what is accepted gives each module of a model a rank and a scale that
 * adapter_config.h promises, or a named error. */
#include <math.h>
#include <string.h>
#include "loaders/adapter_config.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const modules[] = {"model.layers.0.self_attn.q_proj",
                                          "model.layers.12.mlp.down_proj", "layers.1.mlp.up_proj"};
    struct adapter_config config;
    struct err err;
    const char *path = fuzz_file(ADAPTER_CONFIG_FILE, data, size);
    enum status status = adapter_config_read(&config, path, &err);
    if (status != STATUS_OK) {
        fuzz_check_error(status, &err, path);
        return 0;
    }
    REQUIRE(config.rank >= 1 && config.rank <= ADAPTER_RANK_LARGEST);
    REQUIRE(config.dropout >= 0 && config.dropout <= 1);
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        int rank;
        float scale;
        status = adapter_config_module(&config, modules[i], &rank, &scale, &err);
        if (status != STATUS_OK)
            fuzz_check_error(status, &err, path);
        else
            REQUIRE(rank >= 0 && rank <= ADAPTER_RANK_LARGEST && isfinite(scale));
    }
    adapter_config_free(&config);
    return 0;
}
