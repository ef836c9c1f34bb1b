/* Device memory: its addresses, its allocations, and the windows of the generic address space.
 *
 * A device address never is a host address: bits 48 and up name a window, so that a host program
 * that follows a device pointer dies at once, as it would with a real card.
 *
 *   window 0   pinned host memory, at the host's own addresses
 *   window 1   global memory (and const variables)
 *   window 2   shared memory of the CTA: the offset in it
 *   window 3   local memory of the thread: the offset in it
 *   window 4   the kernel's parameters: the offset in them
 *
 * Addresses are not used again after a free until the range is exhausted, and allocations stand
 * apart, so that a stray access hits nothing that is alive. Not thread-safe; a launch only reads.
 */
#ifndef SOFTCUDA_MEMORY_H
#define SOFTCUDA_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "host/base/status.h"

#define WINDOW_SHIFT  48
#define WINDOW_HOST   ((uint64_t)0)
#define WINDOW_GLOBAL ((uint64_t)1)
#define WINDOW_SHARED ((uint64_t)2)
#define WINDOW_LOCAL  ((uint64_t)3)
#define WINDOW_PARAM  ((uint64_t)4)

struct allocation {
    uint64_t base, size; /* as device addresses and bytes */
    unsigned char *host; /* where base lies in this process */
    int number;          /* the n-th allocation of the context, from 1 */
    const char *label;   /* a variable's name; NULL: cuMemAlloc's */
    bool pinned;         /* host memory */
    void *owner;         /* the driver's context; NULL: none */
    bool registered;     /* pinned: it was the program's before (cuMemHostRegister) */
    void *shadow;        /* the checkers' (check.h); NULL: none */
};

/* One that is gone, of device memory. */
struct freed {
    uint64_t base, size;
    int number;
};
#define FREED_KEPT 256 /* the last ones */

struct memory {
    struct allocation **table; /* sorted by base */
    int count, capacity;
    struct freed freed[FREED_KEPT]; /* the n-th at n % FREED_KEPT */
    int64_t n_freed;
    unsigned char *range; /* of window 1 */
    uint64_t range_bytes, next;
    uint64_t card_bytes, used;         /* what the card has, what is allocated */
    int n_allocated;                   /* so far, freed ones too */
    void (*drop_shadow)(void *shadow); /* set by the checkers */
};

/* card_bytes: allocations beyond them fail. STATUS_RESOURCE: no address space. */
enum status memory_open(struct memory *memory, uint64_t card_bytes, struct err *err);
void memory_close(struct memory *memory);

/* A new allocation of size >= 1 bytes at a multiple of 512, zeroed by chance only: its first
 * content is a pattern. NULL: the card is full. label: borrowed. */
struct allocation *memory_allocate(struct memory *memory, uint64_t size, const char *label);
/* Registers host memory at its own address. */
struct allocation *memory_register(struct memory *memory, void *host, uint64_t size);
/* false: address is no allocation's base. */
bool memory_free(struct memory *memory, uint64_t address);

/* The allocation that holds address, or NULL. */
struct allocation *memory_find(const struct memory *memory, uint64_t address);
/* The one whose end lies nearest below address: whom an access beyond the end meant. NULL: none. */
struct allocation *memory_nearest(const struct memory *memory, uint64_t address);
/* The last one that held address and was freed, as far as is remembered. NULL: none. */
const struct freed *memory_freed(const struct memory *memory, uint64_t address);

#endif
