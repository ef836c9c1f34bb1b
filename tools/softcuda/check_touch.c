/* Records of accesses and their comparison. See check_touch.h. */
#include "tools/softcuda/check_touch.h"

#include <string.h>
#include "host/base/memory.h"
#include "tools/softcuda/access.h"
#include "tools/softcuda/check_words.h"

/* ---- the pool ------------------------------------------------------------------------------- */

void touch_pool_reset(struct touch_pool *pool)
{
    pool->count = 1;
    pool->unused = 0;
}

void touch_pool_close(struct touch_pool *pool)
{
    mem_free(pool->records);
    *pool = (struct touch_pool){0};
}

/* The index of a record to fill; 0: no memory. */
static uint32_t pool_take(struct touch_pool *pool)
{
    uint32_t index = pool->unused;
    if (index) {
        pool->unused = pool->records[index].next;
        return index;
    }
    if (pool->count >= pool->capacity) {
        uint32_t capacity = pool->capacity ? 2 * pool->capacity : 64;
        void *larger = mem_resize(pool->records, capacity, sizeof *pool->records);
        if (!larger)
            return 0;
        pool->records = larger;
        pool->capacity = capacity;
        pool->count = pool->count ? pool->count : 1;
    }
    return pool->count++;
}

static void pool_give(struct touch_pool *pool, uint32_t index)
{
    pool->records[index].next = pool->unused;
    pool->unused = index;
}

/* ---- comparing ------------------------------------------------------------------------------ */

static uint32_t lanes_at(const struct touch *record, int byte)
{
    return touch_shift(record) == ALL_OF_THEM
               ? record->lanes
               : 1u << ((record->base + (byte >> touch_shift(record))) & 31);
}

static bool conflict(const struct touch *a, const struct touch *b)
{
    return (a->how | b->how) & TOUCH_WRITE && !(a->how & b->how & TOUCH_STRONG);
}

/* All threads that it may meet know of it, without looking at lanes. */
static inline bool is_settled(const struct toucher *by, const struct touch *old)
{
    const struct order *order = by->order;
    if (old->cta != by->cta)
        return false;
    if (old->stamp <= order->floor)
        return true;
    const uint32_t *known = order->warps + by->warp->index * order->n_warps;
    for (uint32_t left = old->warps; left; left &= left - 1)
        if (old->stamp > known[__builtin_ctz(left)])
            return false;
    return true;
}

/* Lanes of one store: the bytes that they leave depend on the card if they differ. */
static bool compare_values(const struct toucher *by, const struct touch *old,
                           const struct touch *now, int byte)
{
    uint32_t mine = lanes_at(now, byte), theirs = lanes_at(old, byte);
    int lane = __builtin_ctz(mine), other = __builtin_ctz(theirs);
    const struct access *access = by->access;
    int at = (byte - (int)(access->address[lane] & (GRANULE - 1)));
    if (lane == other || access->kind != ACCESS_WRITE)
        return true;
    return access_stored_byte(by->warp, by->instruction, lane, at) ==
           access_stored_byte(by->warp, by->instruction, other, at);
}

/* The threads of `now` at a byte with those of `old`: the first pair that nothing orders is told.
 */
static bool compare_threads(const struct toucher *by, const struct touch *old, uint32_t mine,
                            uint32_t theirs, uint64_t address)
{
    for (uint32_t warps = old->warps; warps; warps &= warps - 1)
        for (uint32_t m = mine; m; m &= m - 1)
            for (uint32_t t = theirs; t; t &= t - 1) {
                int thread = by->warp->index * WARP_LANES + __builtin_ctz(m);
                int other = __builtin_ctz(warps) * WARP_LANES + __builtin_ctz(t);
                if (order_before(by->order, thread, old->cta, other, old->stamp))
                    continue;
                say_race(by, old, __builtin_ctz(m), other, address);
                return false;
            }
    return true;
}

static void compare(const struct toucher *by, const struct touch *old, const struct touch *now,
                    uint64_t address)
{
    bool same_warp = old->cta == now->cta && old->warps == now->warps;
    bool same_instruction = same_warp && old->stamp == now->stamp && old->serial == now->serial &&
                            touch_instruction(old) == touch_instruction(now);
    if (same_warp && touch_shift(old) == touch_shift(now) && touch_shift(now) != ALL_OF_THEM &&
        old->base == now->base)
        return; /* each lane its own bytes */
    uint32_t seen_mine = 0, seen_theirs = 0;
    for (uint32_t left = old->bytes & now->bytes; left; left &= left - 1) {
        int byte = __builtin_ctz(left);
        uint32_t mine = lanes_at(now, byte), theirs = lanes_at(old, byte);
        if (same_instruction) {
            if (compare_values(by, old, now, byte))
                continue;
            say_values_differ(by, old, __builtin_ctz(mine), __builtin_ctz(theirs),
                              address + (unsigned)byte);
            return;
        }
        if (mine == seen_mine && theirs == seen_theirs)
            continue;
        seen_mine = mine, seen_theirs = theirs;
        if (!compare_threads(by, old, mine, theirs, address + (unsigned)byte))
            return;
    }
}

/* ---- recording ------------------------------------------------------------------------------ */

/* What `now` replaces in an older record goes; whether anything of it is left. */
static bool survives(const struct toucher *by, struct touch *old, struct touch *now)
{
    if (touch_is_same(old, now))
        return false;
    bool one_store = old->serial == now->serial && old->cta == now->cta &&
                     old->warps == now->warps && old->stamp == now->stamp &&
                     old->bytes == now->bytes && old->how == now->how &&
                     touch_shift(now) == ALL_OF_THEM;
    if (one_store || touch_may_share(by, old, now)) {
        now->lanes |= old->lanes;
        now->warps |= old->warps;
        return false;
    }
    /* Who races with the older access races with a plain write over it too, or has seen that. With
     * a strong write, which a strong access may meet, that holds of a strong one before it alone.
     */
    bool strong = now->how & TOUCH_STRONG;
    if ((now->how & TOUCH_WRITE) && !(now->how & TOUCH_ATOMIC) &&
        (!strong || (old->how & TOUCH_STRONG && is_settled(by, old))))
        old->bytes &= (uint16_t)~now->bytes;
    return old->bytes != 0;
}

static inline void put(struct touch *head, const struct touch *now, uint32_t next)
{
    head->halves[0] = now->halves[0];
    head->halves[1] = (touch_half){now->warps | (uint64_t)next << 32, now->tag};
}

/* Plain writes are one for each byte at most, and all kept; of reads there may be any number, and
 * of strong writes: these count with their like. */
static bool count_together(const struct touch *a, const struct touch *b)
{
    return ((a->how ^ b->how) & TOUCH_WRITE) == 0 &&
           (!(a->how & TOUCH_WRITE) || a->how & b->how & TOUCH_STRONG);
}

/* The link to the record that a list can do without when *now comes, where there are too many of
 * its like: one of other CTAs, if there is another, or the last of the own CTA. *link NULL: the
 * head itself. false: there are not too many. */
static bool find_room(const struct toucher *by, struct touch *head, struct touch_pool *pool,
                      const struct touch *now, uint32_t **link)
{
    int n = count_together(head, now), n_foreign = n && head->cta != by->cta;
    bool own_head = n && !n_foreign;
    uint32_t *own = NULL, *foreign = NULL;
    for (uint32_t *at = &head->next; *at; at = &pool->records[*at].next) {
        const struct touch *old = &pool->records[*at];
        if (!count_together(old, now))
            continue;
        n++;
        n_foreign += old->cta != by->cta;
        *(old->cta != by->cta ? &foreign : &own) = at;
    }
    *link = n_foreign > 1 && foreign ? foreign : own || own_head ? own : foreign;
    return n >= by->most;
}

/* Puts *now at the head of a list of n survivors. */
static bool push(const struct toucher *by, struct touch *head, struct touch_pool *pool,
                 const struct touch *now, int n)
{
    if (head->bytes == 0) { /* the head itself is free */
        put(head, now, head->next);
        return true;
    }
    uint32_t room = 0;
    uint32_t *link;
    if (n >= by->most && find_room(by, head, pool, now, &link)) {
        if (!link) {
            put(head, now, head->next);
            return true;
        }
        room = *link;
        *link = pool->records[room].next;
    }
    if (!room)
        room = pool_take(pool);
    if (!room)
        return false;
    pool->records[room] = *head;
    put(head, now, room);
    return true;
}

/* A read where only reads are recorded, by somebody who has a record there: there is nothing to
 * compare, and nothing to move. */
static bool join_readers(const struct toucher *by, struct touch *head, struct touch_pool *pool,
                         const struct touch *now)
{
    struct touch *own = NULL;
    for (struct touch *at = head;; at = &pool->records[at->next]) {
        if (at->how & TOUCH_WRITE)
            return false;
        if (touch_may_share(by, at, now))
            own = at;
        if (!at->next)
            break;
    }
    if (!own)
        return false;
    own->lanes |= now->lanes;
    own->warps |= now->warps;
    return true;
}

/* One lane of a record with gaps; no bytes: others have replaced them. */
static struct touch lane_of(const struct touch *record, int lane)
{
    struct touch one = *record;
    int stride = 1 << (touch_shift(record) & ~APART);
    one.bytes &= (uint16_t)(((1u << stride) - 1) << (lane - record->base) * stride);
    one.lanes = 1u << lane;
    one.base = 0;
    one.how = (uint8_t)((record->how & 15) | ALL_OF_THEM << 4);
    return one;
}

/* A record with gaps becomes one for each lane, the last lane's first, as if they had come one by
 * one. index: in the pool; 0: the head. false: no memory. */
static bool take_apart(struct touch *head, struct touch_pool *pool, uint32_t index)
{
    const struct touch whole = index ? pool->records[index] : *head;
    uint32_t lanes = whole.lanes;
    while (lane_of(&whole, 31 - __builtin_clz(lanes)).bytes == 0)
        lanes &= ~(1u << (31 - __builtin_clz(lanes)));
    int last = 31 - __builtin_clz(lanes);
    *(index ? &pool->records[index] : head) = lane_of(&whole, last);
    for (lanes &= ~(1u << last); lanes; lanes &= lanes - 1) {
        struct touch one = lane_of(&whole, __builtin_ctz(lanes));
        uint32_t fresh = one.bytes ? pool_take(pool) : 0;
        if (!one.bytes)
            continue;
        if (!fresh)
            return false;
        struct touch *before = index ? &pool->records[index] : head;
        one.next = before->next;
        before->next = fresh;
        pool->records[fresh] = one;
    }
    return true;
}

static bool is_like(const struct touch *a, const struct touch *b)
{
    return a->lanes == b->lanes && a->base == b->base && touch_shift(a) == touch_shift(b);
}

/* Lanes with gaps are as one only beside others, or among their like. */
static bool must_part(const struct touch *old, const struct touch *now)
{
    return touch_is_apart(old) && old->bytes & now->bytes &&
           !(is_like(old, now) && old->bytes == now->bytes);
}

static bool part(struct touch *head, struct touch_pool *pool, const struct touch *now)
{
    if (must_part(head, now) && !take_apart(head, pool, 0))
        return false;
    for (uint32_t index = head->next; index; index = pool->records[index].next)
        if (must_part(&pool->records[index], now) && !take_apart(head, pool, index))
            return false;
    return true;
}

static inline struct touch touch_of(const struct toucher *by, uint32_t lanes, uint64_t tag)
{
    struct touch now;
    now.halves[0] = by->first;
    now.halves[0][1] |= (uint64_t)lanes << 32;
    now.halves[1] = (touch_half){by->warps, tag};
    return now;
}

bool touch_list(const struct toucher *by, struct touch *head, struct touch_pool *pool,
                uint32_t lanes, uint64_t tag, uint64_t address, bool compares)
{
    struct touch now = touch_of(by, lanes, tag);
    int n = 1;
    if (!part(head, pool, &now))
        return false;
    if (touch_is_same(head, &now)) { /* at another time */
        put(head, &now, head->next);
        return true;
    }
    if (head->next == 0 && touch_may_share(by, head, &now)) {
        head->lanes |= lanes;
        head->warps |= by->warps;
        return true;
    }
    if (!(now.how & TOUCH_WRITE) && join_readers(by, head, pool, &now))
        return true;
    if (compares && conflict(head, &now) && head->bytes & now.bytes && !is_settled(by, head))
        compare(by, head, &now, address);
    if (!survives(by, head, &now))
        head->bytes = 0;
    for (uint32_t *link = &head->next; *link;) {
        uint32_t index = *link;
        struct touch *old = &pool->records[index];
        if (compares && conflict(old, &now) && old->bytes & now.bytes && !is_settled(by, old))
            compare(by, old, &now, address);
        if (touch_is_stale(by, old) || !survives(by, old, &now)) {
            *link = old->next;
            pool_give(pool, index);
            continue;
        }
        link = &old->next;
        n++;
    }
    return push(by, head, pool, &now, n);
}

/* Nothing would be said of a record that has some of the bytes. */
static bool is_quiet(const struct toucher *by, const struct touch *old, const struct touch *now)
{
    if (must_part(old, now) || must_part(now, old))
        return false;
    return !conflict(old, now) || is_settled(by, old) ||
           (old->cta == now->cta && old->warps == now->warps && is_like(old, now));
}

bool touch_quietly(const struct toucher *by, struct touch *head, struct touch_pool *pool,
                   uint32_t lanes, uint64_t tag)
{
    const struct touch now = touch_of(by, lanes, tag);
    int n = 0;
    bool alone = by->across_ctas; /* elsewhere some may be stale */
    for (const struct touch *old = head;; old = &pool->records[old->next]) {
        n++;
        if (old->bytes & now.bytes) {
            alone = false;
            if (!is_quiet(by, old, &now))
                return false;
        }
        if (!old->next)
            break;
    }
    if (!(alone ? push(by, head, pool, &now, n) : touch_list(by, head, pool, lanes, tag, 0, false)))
        by->order->no_memory = true;
    return true;
}

/* ---- lines ---------------------------------------------------------------------------------- */

/* A record of granule `at` as the line's says it. */
static void shift_lanes(struct touch *record, int at)
{
    bool each = touch_shift(record) == ALL_OF_THEM; /* a lane has a granule to itself */
    int by = at * (each ? 1 : GRANULE >> touch_shift(record));
    record->lanes <<= by;
    if (!each)
        record->base = (int8_t)(record->base + by);
}

/* A copy of the line's list for granule `at`. */
static bool copy_list(const struct touch *line, struct touch *head, struct touch_pool *pool, int at)
{
    uint32_t from = line->next, index;
    *head = *line;
    head->next = 0;
    shift_lanes(head, at);
    for (uint32_t last = 0; from; from = pool->records[from].next, last = index) {
        index = pool_take(pool);
        if (!index)
            return false;
        pool->records[index] = pool->records[from];
        pool->records[index].next = 0;
        shift_lanes(&pool->records[index], at);
        *(last ? &pool->records[last].next : &head->next) = index;
    }
    return true;
}

bool line_fall(const struct toucher *by, struct touch *line, struct touch *heads,
               struct touch_pool *pool)
{
    if (line->launch == by->launch) {
        for (int at = 1; at < LINE_GRANULES; at++)
            if (!copy_list(line, &heads[at], pool, at))
                return false;
        heads[0] = *line;
    }
    line->halves[0] = by->first;
    line->halves[1] = (touch_half){0, 0};
    return true;
}
