/* Fuzzes the index of shards. What is accepted must name plain files, each once, and have every
 * tensor in one of them. */
#include <string.h>
#include "loaders/shards.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file("model.safetensors.index.json", data, size);
    struct arena arena = {0};
    struct shard_index index;
    struct err err;
    enum status status = shard_index_open(&index, &arena, path, &err);
    if (status != STATUS_OK)
        fuzz_check_error(status, &err, path);
    REQUIRE((status == STATUS_OK) == (index.n_shards > 0));
    REQUIRE(index.n_shards <= SHARDS_LARGEST && index.n_entries >= index.n_shards);
    for (int i = 0; i < index.n_shards; i++) {
        REQUIRE(!strpbrk(index.shards[i], "/\\") && index.shards[i][0] != '.');
        REQUIRE(i == 0 || strcmp(index.shards[i - 1], index.shards[i]) < 0);
    }
    for (int i = 0; i < index.n_entries; i++)
        REQUIRE(index.entries[i].shard >= 0 && index.entries[i].shard < index.n_shards);
    shard_index_close(&index);
    arena_free(&arena);
    return 0;
}
