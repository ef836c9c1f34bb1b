/* See cache.h. */
#include "tools/softcuda/cache.h"

#include <string.h>
#include "tools/softcuda/pages.h"

#define KEY_SHIFT  8
#define EPOCH_MASK 0x7FFFu

bool cache_open(struct cache *cache, uint64_t bytes)
{
    uint64_t sets = bytes / (CACHE_LINE * CACHE_WAYS);
    *cache = (struct cache){.epoch = 1};
    if (bytes == 0)
        return true;
    cache->sets = sets < 1 ? 1 : (uint32_t)sets;
    cache->entries = pages_map((uint64_t)cache->sets * CACHE_WAYS, sizeof *cache->entries);
    return cache->entries != NULL;
}

void cache_close(struct cache *cache)
{
    pages_unmap(cache->entries, (uint64_t)cache->sets * CACHE_WAYS, sizeof *cache->entries);
    *cache = (struct cache){0};
}

void cache_clear(struct cache *cache)
{
    cache->dirty = cache->evicted = 0;
    cache->epoch++;
    if (cache->epoch > EPOCH_MASK) {
        cache->epoch = 1;
        if (cache->entries)
            memset(cache->entries, 0, (size_t)cache->sets * CACHE_WAYS * sizeof *cache->entries);
    }
}

static inline uint64_t *set_of(const struct cache *cache, uint64_t line)
{
    uint64_t hash = (line * 0x9E3779B97F4A7C15u) >> 32;
    return cache->entries + (size_t)(hash * cache->sets >> 32) * CACHE_WAYS;
}

static inline uint64_t key_of(const struct cache *cache, uint64_t line)
{
    return line << 15 | cache->epoch;
}

/* Moves the line's entry to the front of its set and says so. Where it is not there, all have moved
 * back by one, *last has fallen out, and the front is the caller's to fill. */
static inline bool move_to_front(uint64_t *set, uint64_t key, uint64_t *last)
{
    uint64_t carried = set[0];
    if (carried >> KEY_SHIFT == key)
        return true;
    for (int way = 1; way < CACHE_WAYS; way++) {
        uint64_t entry = set[way];
        set[way] = carried;
        if (entry >> KEY_SHIFT == key) {
            set[0] = entry;
            return true;
        }
        carried = entry;
    }
    *last = carried;
    return false;
}

/* The line's entry at the front of its set, empty if it is new; the least recently used one goes.
 */
static inline uint64_t *bring(struct cache *cache, uint64_t line)
{
    uint64_t *set = set_of(cache, line), key = key_of(cache, line), last;
    if (move_to_front(set, key, &last))
        return set;
    if ((last >> KEY_SHIFT & EPOCH_MASK) == cache->epoch) {
        uint64_t sectors = sectors_in((uint32_t)(last >> 4 & 15));
        cache->dirty -= sectors;
        cache->evicted += sectors;
    }
    set[0] = key << KEY_SHIFT;
    return set;
}

void cache_prefetch(const struct cache *cache, uint64_t line)
{
    if (cache->sets == 0)
        return;
    const uint64_t *set = set_of(cache, line);
    __builtin_prefetch(set, 1);
    __builtin_prefetch(set + CACHE_WAYS / 2, 1);
}

uint32_t cache_read(struct cache *cache, uint64_t line, uint32_t sectors, uint32_t fetched,
                    uint32_t *missing)
{
    if (cache->sets == 0) {
        *missing = sectors;
        return 0;
    }
    uint64_t *entry = bring(cache, line);
    uint32_t present = (uint32_t)*entry & 15, hit = present & sectors;
    *missing = sectors & ~present ? (sectors | fetched) & ~present : 0;
    *entry |= *missing;
    return hit;
}

uint32_t cache_write(struct cache *cache, uint64_t line, uint32_t sectors)
{
    if (cache->sets == 0) {
        cache->evicted += sectors_in(sectors);
        return 0;
    }
    uint64_t *entry = bring(cache, line);
    uint32_t present = (uint32_t)*entry & 15, dirty = (uint32_t)(*entry >> 4) & 15;
    cache->dirty += sectors_in(sectors & ~dirty);
    *entry |= sectors | sectors << 4;
    return present & sectors;
}

void cache_drop(struct cache *cache, uint64_t line, uint32_t sectors)
{
    if (cache->sets == 0)
        return;
    uint64_t *set = set_of(cache, line), key = key_of(cache, line);
    for (int way = 0; way < CACHE_WAYS; way++)
        if (set[way] >> KEY_SHIFT == key)
            set[way] &= ~(uint64_t)(sectors | sectors << 4);
}
