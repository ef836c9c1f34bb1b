/* What tells the caches how memory will be used: prefetch, applypriority, discard, createpolicy.
 * None changes a result, and the model of the caches (cache.h) does not look at them. */
#include "tools/softcuda/access.h"
#include "tools/softcuda/ops.h"

/* Behind the end of an array too: a prefetch of what is not there is no error. */
static enum next prefetch(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    (void)warp, (void)instruction, (void)lanes;
    return NEXT_GO;
}

/* applypriority and discard name `aux` bytes, 128, that must be there. */
static enum next whole_line(struct warp *warp, const struct instruction *instruction,
                            uint32_t lanes)
{
    struct access access;
    while (lanes) {
        if (!access_resolve(warp, instruction, lanes, 0, instruction->offset,
                            (enum ptx_space)instruction->space, ACCESS_HINT, instruction->aux,
                            &access))
            return NEXT_STOP;
        lanes &= ~access.lanes;
    }
    return NEXT_GO;
}

/* The bits of a policy are the card's own business: one value stands for all. */
static enum next create_policy(struct warp *warp, const struct instruction *instruction,
                               uint32_t lanes){
    OPS_BODY_(uint64_t, (void)0, 1)} OP1(convert_policy, uint64_t, uint64_t, x)

#define FORM(opcode, operands, run)                                                                \
    {                                                                                              \
        opcode, operands, CLASS_LOAD, run                                                          \
    }

    const struct form OPS_EXPORT(forms_hint)[] = {
        FORM("prefetch.L1", "a", prefetch),
        FORM("prefetch.L2", "a", prefetch),
        FORM("prefetch.L2::evict_last", "a", prefetch),
        FORM("prefetch.L2::evict_normal", "a", prefetch),
        FORM("prefetchu.L1", "a", prefetch),
        FORM("applypriority.L2::evict_normal", "ai", whole_line),
        FORM("discard.L2", "ai", whole_line),
        {"createpolicy.fractional", "d=?w", CLASS_INTEGER, create_policy},
        {"createpolicy.range", "d=aww", CLASS_INTEGER, create_policy},
        {"createpolicy.cvt.L2.b64", "d=d", CLASS_INTEGER, convert_policy},
        {0},
};
