/* Branches, exits, traps, and the calls that nvcc leaves: printf and assert. */
#include "tools/softcuda/count.h"
#include "tools/softcuda/execute.h"
#include "tools/softcuda/faults.h"
#include "tools/softcuda/machine.h"
#include "tools/softcuda/ops.h"
#include "tools/softcuda/print.h"

static enum next bra(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    (void)warp, (void)instruction, (void)lanes;
    return NEXT_BRANCH;
}

/* Lanes to instruction `at`: as the fragment itself while it has none, else as a new one. */
static void put_lanes(struct warp *warp, struct fragment *fragment, int32_t at, uint32_t lanes)
{
    struct fragment *to = fragment->lanes == 0 ? fragment : &warp->fragments[warp->n_fragments++];
    *to = (struct fragment){.at = at, .lanes = lanes, .ran_at = warp_age(warp)};
}

/* brx.idx: lanes with one target stay together. The first ones are the fragment that ran. */
static enum next branch_by_index(struct warp *warp, const struct instruction *instruction,
                                 uint32_t lanes)
{
    struct fragment *fragment = &warp->fragments[warp->current];
    const uint32_t *indexes = SOURCE(warp, instruction, 0);
    uint32_t held_back = fragment->lanes & ~lanes;
    int32_t behind = fragment->at + 1;
    for (uint32_t left = lanes; left; left &= left - 1) {
        int lane = __builtin_ctz(left);
        if (indexes[lane] >= (uint32_t)instruction->n_targets)
            return fault_branch(warp, instruction, lane, indexes[lane]);
    }
    fragment->lanes = 0;
    int n_ways = 0;
    for (uint32_t left = lanes; left; n_ways++) {
        int32_t target = instruction->targets[indexes[__builtin_ctz(left)]];
        uint32_t same = 0;
        for (uint32_t l = left; l; l &= l - 1)
            if (instruction->targets[indexes[__builtin_ctz(l)]] == target)
                same |= l & -l;
        put_lanes(warp, fragment, target, same);
        left &= ~same;
    }
    if (held_back)
        put_lanes(warp, fragment, behind, held_back);
    else if (n_ways > 1 && warp->cta->counters)
        count_split(warp->cta->counters, instruction);
    return NEXT_WAIT;
}

static enum next leave(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    (void)warp, (void)instruction, (void)lanes;
    return NEXT_EXIT;
}

static enum next trap(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    return fault_trap(warp, instruction, lanes);
}

/* A pause: others run first. */
static enum next nanosleep_op(struct warp *warp, const struct instruction *instruction,
                              uint32_t lanes)
{
    (void)warp, (void)instruction, (void)lanes;
    return NEXT_YIELD;
}

/* The clock counts the warp's instructions: it goes on, and is the same in each run. */
static enum next clock_32(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    OPS_BODY_(uint32_t, (void)0, (uint32_t)warp->n_run)
}
static enum next clock_hi(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    OPS_BODY_(uint32_t, (void)0, (uint32_t)(warp->n_run >> 32))
}
static enum next clock_64(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    OPS_BODY_(uint64_t, (void)0, warp->n_run)
}

static enum next vprintf_op(struct warp *warp, const struct instruction *instruction,
                            uint32_t lanes)
{
    return print_lanes(warp, instruction, lanes);
}

static enum next assert_op(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    return print_assertion(warp, instruction, lanes);
}

static enum next nothing(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    (void)warp, (void)instruction, (void)lanes;
    return NEXT_GO;
}

#define FORM(opcode, operands, run)                                                                \
    {                                                                                              \
        opcode, operands, CLASS_CONTROL, run                                                       \
    }

const struct form OPS_EXPORT(forms_control)[] = {
    FORM("bra", "", bra),
    FORM("brx.idx", "w", branch_by_index),
    FORM("exit", "", leave),
    FORM("trap", "", trap),
    FORM("brkpt", "", trap),
    FORM("nanosleep.u32", "w", nanosleep_op),
    FORM("pmevent", "i", nothing),
    FORM("clock.u32", "w=", clock_32),
    FORM("clock_hi.u32", "w=", clock_hi),
    FORM("clock64.u64", "d=", clock_64),
    FORM("globaltimer.u64", "d=", clock_64),
    FORM("globaltimer_lo.u32", "w=", clock_32),
    FORM("globaltimer_hi.u32", "w=", clock_hi),
    FORM("call.vprintf", "", vprintf_op),
    FORM("call.__assertfail", "", assert_op),
    {0},
};
