/* Who touched which bytes: the records of the race checker, a list for each granule of 16 bytes.
 *
 * A record stands for some bytes of its granule and the lanes of some warps that touched them in
 * one way: either each of its lanes, in each of its warps, touched all of its bytes, or, where a
 * warp's addresses ascend, each byte has the lane base + (byte >> shift); there may be gaps between
 * the lanes' bytes, as long as nothing has to be said of them. Warps share a record
 * where they read the same with the same lanes, and nothing was let known between. A list has its
 * newest record at the head; what can matter to nobody any more is dropped when it is met.
 *
 * Global memory has a list for each line of 64 bytes too. As long as a launch touches a line only
 * whole, by lanes side by side, and nothing in it has to be compared, that list stands for those of
 * all its granules: it is the first one's, in the others the lanes are as many further on. Then the
 * line falls into its granules, until the next launch. */
#ifndef SOFTCUDA_CHECK_TOUCH_H
#define SOFTCUDA_CHECK_TOUCH_H

#include "tools/softcuda/access.h"
#include "tools/softcuda/check_order.h"

#define GRANULE_SHIFT       4
#define GRANULE             16
#define LINE_GRANULES_SHIFT 2
#define LINE_GRANULES       (1 << LINE_GRANULES_SHIFT)
#define LINE                (LINE_GRANULES * GRANULE)

enum touch_kind {
    TOUCH_READ = 0,
    TOUCH_WRITE = 1,
    TOUCH_STRONG = 2, /* volatile, ordered or atomic: no race with its like */
    TOUCH_ATOMIC = 4, /* with both of the above */
    TOUCH_ASYNC = 8,  /* cp.async */
};

#define ALL_OF_THEM 15      /* shift: each lane touched each byte */
#define APART       8       /* shift: with gaps between the lanes */
#define ALL_BYTES   0xFFFFu /* of a granule */

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

static inline bool touch_is_apart(const struct touch *touch)
{
    return touch->how >> 7 && touch_shift(touch) != ALL_OF_THEM;
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
    uint32_t floor;   /* of order */
    uint64_t tag;     /* without bytes, shift and base */
    bool whole_warps; /* no lane knows what its warp does not: a record may name more of them */
    bool across_ctas; /* global memory: the barrier of a CTA ends nothing */
    int most; /* records of a granule's reads, and of its strong writes: more are forgotten */
};

/* Some lanes touch bytes of one granule. */
struct touched {
    uint32_t lanes;
    unsigned bytes; /* a bit a byte */
    int base;
    unsigned shift;
};

static inline bool touched_apart(const struct touched *what)
{
    return what->shift & APART && what->shift != ALL_OF_THEM;
}

/* Nobody that may come can meet it unordered: what is behind it in its list is as old. */
static inline bool touch_is_stale(const struct toucher *by, const struct touch *record)
{
    return by->across_ctas ? record->launch != by->launch : record->stamp <= by->floor;
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

/* What touch_again leaves of touch, below. */
bool touch_list(const struct toucher *by, struct touch *head, struct touch_pool *pool,
                uint32_t lanes, uint64_t tag, uint64_t address, bool compares);

static inline uint64_t touch_tag(const struct toucher *by, const struct touched *what)
{
    return by->tag | (uint64_t)(uint8_t)what->base << 24 | (uint64_t)what->bytes << 32 |
           (uint64_t)what->shift << 60;
}

/* Records where there is nothing to compare: over what is stale, or once more what the newest
 * record says, by the same warp or by another without an event between, since older records have
 * been compared then. false: for touch_list to say. */
static inline __attribute__((always_inline)) bool
touch_again(const struct toucher *by, struct touch *head, uint32_t lanes, uint64_t tag)
{
    touch_half first = by->first;
    first[1] |= (uint64_t)lanes << 32;
    if (touch_is_stale(by, head)) {
        head->halves[0] = first;
        head->halves[1] = (touch_half){by->warps, tag};
        return true;
    }
    if ((head->tag ^ tag) & TAG_OF_TOUCH || head->halves[0][0] != first[0] ||
        head->halves[0][1] != first[1])
        return false;
    if (head->warps == by->warps) {
        head->tag = tag;
        return true;
    }
    if (head->next || head->how & TOUCH_WRITE)
        return false;
    head->warps |= by->warps;
    return true;
}

/* Compares with what is recorded, reports races, records. address: of the granule, as reports say
 * it. compares false: a copy has landed, as if it were written just now, and that is all. false: no
 * memory. */
static inline bool touch(const struct toucher *by, struct touch *head, struct touch_pool *pool,
                         const struct touched *what, uint64_t address, bool compares)
{
    uint64_t tag = touch_tag(by, what);
    return touch_again(by, head, what->lanes, tag) ||
           touch_list(by, head, pool, what->lanes, tag, address, compares);
}

/* Records an access of which nothing has to be said. false: it must be compared, nothing is
 * recorded. Without memory order->no_memory is set. */
bool touch_quietly(const struct toucher *by, struct touch *head, struct touch_pool *pool,
                   uint32_t lanes, uint64_t tag);

/* ---- lines ---------------------------------------------------------------------------------- */

bool line_fall(const struct toucher *by, struct touch *line, struct touch *heads,
               struct touch_pool *pool);
static inline bool line_is_in_pieces(const struct toucher *by, const struct touch *line)
{
    return line->launch == by->launch && line->bytes == 0;
}

/* An access to a whole line, of which lanes and tag are the first granule's part. false: nothing is
 * recorded, the line must be in pieces. Without memory order->no_memory is set. */
static inline bool touch_line(const struct toucher *by, struct touch *line, struct touch_pool *pool,
                              uint32_t lanes, uint64_t tag)
{
    return !line_is_in_pieces(by, line) &&
           (touch_again(by, line, lanes, tag) || touch_quietly(by, line, pool, lanes, tag));
}

/* From now on, in this launch, the line's granules have lists of their own, at heads
 * (LINE_GRANULES). false: no memory. */
static inline bool line_in_pieces(const struct toucher *by, struct touch *line, struct touch *heads,
                                  struct touch_pool *pool)
{
    return line_is_in_pieces(by, line) || line_fall(by, line, heads, pool);
}

/* All of its records are forgotten. */
void touch_pool_reset(struct touch_pool *pool);
void touch_pool_close(struct touch_pool *pool);

#endif
