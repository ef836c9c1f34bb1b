/* Shadows of allocations. See check_memory.h. */
#include "tools/softcuda/check_memory.h"

#include <sched.h>
#include <string.h>
#include "host/base/memory.h"
#include "tools/softcuda/pages.h"

static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;

static void drop(void *context)
{
    struct memory_shadow *shadow = context;
    pages_unmap(shadow->written, shadow->n_granules, sizeof *shadow->written);
    pages_unmap(shadow->touches, shadow->n_granules, sizeof *shadow->touches);
    pages_unmap(shadow->lines, shadow->n_granules / LINE_GRANULES, sizeof *shadow->lines);
    mem_free(shadow);
}

void check_attach(struct memory *memory)
{
    memory->drop_shadow = drop;
}

/* Shadows are larger than what they shadow: what is never touched costs nothing. */
static struct memory_shadow *make(const struct allocation *allocation)
{
    struct memory_shadow *shadow = mem_alloc_zero(1, sizeof *shadow);
    if (!shadow)
        return NULL;
    uint64_t end = allocation->base + allocation->size, first = allocation->base / LINE;
    shadow->first_granule = first * LINE_GRANULES;
    shadow->n_granules = ((end + LINE - 1) / LINE - first) * LINE_GRANULES;
    shadow->always_written = allocation->pinned || allocation->label; /* variables start as zeros */
    shadow->written = pages_map(shadow->n_granules, sizeof *shadow->written);
    shadow->touches = pages_map(shadow->n_granules, sizeof *shadow->touches);
    shadow->lines = pages_map(shadow->n_granules / LINE_GRANULES, sizeof *shadow->lines);
    if (shadow->written && shadow->touches && shadow->lines)
        return shadow;
    drop(shadow);
    return NULL;
}

struct memory_shadow *memory_shadow_of(const struct allocation *allocation)
{
    void **place = (void **)&allocation->shadow;
    struct memory_shadow *shadow = __atomic_load_n(place, __ATOMIC_ACQUIRE);
    if (shadow)
        return shadow;
    pthread_mutex_lock(&making);
    shadow = __atomic_load_n(place, __ATOMIC_ACQUIRE);
    if (!shadow) {
        shadow = make(allocation);
        __atomic_store_n(place, shadow, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&making);
    return shadow;
}

/* ---- the host ------------------------------------------------------------------------------- */

/* The part of a granule from `address` on, of `bytes` at most. */
static uint16_t bits_of(uint64_t address, uint64_t bytes, uint64_t *taken)
{
    unsigned first = (unsigned)(address & (GRANULE - 1));
    uint64_t n = GRANULE - first;
    *taken = n < bytes ? n : bytes;
    return (uint16_t)(((1u << *taken) - 1) << first);
}

/* The shadow of a range that lies in one allocation and is watched, or NULL. */
static struct memory_shadow *watched(const struct memory *memory, uint64_t address, uint64_t bytes)
{
    const struct allocation *allocation =
        memory->drop_shadow && bytes > 0 ? memory_find(memory, address) : NULL;
    if (!allocation || bytes > allocation->size - (address - allocation->base))
        return NULL;
    struct memory_shadow *shadow = memory_shadow_of(allocation);
    return shadow && !shadow->always_written ? shadow : NULL;
}

void check_host_write(struct memory *memory, uint64_t address, uint64_t bytes)
{
    struct memory_shadow *shadow = watched(memory, address, bytes);
    for (uint64_t taken; shadow && bytes > 0; address += taken, bytes -= taken) {
        uint16_t bits = bits_of(address, bytes, &taken);
        shadow->written[(address >> GRANULE_SHIFT) - shadow->first_granule] |= bits;
    }
}

bool check_host_read(const struct memory *memory, uint64_t address, uint64_t bytes, uint64_t *first)
{
    const struct memory_shadow *shadow = watched(memory, address, bytes);
    for (uint64_t taken; shadow && bytes > 0; address += taken, bytes -= taken) {
        unsigned bits = bits_of(address, bytes, &taken);
        bits &= ~(unsigned)shadow->written[(address >> GRANULE_SHIFT) - shadow->first_granule];
        if (bits) {
            *first = (address & ~(uint64_t)(GRANULE - 1)) + (uint64_t)__builtin_ctz(bits);
            return false;
        }
    }
    return true;
}

void check_host_copy(struct memory *memory, uint64_t to, uint64_t from, uint64_t bytes)
{
    struct memory_shadow *target = watched(memory, to, bytes);
    const struct memory_shadow *source = watched(memory, from, bytes);
    if (!target)
        return;
    if (!source) {
        check_host_write(memory, to, bytes);
        return;
    }
    for (uint64_t i = 0; i < bytes; i++) {
        uint64_t at = from + i, into = to + i;
        unsigned bit =
            source->written[(at >> GRANULE_SHIFT) - source->first_granule] >> (at & (GRANULE - 1)) &
            1;
        uint16_t *word = &target->written[(into >> GRANULE_SHIFT) - target->first_granule];
        unsigned mask = 1u << (into & (GRANULE - 1));
        *word = (uint16_t)(bit ? *word | mask : *word & ~mask);
    }
}

/* ---- locks ---------------------------------------------------------------------------------- */

/* Held for some hundred nanoseconds at most. */
void stripe_lock(struct stripe *stripe)
{
    int free = 0;
    for (int tries = 0; !atomic_compare_exchange_weak_explicit(
             &stripe->taken, &free, 1, memory_order_acquire, memory_order_relaxed);
         tries++, free = 0)
        if (tries > 100)
            sched_yield();
}

void stripe_unlock(struct stripe *stripe)
{
    atomic_store_explicit(&stripe->taken, 0, memory_order_release);
}
