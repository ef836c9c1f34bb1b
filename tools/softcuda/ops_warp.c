/* What lanes of a warp do together: shuffles, votes, matches, reductions; and barriers. */
#include "tools/softcuda/check.h"
#include "tools/softcuda/execute.h"
#include "tools/softcuda/faults.h"
#include "tools/softcuda/ops.h"

/* ---- shuffles ------------------------------------------------------------------------------- */

/* shfl.sync.MODE d|p, a, b, c, mask. c: the clamp in bits 0 to 4, the mask of segments in 8 to 12.
 * A lane outside its segment's bounds keeps its own value and gets p false. */
enum shuffle {
    SHUFFLE_UP,
    SHUFFLE_DOWN,
    SHUFFLE_BUTTERFLY,
    SHUFFLE_INDEX,
};

static inline int shuffle_source(enum shuffle mode, int lane, uint32_t b, uint32_t c, bool *valid)
{
    int value = (int)(b & 31), clamp = (int)(c & 31), segment = (int)(c >> 8 & 31);
    int most = (lane & segment) | (clamp & ~segment), least = lane & segment, from;
    switch (mode) {
    case SHUFFLE_UP:
        from = lane - value;
        *valid = from >= most;
        break;
    case SHUFFLE_DOWN:
        from = lane + value;
        *valid = from <= most;
        break;
    case SHUFFLE_BUTTERFLY:
        from = lane ^ value;
        *valid = from <= most;
        break;
    default:
        from = least | (value & ~segment);
        *valid = from <= most;
        break;
    }
    return *valid ? from : lane;
}

static enum next shuffle(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                         enum shuffle mode)
{
    enum next next;
    if (!warp_gather(warp, instruction, &lanes, SOURCE(warp, instruction, 3), &next))
        return next;
    const uint32_t *bs = SOURCE(warp, instruction, 1), *cs = SOURCE(warp, instruction, 2);
    uint32_t from[WARP_LANES], valid_lanes = 0;
    memcpy(from, SOURCE(warp, instruction, 0), sizeof from);
    for (uint32_t left = lanes; left; left &= left - 1) {
        int l = __builtin_ctz(left);
        bool valid;
        int source = shuffle_source(mode, l, bs[l], cs[l], &valid);
        valid_lanes |= (uint32_t)valid << l;
        if (!(lanes >> source & 1) && !fault_inactive_source(warp, instruction, l, source))
            return NEXT_STOP;
        if (instruction->destinations[0] >= 0)
            ((uint32_t *)DESTINATION(warp, instruction, 0))[l] = from[source];
    }
    set_predicate(warp, instruction->destinations[1], lanes, valid_lanes);
    return NEXT_GO;
}
#define SHUFFLE(name, mode)                                                                        \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        return shuffle(warp, instruction, lanes, mode);                                            \
    }
SHUFFLE(shfl_up, SHUFFLE_UP)
SHUFFLE(shfl_down, SHUFFLE_DOWN)
SHUFFLE(shfl_bfly, SHUFFLE_BUTTERFLY)
SHUFFLE(shfl_idx, SHUFFLE_INDEX)

/* ---- votes and matches ---------------------------------------------------------------------- */

#define VOTE(name, result)                                                                         \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        enum next next;                                                                            \
        if (!warp_gather(warp, instruction, &lanes, SOURCE(warp, instruction, 1), &next))          \
            return next;                                                                           \
        uint32_t yes = predicate_source(warp, instruction, 0) & lanes;                             \
        set_predicate(warp, instruction->destinations[0], lanes, (result) ? ALL_LANES : 0);        \
        return NEXT_GO;                                                                            \
    }
VOTE(vote_all, yes == lanes)
VOTE(vote_any, yes != 0)
VOTE(vote_uni, yes == 0 || yes == lanes)

static void put_all(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                    uint32_t value)
{
    if (instruction->destinations[0] < 0)
        return;
    uint32_t *d = DESTINATION(warp, instruction, 0);
    for (uint32_t left = lanes; left; left &= left - 1)
        d[__builtin_ctz(left)] = value;
}

static enum next vote_ballot(struct warp *warp, const struct instruction *instruction,
                             uint32_t lanes)
{
    enum next next;
    if (!warp_gather(warp, instruction, &lanes, SOURCE(warp, instruction, 1), &next))
        return next;
    put_all(warp, instruction, lanes, predicate_source(warp, instruction, 0) & lanes);
    return NEXT_GO;
}

static enum next activemask(struct warp *warp, const struct instruction *instruction,
                            uint32_t lanes)
{
    put_all(warp, instruction, lanes, lanes);
    return NEXT_GO;
}

static uint64_t match_value(const struct warp *warp, const struct instruction *instruction,
                            int lane)
{
    if (instruction->type == PTX_B64)
        return ((const uint64_t *)SOURCE(warp, instruction, 0))[lane];
    return ((const uint32_t *)SOURCE(warp, instruction, 0))[lane];
}

/* Each lane: those that hold the same value. */
static enum next match_any(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    enum next next;
    uint32_t same[WARP_LANES] = {0};
    if (!warp_gather(warp, instruction, &lanes, SOURCE(warp, instruction, 1), &next))
        return next;
    for (uint32_t left = lanes; left; left &= left - 1)
        for (uint32_t other = lanes; other; other &= other - 1) {
            int l = __builtin_ctz(left), m = __builtin_ctz(other);
            bool equal = match_value(warp, instruction, l) == match_value(warp, instruction, m);
            same[l] |= (uint32_t)equal << m;
        }
    for (uint32_t left = lanes; left && instruction->destinations[0] >= 0; left &= left - 1)
        ((uint32_t *)DESTINATION(warp, instruction, 0))[__builtin_ctz(left)] =
            same[__builtin_ctz(left)];
    return NEXT_GO;
}

/* All of them or 0, and whether. */
static enum next match_all(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    enum next next;
    if (!warp_gather(warp, instruction, &lanes, SOURCE(warp, instruction, 1), &next))
        return next;
    uint64_t first = match_value(warp, instruction, __builtin_ctz(lanes));
    bool equal = true;
    for (uint32_t left = lanes; left; left &= left - 1)
        equal &= match_value(warp, instruction, __builtin_ctz(left)) == first;
    put_all(warp, instruction, lanes, equal ? lanes : 0);
    set_predicate(warp, instruction->destinations[1], lanes, equal ? ALL_LANES : 0);
    return NEXT_GO;
}

/* ---- reductions ----------------------------------------------------------------------------- */

#define REDUX(name, T, start, expression)                                                          \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        enum next next;                                                                            \
        if (!warp_gather(warp, instruction, &lanes, SOURCE(warp, instruction, 1), &next))          \
            return next;                                                                           \
        const T *xs = SOURCE(warp, instruction, 0);                                                \
        T y = (T)(start);                                                                          \
        for (uint32_t left = lanes; left; left &= left - 1) {                                      \
            T x = xs[__builtin_ctz(left)];                                                         \
            y = (T)(expression);                                                                   \
        }                                                                                          \
        put_all(warp, instruction, lanes, (uint32_t)y);                                            \
        return NEXT_GO;                                                                            \
    }
REDUX(redux_add, uint32_t, 0, x + y)
REDUX(redux_min_u32, uint32_t, UINT32_MAX, x < y ? x : y)
REDUX(redux_max_u32, uint32_t, 0, x > y ? x : y)
REDUX(redux_min_s32, int32_t, INT32_MAX, x < y ? x : y)
REDUX(redux_max_s32, int32_t, INT32_MIN, x > y ? x : y)
REDUX(redux_and, uint32_t, UINT32_MAX, x &y)
REDUX(redux_or, uint32_t, 0, x | y)
REDUX(redux_xor, uint32_t, 0, x ^ y)

/* ---- barriers ------------------------------------------------------------------------------- */

/* bar.warp.sync mask: also orders the memory accesses of its lanes. */
static enum next warp_sync(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    enum next next;
    const uint32_t *masks = SOURCE(warp, instruction, 0);
    if (!warp_gather(warp, instruction, &lanes, masks, &next))
        return next;
    check_warp_sync(warp, lanes);
    return NEXT_GO;
}

static bool barrier_operands(struct warp *warp, const struct instruction *instruction,
                             uint32_t lanes, int first, int n, int *number, int *threads)
{
    int lane = __builtin_ctz(lanes);
    uint32_t values[2] = {0, 0};
    for (int i = 0; i < n; i++)
        values[i] = ((const uint32_t *)SOURCE(warp, instruction, first + i))[lane];
    *number = (int)values[0];
    *threads = (int)values[1];
    return values[0] < BARRIERS &&
           (n < 2 || (values[1] > 0 && values[1] % WARP_LANES == 0 &&
                      values[1] <= (uint32_t)(warp->cta->n_warps * WARP_LANES)));
}

static enum next barrier(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                         bool arrive_only)
{
    int number, threads;
    enum next next;
    if (instruction->aux2 && !warp_gather_all(warp, instruction, lanes, &next))
        return next;
    if (!barrier_operands(warp, instruction, lanes, 0, instruction->n_sources, &number, &threads))
        return fault_barrier_count(warp, instruction, lanes, number, threads);
    return cta_barrier(warp, instruction, lanes, number, threads, arrive_only);
}

static enum next bar_sync(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    return barrier(warp, instruction, lanes, false);
}

static enum next bar_arrive(struct warp *warp, const struct instruction *instruction,
                            uint32_t lanes)
{
    return barrier(warp, instruction, lanes, true);
}

/* bar.red: a barrier that also counts predicates. The lanes come here twice: they arrive and wait,
 * and when the barrier has let them go they read what came together. */
#define BAR_RED(name, put)                                                                         \
    static enum next name(struct warp *warp, const struct instruction *instruction,                \
                          uint32_t lanes)                                                          \
    {                                                                                              \
        int number, threads;                                                                       \
        enum next next;                                                                            \
        int n = instruction->n_sources;                                                            \
        if (!warp_gather_all(warp, instruction, lanes, &next))                                     \
            return next;                                                                           \
        if (!barrier_operands(warp, instruction, lanes, 0, n - 1, &number, &threads))              \
            return fault_barrier_count(warp, instruction, lanes, number, threads);                 \
        uint32_t yes = predicate_source(warp, instruction, n - 1) & lanes;                         \
        struct barrier *at = &warp->cta->barriers[number];                                         \
        if (!cta_reduce(warp, instruction, lanes, number, threads, yes))                           \
            return NEXT_WAIT;                                                                      \
        put;                                                                                       \
        return NEXT_GO;                                                                            \
    }
BAR_RED(bar_red_popc, put_all(warp, instruction, lanes, (uint32_t)at->reduced_true))
BAR_RED(bar_red_and, set_predicate(warp, instruction->destinations[0], lanes,
                                   at->reduced_false == 0 ? ALL_LANES : 0))
BAR_RED(bar_red_or, set_predicate(warp, instruction->destinations[0], lanes,
                                  at->reduced_true > 0 ? ALL_LANES : 0))

static enum next fence(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    check_fence(warp, lanes, instruction->aux != 0);
    __sync_synchronize(); /* other workers run on other processors */
    return NEXT_GO;
}

#define FORM(opcode, operands, run)                                                                \
    {                                                                                              \
        opcode, operands, CLASS_WARP, run                                                          \
    }
#define CONTROL(opcode, operands, run)                                                             \
    {                                                                                              \
        opcode, operands, CLASS_CONTROL, run                                                       \
    }

const struct form OPS_EXPORT(forms_warp)[] = {
    FORM("shfl.sync.up.b32", "Dwp=wwww", shfl_up),
    FORM("shfl.sync.down.b32", "Dwp=wwww", shfl_down),
    FORM("shfl.sync.bfly.b32", "Dwp=wwww", shfl_bfly),
    FORM("shfl.sync.idx.b32", "Dwp=wwww", shfl_idx),
    FORM("vote.sync.all.pred", "p=pw", vote_all),
    FORM("vote.sync.any.pred", "p=pw", vote_any),
    FORM("vote.sync.uni.pred", "p=pw", vote_uni),
    FORM("vote.sync.ballot.b32", "w=pw", vote_ballot),
    FORM("activemask.b32", "w=", activemask),
    FORM("match.any.sync.b32", "w=ww", match_any),
    FORM("match.any.sync.b64", "w=dw", match_any),
    FORM("match.all.sync.b32", "Dwp=ww", match_all),
    FORM("match.all.sync.b64", "Dwp=dw", match_all),
    FORM("redux.sync.add.u32", "w=ww", redux_add),
    FORM("redux.sync.add.s32", "w=ww", redux_add),
    FORM("redux.sync.min.u32", "w=ww", redux_min_u32),
    FORM("redux.sync.min.s32", "w=ww", redux_min_s32),
    FORM("redux.sync.max.u32", "w=ww", redux_max_u32),
    FORM("redux.sync.max.s32", "w=ww", redux_max_s32),
    FORM("redux.sync.and.b32", "w=ww", redux_and),
    FORM("redux.sync.or.b32", "w=ww", redux_or),
    FORM("redux.sync.xor.b32", "w=ww", redux_xor),
    CONTROL("bar.warp.sync", "w", warp_sync),
    CONTROL("bar.sync", "w?w", bar_sync),
    CONTROL("bar.arrive", "ww", bar_arrive),
    CONTROL("bar.red.popc.u32", "w=wp", bar_red_popc),
    CONTROL("bar.red.popc.u32", "w=wwp", bar_red_popc),
    CONTROL("bar.red.and.pred", "p=wp", bar_red_and),
    CONTROL("bar.red.and.pred", "p=wwp", bar_red_and),
    CONTROL("bar.red.or.pred", "p=wp", bar_red_or),
    CONTROL("bar.red.or.pred", "p=wwp", bar_red_or),
    CONTROL("membar", "", fence),
    {0},
};
