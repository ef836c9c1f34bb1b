/* See shards.h. */
#include "loaders/shards.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "loaders/json.h"

#define INDEX_LARGEST ((size_t)64 << 20) /* bytes; 100,000 tensors take 10 MB */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A plain name: nothing that leads out of the index's folder, or out of it on another system. */
static bool is_plain_name(const char *name)
{
    size_t length = strlen(name), ending = strlen(".safetensors");
    return length > ending && strcmp(name + length - ending, ".safetensors") == 0 &&
           name[0] != '.' && !strpbrk(name, "/\\");
}

/* Fills shards with each file's name once. */
static enum status read_shards(struct shard_index *index, struct arena *arena, const char *path,
                               const json_t *map, struct err *err)
{
    size_t n = json_object_size(map);
    index->shards = arena_alloc(arena, n, sizeof *index->shards);
    if (!index->shards)
        return err_no_memory(err, "the names of shards", n * sizeof *index->shards);
    size_t i = 0;
    const char *tensor;
    json_t *value;
    json_object_foreach((json_t *)map, tensor, value)
    {
        const char *name = json_string_value(value);
        if (!name || !is_plain_name(name))
            return err_set(err, STATUS_BAD_DATA,
                           "%s: weight_map: tensor %.200s: %s%.200s is not the plain name of a "
                           ".safetensors file in this folder; fetch the index again",
                           path, tensor, name ? "" : "what it has", name ? name : "");
        index->shards[i++] = name;
    }
    qsort(index->shards, n, sizeof *index->shards, compare_names);
    for (i = 0; i < n; i++) {
        if (i > 0 && strcmp(index->shards[i], index->shards[index->n_shards - 1]) == 0)
            continue;
        if (index->n_shards == SHARDS_LARGEST)
            return err_set(err, STATUS_BAD_DATA, "%s: weight_map: more than %d files", path,
                           SHARDS_LARGEST);
        index->shards[index->n_shards++] = index->shards[i];
    }
    return STATUS_OK;
}

static enum status read_entries(struct shard_index *index, struct arena *arena, const json_t *map,
                                struct err *err)
{
    size_t n = json_object_size(map);
    index->entries = arena_alloc(arena, n, sizeof *index->entries);
    if (!index->entries)
        return err_no_memory(err, "the index of shards", n * sizeof *index->entries);
    const char *tensor;
    json_t *value;
    json_object_foreach((json_t *)map, tensor, value)
    {
        const char *name = json_string_value(value);
        const char **shard = bsearch(&name, index->shards, (size_t)index->n_shards,
                                     sizeof *index->shards, compare_names);
        index->entries[index->n_entries++] =
            (struct shard_entry){tensor, (int)(shard - index->shards)};
    }
    return STATUS_OK;
}

static enum status read_index(struct shard_index *index, struct arena *arena, const char *path,
                              struct err *err)
{
    /* total_size is sometimes no integer of ours; as a real it does no harm. */
    TRY(json_read_file(&index->root, path, INDEX_LARGEST, JSON_DECODE_INT_AS_REAL, err));
    const json_t *map = json_object_get(index->root, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0 || json_object_size(map) > INT_MAX)
        return err_set(err, STATUS_BAD_DATA,
                       "%s: weight_map: missing or empty; this is no index of shards: fetch it "
                       "again",
                       path);
    TRY(read_shards(index, arena, path, map, err));
    return read_entries(index, arena, map, err);
}

enum status shard_index_open(struct shard_index *index, struct arena *arena, const char *path,
                             struct err *err)
{
    *index = (struct shard_index){0};
    enum status status = read_index(index, arena, path, err);
    if (status != STATUS_OK)
        shard_index_close(index);
    return status;
}

void shard_index_close(struct shard_index *index)
{
    json_decref(index->root);
    *index = (struct shard_index){0};
}
