/* Who has happened before whom: the clocks of the race checker.
 *
 * A CTA runs on one processor at a time, so one counter, `now`, stamps the accesses of all of its
 * threads; it is raised whenever somebody lets others know what it has done. A thread knows another
 * one up to a stamp: what that one did up to then happened before whatever the thread does next.
 *
 * What threads know is kept where it is shared: `floor` after a barrier of the whole CTA, a matrix
 * of warps for __syncwarp and named barriers of whole warps, and, only where single lanes learn
 * something of their own (a partial mask, a flag in memory), a view of the thread's own.
 *
 * Across CTAs and through flags: a fence keeps what its thread knows, an atomic or strong store
 * publishes what its thread (or, before a barrier, others of the CTA) has fenced at the address,
 * an atomic or strong load there learns it. That a fence should follow the load is not asked for:
 * kernels do without, behind a branch on the value. Fences of the block's scope tell the CTA's own
 * threads only.
 *
 * A struct order belongs to the processor that runs its CTA; places may be shared. */
#ifndef SOFTCUDA_CHECK_ORDER_H
#define SOFTCUDA_CHECK_ORDER_H

#include <pthread.h>
#include <stdatomic.h>
#include "tools/softcuda/machine.h"

/* What is known of one CTA's threads: not changed once it is made, shared by count. */
struct part {
    _Atomic int references;
    uint32_t cta;
    uint32_t stamps[]; /* (threads of a CTA) */
};

struct view {
    struct part **parts; /* by ascending CTA */
    int count, capacity;
};

struct thread_view {
    struct view known;
    struct view fenced[2]; /* [0]: for the CTA's own threads, [1]: for the device */
};

struct barrier_view {
    uint32_t *warps; /* (warps) what the arrived know of each; NULL: never used */
    struct thread_view threads;
};

struct order {
    uint32_t cta, now, floor;
    int n_warps, n_threads;
    uint32_t *warps; /* (warps, warps): what all lanes of the first know of the second */
    struct thread_view *threads; /* (threads); NULL: nobody has one of its own */
    bool any_own;                /* since the last barrier of all */
    bool lane_wise;              /* some lane has ever known what its warp did not */
    struct thread_view common;   /* of all threads, since that barrier */
    struct barrier_view barriers[BARRIERS];
    bool no_memory; /* something could not be kept: the caller stops */
};

/* Words of memory that fenced stores have been published at. */
struct place;
struct places {
    pthread_mutex_t lock;
    struct place **table;
    _Atomic int count;
    int capacity;
};

/* false: no memory. n_threads of a CTA, the same for all of a launch. */
bool order_open(struct order *order, uint32_t cta, int n_threads);
void order_close(struct order *order);

/* Whether what thread `other` of `cta` did at `stamp` happened before what `thread` does now. */
bool order_before(const struct order *order, int thread, uint32_t cta, int other, uint32_t stamp);

/* bar.warp.sync of these lanes; live: those of the warp that have not exited. */
void order_warp_sync(struct order *order, int warp, uint32_t lanes, uint32_t live);
/* Arrival at a barrier with a count, and its end: waiting[w] are the lanes of each warp that go on.
 * A barrier of all: everybody who lives goes on. */
void order_arrive(struct order *order, int warp, uint32_t lanes, uint32_t live, int barrier);
void order_release(struct order *order, int barrier, const uint32_t *waiting, const uint32_t *live);
void order_release_all(struct order *order);
void order_fence(struct order *order, int warp, uint32_t lanes, bool device);

/* Before a strong store or atomic at `key` (modifies: atomic, which keeps what others published),
 * and after a strong load or atomic. */
void order_publish(struct order *order, struct places *places, int thread, const void *key,
                   bool modifies);
void order_acquire(struct order *order, struct places *places, int thread, const void *key);
void places_close(struct places *places);

#endif
