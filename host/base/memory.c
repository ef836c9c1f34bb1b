/* Memory and arenas. See memory.h. */
#include "host/base/memory.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT ((size_t)64) /* a cache line, and two AVX registers */

/* Counts down to the allocation that a test wants to fail; 0: none. Atomic, since threads allocate.
 */
static atomic_long fail_countdown;
static atomic_bool fail_once, has_failed;

static bool arm(long n, bool once)
{
    atomic_store(&fail_countdown, 0);
    bool failed = atomic_exchange(&has_failed, false);
    atomic_store(&fail_once, once);
    atomic_store(&fail_countdown, n);
    return failed;
}

bool mem_fail_at(long n)
{
    return arm(n, false);
}

bool mem_fail_once(long n)
{
    return arm(n, true);
}

/* True when this allocation is to fail. The countdown stays at 1 where every later one shall fail
 * too. */
static bool must_fail(void)
{
    long left = atomic_load(&fail_countdown);
    if (left == 0)
        return false;
    if (left > 1) {
        atomic_fetch_sub(&fail_countdown, 1);
        return false;
    }
    atomic_store(&has_failed, true);
    if (atomic_load(&fail_once))
        atomic_store(&fail_countdown, 0);
    return true;
}

void *mem_alloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - ALIGNMENT || must_fail())
        return NULL;
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return aligned_alloc(ALIGNMENT, bytes ? bytes : ALIGNMENT);
}

void *mem_alloc_zero(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    void *pointer = mem_alloc(count, size);
    if (pointer)
        memset(pointer, 0, bytes);
    return pointer;
}

void *mem_resize(void *old, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || must_fail())
        return NULL;
    return realloc(old, bytes ? bytes : 1);
}

void mem_free(void *pointer)
{
    free(pointer);
}

/* Blocks form a list from the newest to the oldest. The payload starts ALIGNMENT bytes in. */
struct arena_block {
    struct arena_block *previous;
    size_t capacity; /* bytes of payload */
    size_t used;
};

#define BLOCK_HEADER   ALIGNMENT
#define BLOCK_SMALLEST ((size_t)1 << 16)
#define BLOCK_LARGEST_GROWTH                                                                       \
    ((size_t)1 << 24) /* blocks double up to here, then are sized by need */

static_assert(sizeof(struct arena_block) <= BLOCK_HEADER, "the header fits before the payload");

void *arena_alloc(struct arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2)
        return NULL;
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    struct arena_block *block = arena->last;
    if (!block || block->capacity - block->used < bytes) {
        size_t capacity = block ? 2 * block->capacity : BLOCK_SMALLEST;
        if (capacity > BLOCK_LARGEST_GROWTH)
            capacity = BLOCK_LARGEST_GROWTH;
        if (capacity < bytes)
            capacity = bytes;
        block = mem_alloc(1, BLOCK_HEADER + capacity);
        if (!block)
            return NULL;
        *block = (struct arena_block){.previous = arena->last, .capacity = capacity};
        arena->last = block;
    }
    void *pointer = (char *)block + BLOCK_HEADER + block->used;
    block->used += bytes;
    arena->total += bytes;
    return pointer;
}

char *arena_text(struct arena *arena, const char *text, size_t length)
{
    char *copy = arena_alloc(arena, length + 1, 1);
    if (!copy)
        return NULL;
    if (length > 0)
        memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

int arena_grow(struct arena *arena, void *array, int count, int *capacity, size_t size)
{
    void *old;
    if (count < *capacity)
        return 1;
    int n = *capacity ? 2 * *capacity : 16;
    void *larger = arena_alloc(arena, (size_t)n, size);
    if (!larger)
        return 0;
    memcpy(&old, array, sizeof old); /* a pointer of any type stands there */
    if (count > 0)
        memcpy(larger, old, (size_t)count * size);
    memcpy(array, &larger, sizeof larger);
    *capacity = n;
    return 1;
}

struct arena_mark arena_mark(const struct arena *arena)
{
    return (struct arena_mark){
        .block = arena->last,
        .used = arena->last ? arena->last->used : 0,
        .total = arena->total,
    };
}

void arena_reset(struct arena *arena, struct arena_mark mark)
{
    while (arena->last != mark.block) {
        struct arena_block *previous = arena->last->previous;
        mem_free(arena->last);
        arena->last = previous;
    }
    if (arena->last)
        arena->last->used = mark.used;
    arena->total = mark.total;
}

void arena_free(struct arena *arena)
{
    arena_reset(arena, (struct arena_mark){0});
}

/* The number behind `key` in a file of such lines, in kilobytes; 0 where it is not there. */
static size_t kilobytes_in(const char *path, const char *key)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    char line[256];
    size_t kilobytes = 0, length = strlen(key);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, key, length) == 0) {
            sscanf(line + length, "%zu", &kilobytes);
            break;
        }
    fclose(file);
    return kilobytes;
}

size_t mem_peak_resident(void)
{
    return kilobytes_in("/proc/self/status", "VmHWM:") * 1024;
}

/* The number that is all that a file holds; SIZE_MAX where it is not there or says "max". */
static size_t number_in(const char *path)
{
    size_t number;
    FILE *file = fopen(path, "r");
    if (!file)
        return SIZE_MAX;
    if (fscanf(file, "%zu", &number) != 1)
        number = SIZE_MAX;
    fclose(file);
    return number;
}

/* A container sees its own control group at the root. Both versions' files; a limit beyond what
 * the machine has is none. */
size_t mem_available(void)
{
    static const char *const groups[][2] = {
        {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes",
         "/sys/fs/cgroup/memory/memory.usage_in_bytes"},
    };
    size_t available = kilobytes_in("/proc/meminfo", "MemAvailable:") * 1024;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        size_t limit = number_in(groups[i][0]), used = number_in(groups[i][1]);
        if (limit == SIZE_MAX || used == SIZE_MAX)
            continue;
        size_t left = limit > used ? limit - used : 0;
        available = left < available ? left : available;
    }
    return available;
}
