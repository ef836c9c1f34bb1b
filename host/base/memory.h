/* Memory: the one place that asks the system for it, and arenas.
 *
 * All of midashi allocates through here, so that a test can let any one allocation fail. Lifetimes
 * are visible: an arena lives as long as the thing whose name it bears (a model, a step, a corpus)
 * and is released at once. Not thread-safe: an arena belongs to one thread. */
#ifndef MIDASHI_BASE_MEMORY_H
#define MIDASHI_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include "host/base/status.h"

/* malloc, realloc and free, with 64-byte alignment from mem_alloc (not from mem_resize).
 * NULL where there is no memory, or where count * size overflows. Contents are not cleared by
 * mem_alloc; mem_alloc_zero clears. A size of 0 gives a valid pointer. mem_free(NULL) does nothing.
 */
void *mem_alloc(size_t count, size_t size);
void *mem_alloc_zero(size_t count, size_t size);
void *mem_resize(void *old, size_t count, size_t size);
void mem_free(void *pointer);

/* Tests only: the n-th allocation from now on (1 is the next) fails; after mem_fail_at so does each
 * later one, after mem_fail_once none. n = 0 ends it. True when an allocation was made to fail
 * since the last call of either. Per process. */
bool mem_fail_at(long n);
bool mem_fail_once(long n);

/* A growing region: allocations are carved one after another and freed together. */
struct arena_block;
struct arena {
    struct arena_block *last; /* newest block; NULL when empty */
    size_t total;             /* bytes handed out, for reports */
};
struct arena_mark {
    struct arena_block *block;
    size_t used;
    size_t total;
};

/* A zeroed struct arena is ready to use. */

/* 64-byte aligned, not cleared; NULL where there is no memory or count * size overflows. */
void *arena_alloc(struct arena *arena, size_t count, size_t size);
/* A copy of length bytes with a 0 byte behind. NULL where there is no memory. */
char *arena_text(struct arena *arena, const char *text, size_t length);
/* Makes room for one more element in an array of the arena with `count` elements of `size` bytes,
 * whose pointer stands at `array` (NULL when *capacity is 0): where it is full, a copy of twice the
 * capacity takes its place. 0 where there is no memory; nothing is changed then. */
int arena_grow(struct arena *arena, void *array, int count, int *capacity, size_t size);
/* Everything allocated after arena_mark goes at arena_reset. Marks nest. */
struct arena_mark arena_mark(const struct arena *arena);
void arena_reset(struct arena *arena, struct arena_mark mark);
void arena_free(struct arena *arena);

/* Peak resident set of this process in bytes (VmHWM), 0 where the system does not tell. */
size_t mem_peak_resident(void);

/* Bytes that this process may still take, by what the system says is free and what its control
 * group allows; 0 where nothing tells. */
size_t mem_available(void);

#endif
