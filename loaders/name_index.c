/* Names, sorted. See name_index.h. */
#include "loaders/name_index.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    const struct name_entry *left = a, *right = b;
    size_t length = left->length < right->length ? left->length : right->length;
    int order = length ? memcmp(left->name, right->name, length) : 0;
    if (order != 0)
        return order;
    return (left->length > right->length) - (left->length < right->length);
}

int name_index_init(struct name_index *index, struct arena *arena, int count)
{
    index->count = count;
    index->entries = arena_alloc(arena, (size_t)count, sizeof *index->entries);
    return index->entries != NULL;
}

const struct name_entry *name_index_sort(struct name_index *index)
{
    qsort(index->entries, (size_t)index->count, sizeof *index->entries, compare);
    for (int i = 1; i < index->count; i++)
        if (compare(&index->entries[i - 1], &index->entries[i]) == 0)
            return &index->entries[i];
    return NULL;
}

int name_index_find(const struct name_index *index, const char *name, size_t length)
{
    struct name_entry key = {.name = name, .length = length};
    const struct name_entry *found = NULL;
    if (index->count > 0)
        found = bsearch(&key, index->entries, (size_t)index->count, sizeof key, compare);
    return found ? found->number : -1;
}
