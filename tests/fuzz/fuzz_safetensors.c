/* Fuzzes safetensors through the interface of weights, and what bitsandbytes makes of a matrix.
 * What is accepted must lie in the file and be readable to its last byte. */
#include <string.h>
#include "host/base/file.h"
#include "host/base/memory.h"
#include "host/nf4_checkpoint.h"
#include "loaders/safetensors.h"
#include "loaders/weights.h"
#include "tests/fuzz/fuzz.h"

/* Looked at as loading does, and dequantised where it is sound: every value is a number. */
static void read_nf4(const struct weights *weights, const struct weight *weight)
{
    struct arena arena = {0};
    struct nf4_matrix matrix;
    struct err err;
    if (weight->rows <= 1 << 20 && weight->columns <= 1 << 20 &&
        nf4_checkpoint_view(&matrix, weights, weight, &arena, &err) == STATUS_OK) {
        int64_t n = weight->rows * weight->columns;
        float *out = mem_alloc((size_t)n, sizeof *out);
        REQUIRE(out);
        nf4_checkpoint_read(weight, &matrix, 0, weight->rows, out);
        for (int64_t i = 0; i < n; i++)
            REQUIRE(out[i] == out[i]);
        mem_free(out);
    }
    arena_free(&arena);
}

static void read_all(const struct weights *weights)
{
    struct err err;
    for (int i = 0; i < weights_count(weights); i++) {
        const struct weight *weight = weights_at(weights, i);
        REQUIRE(weight->rows >= 0 && weight->columns >= 0);
        REQUIRE(weights_find(weights, weight->name) == weight);
        if (weight->columns == 0 || weight->rows == 0)
            continue;
        if (weight->nf4) {
            read_nf4(weights, weight);
            continue;
        }
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
