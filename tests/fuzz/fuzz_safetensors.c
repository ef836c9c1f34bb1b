/* Fuzzes safetensors through the interface of weights. What is accepted must lie in the file and be
 * readable to its last byte. */
#include <string.h>
#include "host/base/file.h"
#include "host/base/memory.h"
#include "loaders/safetensors.h"
#include "loaders/weights.h"
#include "tests/fuzz/fuzz.h"

static void read_all(const struct weights *weights)
{
    struct err err;
    for (int i = 0; i < weights_count(weights); i++) {
        const struct weight *weight = weights_at(weights, i);
        REQUIRE(weight->rows >= 0 && weight->columns >= 0);
        REQUIRE(weights_find(weights, weight->name) == weight);
        if (weight->columns == 0 || weight->rows == 0)
            continue;
        int64_t n =
            weight->rows * weight->columns; /* the bytes lie in the file, so this is small */
        float *out = mem_alloc((size_t)n, sizeof *out);
        enum status status = weight_read(weights, weight, 0, weight->rows, out, &err);
        REQUIRE((status == STATUS_OK) == (weight->type != NULL));
        weight_release(weights, weight);
        mem_free(out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file("model.safetensors", data, size);
    const struct model_config config = {.head_dim = 16, .tied_embeddings = size % 2};
    struct weights *weights;
    struct err err;
    enum status status = weights_open(&weights, path, &config, &err);
    if (status == STATUS_OK)
        read_all(weights);
    else
        fuzz_check_error(status, &err, path);
    weights_close(weights);
    return 0;
}
