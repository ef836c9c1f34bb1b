/* The checkers' shadows of global memory: which bytes have been written, who touched them last. */
#ifndef SOFTCUDA_CHECK_MEMORY_H
#define SOFTCUDA_CHECK_MEMORY_H

#include "tools/softcuda/check_touch.h"

/* From now on memory's allocations have shadows. Before the first of them is made. */
void check_attach(struct memory *memory);

/* The host, outside of launches: has written bytes (copies, memset); wants to read them (false:
 * *first is the address of the first one that was never written); has copied them from elsewhere in
 * device memory, written or not. Ranges that are in no allocation, and pinned memory, which the
 * host may write at any time, are fine. Nothing where memory is not attached. */
void check_host_write(struct memory *memory, uint64_t address, uint64_t bytes);
bool check_host_read(const struct memory *memory, uint64_t address, uint64_t bytes,
                     uint64_t *first);
void check_host_copy(struct memory *memory, uint64_t to, uint64_t from, uint64_t bytes);

/* ---- for check.c ---------------------------------------------------------------------------- */

struct memory_shadow {
    uint64_t first_granule, n_granules; /* both multiples of LINE_GRANULES */
    uint16_t *written;                  /* (n_granules) a bit a byte */
    struct touch *touches;              /* (n_granules) of lines in pieces */
    struct touch *lines;                /* (n_granules / LINE_GRANULES) */
    bool always_written;
};

/* Made where there is none yet; by several threads at once if need be. NULL: no memory. */
struct memory_shadow *memory_shadow_of(const struct allocation *allocation);

/* Granules share locks, and pools of records, by the 256 bytes that they lie in. */
#define SHADOW_STRIPES 256
struct stripe {
    _Alignas(64) _Atomic int taken;
    struct touch_pool pool;
};
static inline size_t stripe_index(uint64_t granule)
{
    return granule >> 4 & (SHADOW_STRIPES - 1);
}
void stripe_lock(struct stripe *stripe);
void stripe_unlock(struct stripe *stripe);

#endif
