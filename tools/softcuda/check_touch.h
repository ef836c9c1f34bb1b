/* Who touched which bytes: the records of the race checker, a list for each granule of 16 bytes.
 *
 * A record stands for some bytes of its granule and the lanes of some warps that touched them in
 * one way: either each of its lanes, in each of its warps, touched all of its bytes, or, where a
 * warp's addresses ascend, each byte has the lane base + (byte >> shift). Warps share a record
 * where they read the same with the same lanes, and nothing was let known between. A list has its
 * newest record at the head; what can matter to nobody any more is dropped when it is met. */
#ifndef SOFTCUDA_CHECK_TOUCH_H
#define SOFTCUDA_CHECK_TOUCH_H

#include "tools/softcuda/access.h"
#include "tools/softcuda/check_order.h"

#define GRANULE_SHIFT 4
#define GRANULE       16

enum touch_kind {
    TOUCH_READ = 0,
    TOUCH_WRITE = 1,
    TOUCH_STRONG = 2, /* volatile, ordered or atomic: no race with its like */
    TOUCH_ATOMIC = 4, /* with both of the above */
    TOUCH_ASYNC = 8,  /* cp.async */
};

#define ALL_OF_THEM 15 /* shift: each lane touched each byte */

/* Written in halves, from registers: copies of what has just been stored in pieces are slow. */
typedef uint64_t touch_half __attribute__((vector_size(16)));
struct touch {
    union {
        struct {
            uint32_t launch; /* which one: nothing of an earlier one matters. 0: none at all */
            uint32_t cta, stamp;
            uint32_t lanes;
            uint32_t warps;
            uint32_t next; /* in the pool; 0: none */
            union {
                struct {
                    uint8_t instruction[3]; /* its index in the program */
                    int8_t base;
                    uint16_t bytes;
                    uint8_t serial; /* of the warp's instruction, the low part */
                    uint8_t how;    /* kind, and from bit 4 on the shift */
                };
                uint64_t tag; /* all of these */
            };
        };
        touch_half halves[2];
    };
};
#define TAG_OF_TOUCH 0xFF00FFFFFF000000u /* without the instruction and its serial */

static inline int touch_shift(const struct touch *touch)
{
    return touch->how >> 4;
}

static inline int touch_instruction(const struct touch *touch)
{
    return touch->instruction[0] | touch->instruction[1] << 8 | touch->instruction[2] << 16;
}

struct touch_pool {
    struct touch *records; /* [0] is unused */
    uint32_t count, capacity, unused;
};

/* One instruction of one warp, while its touches are recorded. */
struct toucher {
    struct warp *warp;
    const struct instruction *instruction;
    const struct access *access;
    struct order *order;
    touch_half first; /* of all records */
    uint32_t launch, cta, warps;
    uint64_t tag;     /* without bytes, shift and base */
    bool whole_warps; /* no lane knows what its warp does not: a record may name more of them */
    bool across_ctas; /* global memory: the barrier of a CTA ends nothing */
    int most;         /* records of a granule; beyond them the oldest reads are forgotten */
};

/* Some lanes touch bytes of one granule. */
struct touched {
    uint32_t lanes;
    unsigned bytes; /* a bit a byte */
    int base;
    unsigned shift;
};

/* Nobody that may come can meet it unordered: what is behind it in its list is as old. */
static inline bool touch_is_stale(const struct toucher *by, const struct touch *record)
{
    return by->across_ctas ? record->launch != by->launch : record->stamp <= by->order->floor;
}

/* The same threads touched the same bytes in the same way: the newer record says all. */
static inline bool touch_is_same(const struct touch *old, const struct touch *now)
{
    return ((old->tag ^ now->tag) & TAG_OF_TOUCH) == 0 && old->lanes == now->lanes &&
           old->warps == now->warps && old->cta == now->cta;
}

/* Reads of the same bytes share a record, as long as nothing was let known between: one of them
 * would seem later than it was. */
static inline bool touch_may_share(const struct toucher *by, const struct touch *old,
                                   const struct touch *now)
{
    return ((old->tag ^ now->tag) & TAG_OF_TOUCH) == 0 && old->cta == now->cta &&
           old->stamp == now->stamp && !(now->how & TOUCH_WRITE) &&
           (old->lanes == now->lanes ||
            (touch_shift(now) == ALL_OF_THEM && (by->whole_warps || old->warps == now->warps)));
}

/* Compares what is not trivial with what is recorded, unless it has landed just now. */
bool touch_list(const struct toucher *by, struct touch *head, struct touch_pool *pool,
                struct touch *now, uint64_t address, bool compares);

/* Compares with what is recorded, reports races, records. address: of the granule, as reports say
 * it. compares false: a copy has landed, as if it were written just now, and that is all. false: no
 * memory. */
static inline __attribute__((always_inline)) bool touch(const struct toucher *by,
                                                        struct touch *head, struct touch_pool *pool,
                                                        const struct touched *what,
                                                        uint64_t address, bool compares)
{
    uint64_t tag = by->tag | (uint64_t)(uint8_t)what->base << 24 | (uint64_t)what->bytes << 32 |
                   (uint64_t)what->shift << 60;
    touch_half first = by->first, second = {by->warps, tag};
    first[1] |= (uint64_t)what->lanes << 32;
    if (touch_is_stale(by, head)) {
        head->halves[0] = first;
        head->halves[1] = second;
        return true;
    }
    /* Once more what the newest record says, by the same warp or by another without an event
     * between: older records have been compared then. */
    struct touch now;
    now.halves[0] = first;
    now.halves[1] = second;
    if (touch_is_same(head, &now)) {
        head->halves[0] = first;
        head->halves[1] = (touch_half){by->warps | (uint64_t)head->next << 32, tag};
        return true;
    }
    if (head->next == 0 && touch_may_share(by, head, &now)) {
        head->lanes |= what->lanes;
        head->warps |= by->warps;
        return true;
    }
    return touch_list(by, head, pool, &now, address, compares);
}

/* All of its records are forgotten. */
void touch_pool_reset(struct touch_pool *pool);
void touch_pool_close(struct touch_pool *pool);

#endif
