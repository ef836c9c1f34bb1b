/* A CTA: its warps in turn, its barriers. See execute.h. */
#include "tools/softcuda/execute.h"

#include <string.h>
#include "host/base/memory.h"
#include "tools/softcuda/async.h"
#include "tools/softcuda/check.h"
#include "tools/softcuda/faults.h"
#include "tools/softcuda/mix.h"

/* ---- making one ----------------------------------------------------------------------------- */

static uint32_t special_value(const struct cta *cta, const struct warp *warp, enum special special,
                              int lane)
{
    const struct launch *launch = cta->launch;
    uint32_t thread = (uint32_t)(warp->index * WARP_LANES + lane);
    uint32_t bit = 1u << lane;
    switch (special) {
    case SPECIAL_TID_X:
        return thread % launch->block[0];
    case SPECIAL_TID_Y:
        return thread / launch->block[0] % launch->block[1];
    case SPECIAL_TID_Z:
        return thread / launch->block[0] / launch->block[1];
    case SPECIAL_NTID_X:
    case SPECIAL_NTID_Y:
    case SPECIAL_NTID_Z:
        return launch->block[special - SPECIAL_NTID_X];
    case SPECIAL_CTAID_X:
        return cta->x;
    case SPECIAL_CTAID_Y:
        return cta->y;
    case SPECIAL_CTAID_Z:
        return cta->z;
    case SPECIAL_NCTAID_X:
    case SPECIAL_NCTAID_Y:
    case SPECIAL_NCTAID_Z:
        return launch->grid[special - SPECIAL_NCTAID_X];
    case SPECIAL_LANEID:
        return (uint32_t)lane;
    case SPECIAL_WARPID:
        return (uint32_t)warp->index;
    case SPECIAL_NWARPID:
        return (uint32_t)cta->n_warps;
    case SPECIAL_SMID:
        return (uint32_t)cta->sm;
    case SPECIAL_NSMID:
        return (uint32_t)launch->n_sms;
    case SPECIAL_LANEMASK_EQ:
        return bit;
    case SPECIAL_LANEMASK_LE:
        return bit | (bit - 1);
    case SPECIAL_LANEMASK_LT:
        return bit - 1;
    case SPECIAL_LANEMASK_GE:
        return ~(bit - 1);
    case SPECIAL_LANEMASK_GT:
        return ~(bit | (bit - 1));
    case SPECIAL_DYNAMIC_SMEM_SIZE:
        return (uint32_t)launch->dynamic_shared;
    case SPECIAL_TOTAL_SMEM_SIZE:
        return (uint32_t)cta->shared_bytes;
    case SPECIAL_ENVREG1:
        return (uint32_t)(launch->grid_barrier >> 32);
    case SPECIAL_ENVREG2:
        return (uint32_t)launch->grid_barrier;
    case SPECIALS:
        break;
    }
    return 0;
}

/* What no instruction has written: a pattern that shows. */
#define UNWRITTEN 0xDEADBEEFu

static void fill_registers(struct warp *warp)
{
    const struct program *program = warp->cta->launch->program;
    uint32_t *words = (uint32_t *)(void *)warp->registers;
    for (size_t i = 0; i < program->register_bytes / 4; i += WARP_LANES)
        for (int lane = 0; lane < WARP_LANES; lane++)
            words[i + (size_t)lane] = UNWRITTEN;
    for (int i = 0; i < program->n_predicates; i++)
        warp->predicates[i] = 0x5A5A5A5Au;
    for (int i = 0; i < program->n_fills; i++) {
        const struct fill *fill = &program->fills[i];
        uint32_t *narrow = (uint32_t *)(void *)(warp->registers + fill->place);
        uint64_t *wide = (uint64_t *)(void *)(warp->registers + fill->place);
        for (int lane = 0; lane < WARP_LANES; lane++) {
            uint64_t value = fill->value;
            if (fill->kind == FILL_SPECIAL)
                value = special_value(warp->cta, warp, (enum special)fill->value, lane);
            if (fill->wide)
                wide[lane] = value;
            else
                narrow[lane] = (uint32_t)value;
        }
    }
}

static bool open_warp(struct cta *cta, int index)
{
    const struct program *program = cta->launch->program;
    struct warp *warp = &cta->warps[index];
    int n = cta->n_threads - index * WARP_LANES;
    n = n < WARP_LANES ? n : WARP_LANES;
    *warp = (struct warp){.cta = cta, .index = index, .n_fragments = 1};
    warp->lanes = warp->live = n == WARP_LANES ? ALL_LANES : (1u << n) - 1;
    warp->fragments[0] = (struct fragment){.lanes = warp->lanes};
    warp->registers = mem_alloc(program->register_bytes, 1);
    warp->predicates = mem_alloc((size_t)program->n_predicates + 1, sizeof *warp->predicates);
    if (program->local_bytes > 0)
        warp->local = mem_alloc_zero(WARP_LANES, (size_t)program->local_bytes);
    if (!warp->registers || !warp->predicates || (program->local_bytes > 0 && !warp->local))
        return false;
    fill_registers(warp);
    return true;
}

struct cta *cta_create(struct launch *launch, int64_t number)
{
    struct cta *cta = mem_alloc_zero(1, sizeof *cta);
    if (!cta)
        return NULL;
    cta->launch = launch;
    cta->number = number;
    cta->x = (uint32_t)(number % launch->grid[0]);
    cta->y = (uint32_t)(number / launch->grid[0] % launch->grid[1]);
    cta->z = (uint32_t)(number / launch->grid[0] / launch->grid[1]);
    cta->n_threads = (int)(launch->block[0] * launch->block[1] * launch->block[2]);
    cta->n_live = cta->n_threads;
    cta->n_warps = (cta->n_threads + WARP_LANES - 1) / WARP_LANES;
    cta->shared_bytes = (size_t)launch->program->shared_bytes + launch->dynamic_shared;
    cta->shared = mem_alloc(cta->shared_bytes, 1);
    cta->warps = mem_alloc_zero((size_t)cta->n_warps, sizeof *cta->warps);
    bool good = cta->shared && cta->warps;
    for (int i = 0; good && i < cta->n_warps; i++)
        good = open_warp(cta, i);
    if (good)
        memset(cta->shared, 0x5A, cta->shared_bytes);
    if (good)
        good = check_open_cta(cta);
    if (!good) {
        cta_destroy(cta);
        return NULL;
    }
    return cta;
}

void cta_destroy(struct cta *cta)
{
    check_close_cta(cta);
    for (int i = 0; cta->warps && i < cta->n_warps; i++) {
        mem_free(cta->warps[i].registers);
        mem_free(cta->warps[i].predicates);
        mem_free(cta->warps[i].local);
        async_close(&cta->warps[i]);
    }
    mem_free(cta->warps);
    mem_free(cta->shared);
    mem_free(cta);
}

/* ---- barriers ------------------------------------------------------------------------------- */

/* Everybody has come: all who wait go on. */
static void release(struct cta *cta, int number)
{
    struct barrier *barrier = &cta->barriers[number];
    if (barrier->whole && cta->n_live < cta->n_threads)
        fault_missing(cta, number);
    barrier->reduced_true = barrier->n_true;
    barrier->reduced_false = barrier->n_false;
    barrier->arrived = barrier->expected = barrier->n_true = barrier->n_false = 0;
    check_barrier(cta, number);
    for (int i = 0; i < cta->n_warps; i++)
        for (int j = 0; j < cta->warps[i].n_fragments; j++) {
            struct fragment *fragment = &cta->warps[i].fragments[j];
            if (fragment->state != FRAGMENT_BARRIER || fragment->barrier != number)
                continue;
            /* bar.red is run once more, for its result. */
            fragment->state = fragment->reduces ? FRAGMENT_REDUCED : FRAGMENT_READY;
            fragment->at += !fragment->reduces;
        }
}

static bool is_complete(const struct cta *cta, const struct barrier *barrier)
{
    int expected = barrier->whole ? cta->n_live : barrier->expected;
    return barrier->arrived > 0 && barrier->arrived >= expected;
}

enum next cta_barrier(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                      int number, int expected, bool arrive_only)
{
    struct cta *cta = warp->cta;
    struct barrier *barrier = &cta->barriers[number];
    struct fragment *fragment = &warp->fragments[warp->current];
    bool whole = expected == 0;
    if (barrier->arrived > 0 &&
        (barrier->whole != whole || (!whole && barrier->expected != expected)))
        return fault_barrier_count(warp, instruction, lanes, number, expected);
    barrier->whole = whole;
    barrier->expected = expected;
    /* With a count an aligned barrier counts whole warps, as the manual has it. */
    barrier->arrived += whole || !instruction->aux2 ? __builtin_popcount(lanes) : WARP_LANES;
    check_arrive(warp, lanes, number);
    if (!arrive_only) {
        /* The handler's fragment may have lanes that the guard held back: they go on alone. */
        if (lanes != fragment->lanes) {
            warp->fragments[warp->n_fragments++] =
                (struct fragment){.at = fragment->at + 1,
                                  .lanes = fragment->lanes & ~lanes,
                                  .ran_at = warp_age(warp)};
            fragment->lanes = lanes;
        }
        fragment->state = FRAGMENT_BARRIER;
        fragment->barrier = number;
    }
    if (is_complete(cta, barrier))
        release(cta, number);
    return arrive_only ? NEXT_GO : NEXT_WAIT;
}

bool cta_reduce(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                int number, int expected, uint32_t yes)
{
    struct fragment *fragment = &warp->fragments[warp->current];
    if (fragment->reduces && fragment->state == FRAGMENT_REDUCED) {
        fragment->reduces = false;
        fragment->state = FRAGMENT_READY;
        return true;
    }
    fragment->reduces = true;
    warp->cta->barriers[number].n_true += __builtin_popcount(yes);
    warp->cta->barriers[number].n_false += __builtin_popcount(lanes & ~yes);
    return cta_barrier(warp, instruction, lanes, number, expected, false) != NEXT_WAIT;
}

void cta_threads_left(struct cta *cta)
{
    for (int i = 0; i < BARRIERS; i++)
        if (cta->barriers[i].whole && is_complete(cta, &cta->barriers[i]))
            release(cta, i);
}

/* ---- running -------------------------------------------------------------------------------- */

/* A slice of a warp: long in fixed order, so that its registers stay in the cache; short when
 * shuffled, so that warps interleave in many ways. The length changes from turn to turn: a warp
 * that takes a lock and gives it back in a loop must not hold it at each turn's end. */
#define FIXED_SLICE 4096

static int slice_of(struct cta *cta, uint64_t random, int64_t left)
{
    if (cta->launch->settings->shuffled)
        return 1 + (int)(random >> 32 & 63);
    int most = left < FIXED_SLICE ? (int)left : FIXED_SLICE;
    return most + (int)(cta->n_turns++ * 37 % 64);
}

static enum cta_state run_slice(struct cta *cta, int64_t slice)
{
    const struct machine_settings *settings = cta->launch->settings;
    int waiting = 0; /* warps in a row that could not run */
    while (slice > 0) {
        if (cta->n_live == 0)
            return CTA_DONE;
        if (atomic_load_explicit(&cta->launch->stopped, memory_order_relaxed))
            return CTA_STOPPED;
        uint64_t random = settings->shuffled ? next_random(&cta->random) : 0;
        int turn = settings->shuffled && waiting == 0 ? (int)(random % (uint64_t)cta->n_warps)
                                                      : (cta->turn + 1) % cta->n_warps;
        cta->turn = turn;
        struct warp *warp = &cta->warps[turn];
        int ran = 0;
        enum warp_state state =
            warp->live == 0 ? WARP_DONE : warp_run(warp, slice_of(cta, random, slice), &ran);
        slice -= ran + 1;
        if (state == WARP_STOPPED)
            return CTA_STOPPED;
        waiting = ran > 0 ? 0 : waiting + 1;
        if (waiting > cta->n_warps && cta->n_live > 0)
            return fault_deadlock(cta);
    }
    return CTA_READY;
}

enum cta_state cta_run(struct cta *cta, int64_t slice)
{
    uint64_t polls = cta->n_polls;
    enum cta_state state = run_slice(cta, slice);
    cta->only_polls = cta->n_polls > polls && cta->n_changes == 0;
    if (cta->n_changes > 0)
        atomic_fetch_add(&cta->launch->n_changes, 1);
    if (cta->swapped != 0)
        atomic_fetch_add(&cta->launch->swapped, cta->swapped);
    if (cta->n_swaps > 0)
        atomic_fetch_add(&cta->launch->n_swaps, cta->n_swaps);
    cta->n_changes = cta->swapped = cta->n_swaps = 0;
    return state;
}

/* Registers and places of all threads, mixed: the same again means that they go in circles, unless
 * memory has changed meanwhile. */
uint64_t cta_state(const struct cta *cta)
{
    uint64_t hash = 0xCBF29CE484222325u;
    const struct program *program = cta->launch->program;
    for (int w = 0; w < cta->n_warps; w++) {
        const struct warp *warp = &cta->warps[w];
        const uint64_t *words = (const uint64_t *)(const void *)warp->registers;
        for (size_t i = 0; i < program->register_bytes / 8; i++)
            hash = (hash ^ words[i] ^ hash >> 29) * 0x9E3779B97F4A7C15u;
        for (int i = 0; i < program->n_predicates; i++)
            hash = (hash ^ warp->predicates[i] ^ hash >> 29) * 0x9E3779B97F4A7C15u;
        for (int i = 0; i < warp->n_fragments; i++)
            hash = (hash ^ (uint64_t)warp->fragments[i].at << 32 ^ warp->fragments[i].lanes) *
                   0x9E3779B97F4A7C15u;
    }
    return hash;
}
