/* Finding an entry of a file's table by its name. Sorted rather than hashed: a hostile file cannot
 * make it slow. */
#ifndef MIDASHI_LOADERS_NAME_INDEX_H
#define MIDASHI_LOADERS_NAME_INDEX_H

#include <stddef.h>
#include "host/base/memory.h"

struct name_entry {
    const char *name; /* borrowed; no 0 byte needed behind */
    size_t length;
    int number; /* what the caller calls the entry */
};

struct name_index {
    struct name_entry *entries; /* sorted by bytes; in the arena */
    int count;
};

/* Room for `count` entries, which the caller fills before it calls name_index_sort. 0 where there
 * is no memory. */
int name_index_init(struct name_index *index, struct arena *arena, int count);
/* Sorts. Returns an entry whose name the one before it has too, or NULL. */
const struct name_entry *name_index_sort(struct name_index *index);
/* The entry's number, or -1. */
int name_index_find(const struct name_index *index, const char *name, size_t length);

#endif
