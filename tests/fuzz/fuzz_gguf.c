/* Fuzzes GGUF: metadata by every accessor, and all tensors through the interface of weights. */
#include <string.h>
#include "host/base/memory.h"
#include "loaders/gguf.h"
#include "loaders/weights.h"
#include "tests/fuzz/fuzz.h"

/* Keys of the seeds, so that the accessors meet values of all types. */
static const char *const keys[] = {
    "general.alignment", "general.architecture", "tokenizer.ggml.tokens", "tokenizer.ggml.scores",
    "llama.block_count", "split.count",          "llama.rope.freq_base",  "a",
};

static void read_array(struct gguf_array array)
{
    struct gguf_array texts = array;
    struct gguf_text text;
    uint64_t n = 0;
    double number = 0;
    int64_t integer = 0;
    while (gguf_array_next_text(&texts, &text)) {
        const unsigned char *end = (const unsigned char *)text.text + text.length;
        REQUIRE(end <= array.end && (const unsigned char *)text.text > array.data);
        n++;
    }
    REQUIRE(n == (array.type == GGUF_STRING ? array.count : 0));
    for (uint64_t i = 0; i < array.count && gguf_array_number(&array, i, &number); i++)
        gguf_array_integer(&array, i, &integer);
    REQUIRE(!gguf_array_number(&array, array.count, &number));
}

static void read_metadata(const struct gguf *gguf, const char *path)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct err err;
        int64_t integer = 0;
        double number = 0;
        bool truth = false;
        struct gguf_text text = {0};
        struct gguf_array array = {0};
        const enum status statuses[] = {
            gguf_get_integer(gguf, keys[i], &integer, &err),
            gguf_get_number(gguf, keys[i], &number, &err),
            gguf_get_bool(gguf, keys[i], &truth, &err),
            gguf_get_text(gguf, keys[i], &text, &err),
            gguf_get_array(gguf, keys[i], &array, &err),
        };
        int n_good = 0;
        for (int j = 0; j < 5; j++)
            n_good += statuses[j] == STATUS_OK;
        /* One accessor fits, or two for an integer, or none for one of 64 bits. */
        REQUIRE(gguf_has(gguf, keys[i]) ? n_good <= 2 : n_good == 5);
        if (n_good < 5)
            fuzz_check_error(err.status, &err, path);
        if (array.data)
            read_array(array);
    }
}

static void read_tensors(const struct weights *weights)
{
    struct err err;
    for (int i = 0; i < weights_count(weights); i++) {
        const struct weight *weight = weights_at(weights, i);
        REQUIRE(weight->rows >= 1 && weight->columns >= 1);
        REQUIRE(weights_find(weights, weight->name) == weight);
        /* One row more each time: rows of permuted tensors come from all over a head. A tensor of
         * n bytes has at most 8 n values (1.6 bits a value at least). */
        float *out = mem_alloc((size_t)(weight->rows * weight->columns), sizeof *out);
        for (int64_t row = 0, n = 1; row < weight->rows; row += n, n++) {
            if (n > weight->rows - row)
                n = weight->rows - row;
            enum status status = weight_read(weights, weight, row, n, out, &err);
            REQUIRE((status == STATUS_OK) == (weight->type != NULL));
        }
        weight_release(weights, weight);
        mem_free(out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file("model.gguf", data, size);
    const struct model_config config = {.head_dim = 4, .tied_embeddings = size % 2};
    struct gguf *gguf;
    struct weights *weights;
    struct err err;
    enum status status = gguf_open(&gguf, path, &err);
    if (status != STATUS_OK) {
        fuzz_check_error(status, &err, path);
        return 0;
    }
    read_metadata(gguf, path);
    gguf_close(gguf);
    status = weights_open(&weights, path, &config, &err);
    if (status == STATUS_OK)
        read_tensors(weights);
    else
        fuzz_check_error(status, &err, path);
    weights_close(weights);
    return 0;
}
