/* Branches, exits, traps, and the calls that nvcc leaves: printf and assert. */
#include "tools/softcuda/faults.h"
#include "tools/softcuda/machine.h"
#include "tools/softcuda/ops.h"
#include "tools/softcuda/print.h"

static enum next bra(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    (void)warp, (void)instruction, (void)lanes;
    return NEXT_BRANCH;
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
