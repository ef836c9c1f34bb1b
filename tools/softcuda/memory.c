/* Device memory. See memory.h. */
#define _GNU_SOURCE
#include "tools/softcuda/memory.h"

#include <string.h>
#include <sys/mman.h>
#include "host/base/memory.h"

#define RANGE_BYTES ((uint64_t)1 << 42)
#define ALIGNMENT   ((uint64_t)512)
#define PAGE        ((uint64_t)4096)
#define GLOBAL_BASE (WINDOW_GLOBAL << WINDOW_SHIFT)
/* What a fresh allocation holds: as bf16, f32 and f64 a large number that no test takes for a
 * result, as an address one of no window. */
#define PATTERN 0x5A

enum status memory_open(struct memory *memory, uint64_t card_bytes, struct err *err)
{
    *memory = (struct memory){.range_bytes = RANGE_BYTES, .card_bytes = card_bytes};
    void *range = MAP_FAILED;
    for (; memory->range_bytes >= 2 * card_bytes; memory->range_bytes /= 2) {
        range = mmap(NULL, memory->range_bytes, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (range != MAP_FAILED)
            break;
    }
    if (range == MAP_FAILED)
        return err_set(err, STATUS_RESOURCE,
                       "softcuda: no address space for a card of %llu bytes (ulimit -v?)",
                       (unsigned long long)card_bytes);
    memory->range = range;
    memory->next = PAGE; /* the null pointer and its neighbours are nobody's */
    return STATUS_OK;
}

static void drop(struct memory *memory, struct allocation *allocation)
{
    if (allocation->shadow && memory->drop_shadow)
        memory->drop_shadow(allocation->shadow);
    mem_free(allocation);
}

void memory_close(struct memory *memory)
{
    for (int i = 0; i < memory->count; i++)
        drop(memory, memory->table[i]);
    mem_free(memory->table);
    if (memory->range)
        munmap(memory->range, memory->range_bytes);
    *memory = (struct memory){0};
}

/* The index of the first allocation whose base is above address. */
static int upper_bound(const struct memory *memory, uint64_t address)
{
    int low = 0, high = memory->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (memory->table[middle]->base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct allocation *insert(struct memory *memory, struct allocation allocation)
{
    if (memory->count == memory->capacity) {
        int capacity = memory->capacity ? 2 * memory->capacity : 64;
        void *table = mem_resize(memory->table, (size_t)capacity, sizeof *memory->table);
        if (!table)
            return NULL;
        memory->table = table;
        memory->capacity = capacity;
    }
    struct allocation *fresh = mem_alloc(1, sizeof *fresh);
    if (!fresh)
        return NULL;
    *fresh = allocation;
    fresh->number = ++memory->n_allocated;
    int at = upper_bound(memory, allocation.base);
    memmove(memory->table + at + 1, memory->table + at,
            (size_t)(memory->count - at) * sizeof *memory->table);
    memory->table[at] = fresh;
    memory->count++;
    return fresh;
}

static uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

/* Where `bytes` fit: at the end of what was ever used, else in the first gap. 0: nowhere. */
static uint64_t find_place(struct memory *memory, uint64_t bytes)
{
    if (memory->next + bytes <= memory->range_bytes) {
        uint64_t place = memory->next;
        memory->next += bytes;
        return place;
    }
    uint64_t place = PAGE;
    for (int i = upper_bound(memory, GLOBAL_BASE); i < memory->count; i++) {
        uint64_t begin = memory->table[i]->base - GLOBAL_BASE;
        if (begin >= place + bytes)
            break;
        place = begin + round_up(memory->table[i]->size, PAGE) + PAGE;
    }
    return place + bytes <= memory->range_bytes ? place : 0;
}

struct allocation *memory_allocate(struct memory *memory, uint64_t size, const char *label)
{
    if (size == 0 || size > memory->card_bytes ||
        round_up(size, ALIGNMENT) > memory->card_bytes - memory->used)
        return NULL;
    /* Whole pages, and one between that stays out of reach. */
    uint64_t pages = round_up(size, PAGE), place = find_place(memory, pages + PAGE);
    if (place == 0)
        return NULL;
    unsigned char *host = memory->range + place;
    if (mprotect(host, pages, PROT_READ | PROT_WRITE) != 0)
        return NULL;
    struct allocation *allocation = insert(
        memory, (struct allocation){
                    .base = GLOBAL_BASE + place, .size = size, .host = host, .label = label});
    if (!allocation) {
        mprotect(host, pages, PROT_NONE);
        return NULL;
    }
    if (size <= (uint64_t)1 << 20) /* larger ones stay zero, so that memory is used as needed */
        memset(host, PATTERN, size);
    memory->used += round_up(size, ALIGNMENT);
    return allocation;
}

struct allocation *memory_register(struct memory *memory, void *host, uint64_t size)
{
    return insert(
        memory, (struct allocation){
                    .base = (uint64_t)(uintptr_t)host, .size = size, .host = host, .pinned = true});
}

bool memory_free(struct memory *memory, uint64_t address)
{
    int at = upper_bound(memory, address) - 1;
    if (at < 0 || memory->table[at]->base != address)
        return false;
    struct allocation *allocation = memory->table[at];
    if (!allocation->pinned) {
        uint64_t pages = round_up(allocation->size, PAGE);
        madvise(allocation->host, pages, MADV_DONTNEED);
        mprotect(allocation->host, pages, PROT_NONE);
        memory->used -= round_up(allocation->size, ALIGNMENT);
        memory->freed[memory->n_freed++ % FREED_KEPT] =
            (struct freed){allocation->base, allocation->size, allocation->number};
    }
    memory->count--;
    memmove(memory->table + at, memory->table + at + 1,
            (size_t)(memory->count - at) * sizeof *memory->table);
    drop(memory, allocation);
    return true;
}

struct allocation *memory_nearest(const struct memory *memory, uint64_t address)
{
    int at = upper_bound(memory, address) - 1;
    return at < 0 ? NULL : memory->table[at];
}

struct allocation *memory_find(const struct memory *memory, uint64_t address)
{
    struct allocation *allocation = memory_nearest(memory, address);
    return allocation && address - allocation->base < allocation->size ? allocation : NULL;
}

const struct freed *memory_freed(const struct memory *memory, uint64_t address)
{
    int64_t n = memory->n_freed, first = n > FREED_KEPT ? n - FREED_KEPT : 0;
    for (int64_t i = n - 1; i >= first; i--) {
        const struct freed *freed = &memory->freed[i % FREED_KEPT];
        if (address - freed->base < freed->size)
            return freed;
    }
    return NULL;
}
