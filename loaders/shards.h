/* model.safetensors.index.json: which shard holds which tensor.
 *
 * transformers writes {"metadata": {"total_size": N}, "weight_map": {TENSOR: FILE, ...}}. The index
 * is a hint from elsewhere: names of files are checked before any is opened, total_size is not even
 * read, and what the shards hold is what they say themselves. */
#ifndef MIDASHI_LOADERS_SHARDS_H
#define MIDASHI_LOADERS_SHARDS_H

#include <jansson.h>
#include "host/base/memory.h"
#include "host/base/status.h"

#define SHARDS_LARGEST 1000

struct shard_entry {
    const char *tensor; /* UTF-8 */
    int shard;          /* in shards */
};

struct shard_index {
    int n_shards;
    const char **shards; /* names of files in the index's folder, sorted, each once */
    int n_entries;
    struct shard_entry *entries; /* in the index's order */
    json_t *root;                /* owns the texts */
};

/* Arrays are in the arena. STATUS_BAD_DATA: not JSON, no weight_map, more than SHARDS_LARGEST
 * files, or a file that is not the plain name of a .safetensors (a path, "..", "", a backslash). */
enum status shard_index_open(struct shard_index *index, struct arena *arena, const char *path,
                             struct err *err);
void shard_index_close(struct shard_index *index); /* a zeroed one is allowed */

#endif
