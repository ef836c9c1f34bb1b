/* tool_adapter MODEL FOLDER RANK plain|rslora [LABEL...]: an adapter of the model as midashi writes
 * it, with random B, so that it changes something, and a head for the labels. For command-line
 * tests and tests/golden/check_adapter.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/lora_adapter.h"
#include "loaders/json.h"
#include "tests/support.h"

int main(int argc, char **argv)
{
    struct model_config config;
    struct lora_adapter adapter;
    struct err err;
    if (argc < 5) {
        fputs("usage: tool_adapter MODEL FOLDER RANK plain|rslora [LABEL...]\n", stderr);
        return 2;
    }
    json_use_memory();
    const struct lora_settings settings = {
        .rank = atoi(argv[3]),
        .alpha = 8,
        .dropout = 0.1,
        .rslora = strcmp(argv[4], "rslora") == 0,
        .task = argc > 5 ? ADAPTER_CLASSIFIES : ADAPTER_CONTINUES,
        .n_labels = argc - 5,
        .labels = (const char *const *)argv + 5,
        .base_model = argv[1],
    };
    enum status status = model_config_read(&config, argv[1], &err);
    if (status == STATUS_OK)
        status = lora_adapter_create(&adapter, &config, &settings, 7, &err);
    if (status == STATUS_OK) {
        fill_normal(adapter.parameters, (size_t)adapter.n_parameters, 3, 0.1f);
        status = lora_adapter_save(&adapter, argv[2], &err);
        lora_adapter_free(&adapter);
    }
    if (status != STATUS_OK)
        fprintf(stderr, "tool_adapter: %s\n", err.text);
    return (int)status;
}
