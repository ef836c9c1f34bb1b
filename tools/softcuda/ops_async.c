/* cp.async and its groups. */
#include "tools/softcuda/access_plain.h"
#include "tools/softcuda/async.h"
#include "tools/softcuda/faults.h"
#include "tools/softcuda/ops.h"

/* Of `left` the lanes that read as many bytes as the first one; how many these are. */
static uint32_t lanes_alike(uint32_t left, const uint32_t *sizes, int bytes, int *size)
{
    uint32_t most = (uint32_t)bytes, first, same = 0;
    *size = bytes;
    if (!sizes)
        return left;
    first = sizes[__builtin_ctz(left)] < most ? sizes[__builtin_ctz(left)] : most;
    *size = (int)first;
    for (int l = 0; l < WARP_LANES; l++)
        same |= (uint32_t)((sizes[l] < most ? sizes[l] : most) == first) << l;
    return same & left;
}

/* cp.async.ca|cg.shared.global [to], [from], size{, source size}: what the source does not cover is
 * zeros. */
static enum next copy_some(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                           const uint32_t *sizes)
{
    struct access to, from;
    int bytes = instruction->aux;
    if (!access_reach(warp, instruction, lanes, 0, instruction->offset, PTX_SHARED,
                      ACCESS_ASYNC_WRITE, bytes, bytes, &to))
        return NEXT_STOP;
    for (uint32_t left = lanes; left;) {
        int size; /* where it is 0 the address does not matter */
        uint32_t same = lanes_alike(left, sizes, bytes, &size);
        if (size > 0 && !access_reach(warp, instruction, same, 1, instruction->offset2, PTX_GLOBAL,
                                      ACCESS_ASYNC_READ, size, bytes, &from))
            return NEXT_STOP;
        if (!async_add(warp, instruction, same, &to, &from, size))
            return fault_no_memory(warp, instruction);
        left &= ~same;
    }
    return NEXT_GO;
}

static enum next copy(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    return copy_some(warp, instruction, lanes, NULL);
}

static enum next copy_sized(struct warp *warp, const struct instruction *instruction,
                            uint32_t lanes)
{
    return copy_some(warp, instruction, lanes, SOURCE(warp, instruction, 2));
}

static enum next commit_group(struct warp *warp, const struct instruction *instruction,
                              uint32_t lanes)
{
    (void)instruction;
    async_commit(warp, lanes);
    return NEXT_GO;
}

static enum next wait_group(struct warp *warp, const struct instruction *instruction,
                            uint32_t lanes)
{
    async_wait(warp, lanes, instruction->aux);
    return NEXT_GO;
}

static enum next wait_all(struct warp *warp, const struct instruction *instruction, uint32_t lanes)
{
    (void)instruction;
    async_wait_all(warp, lanes);
    return NEXT_GO;
}

#define FORM(opcode, operands, run)                                                                \
    {                                                                                              \
        opcode, operands, CLASS_ASYNC, run                                                         \
    }

const struct form OPS_EXPORT(forms_async)[] = {
    FORM("cp.async", "aai", copy),
    FORM("cp.async", "aaiw", copy_sized),
    FORM("cp.async.hint", "aaid", copy), /* a cache policy comes last */
    FORM("cp.async.hint", "aaiwd", copy_sized),
    FORM("cp.async.commit_group", "", commit_group),
    FORM("cp.async.wait_group", "i", wait_group),
    FORM("cp.async.wait_all", "", wait_all),
    {0},
};
