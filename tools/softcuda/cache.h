/* A set-associative, sectored cache with LRU replacement: lines of 128 bytes, of which each of the
 * 4 sectors of 32 bytes is present or not by itself. Which set a line falls into is a hash of its
 * address, as on the cards, so that no stride is worse than another.
 *
 * It holds no data: it says what would hit. */
#ifndef SOFTCUDA_CACHE_H
#define SOFTCUDA_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#define CACHE_WAYS       16
#define CACHE_LINE       128
#define CACHE_SECTOR     32
#define CACHE_LINE_SHIFT 7

struct cache {
    /* (sets, CACHE_WAYS) last used first. An entry: line number << 23 | epoch << 8 | dirty
     * sectors << 4 | present sectors; of another epoch it is empty. */
    uint64_t *entries;
    uint32_t sets;
    uint32_t epoch;
    uint64_t dirty;   /* sectors that lie here now */
    uint64_t evicted; /* dirty sectors that had to go */
};

/* bytes: rounded down to whole sets, at least one; 0 makes a cache that holds nothing. false: no
 * memory. */
bool cache_open(struct cache *cache, uint64_t bytes);
void cache_close(struct cache *cache);
/* Empties it, its counts too; cheap. */
void cache_clear(struct cache *cache);

/* The number of an address's line: 41 bits, the address's window kept apart. */
static inline uint64_t cache_line_of(uint64_t address)
{
    return (address >> CACHE_LINE_SHIFT & (((uint64_t)1 << 40) - 1)) | (address >> 48 & 1) << 40;
}

/* How many of a line's sectors: the processor's own instruction is not always there. */
static inline uint64_t sectors_in(uint32_t sectors)
{
    return 0x4332322132212110u >> 4 * (sectors & 15) & 7;
}

/* Reads sectors (bits 0 to 3) of a line: those that were there. All are there afterwards, and
 * those of `fetched` too, which come along with a miss (a hint such as L2::128B). *missing: what
 * had to be brought. */
uint32_t cache_read(struct cache *cache, uint64_t line, uint32_t sectors, uint32_t fetched,
                    uint32_t *missing);
/* Writes sectors: they are there and dirty afterwards; what a sector's write leaves out is not
 * read. Those that were there. */
uint32_t cache_write(struct cache *cache, uint64_t line, uint32_t sectors);
/* The line will soon be asked for: a word to the processor that runs the model. */
void cache_prefetch(const struct cache *cache, uint64_t line);
/* Drops sectors of a line, if they are there. */
void cache_drop(struct cache *cache, uint64_t line, uint32_t sectors);

#endif
