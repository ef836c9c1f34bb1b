/* cp.async and its groups. */
#include "tools/softcuda/access.h"
#include "tools/softcuda/async.h"
#include "tools/softcuda/faults.h"
#include "tools/softcuda/ops.h"

static uint32_t source_size(const uint32_t *sizes, int lane, int bytes)
{
    return sizes && sizes[lane] < (uint32_t)bytes ? sizes[lane] : (uint32_t)bytes;
}

static bool issue(struct warp *warp, const struct instruction *instruction, const struct access *to,
                  const struct access *from, int lane, uint32_t size)
{
    struct async_copy one = {.to = to->host[lane],
                             .address = to->address[lane],
                             .bytes = to->bytes,
                             .lane = lane,
                             .instruction = instruction};
    if (from)
        memcpy(one.data, from->host[lane], size);
    return async_add(warp, one);
}

/* cp.async.ca|cg.shared.global [to], [from], size{, source size}: what the source does not cover is
 * zeros. */
static enum next copy_some(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                           const uint32_t *sizes)
{
    struct access to, from;
    int bytes = instruction->aux;
    if (!access_resolve(warp, instruction, lanes, 0, instruction->offset, PTX_SHARED,
                        ACCESS_ASYNC_WRITE, bytes, &to))
        return NEXT_STOP;
    for (uint32_t left = lanes; left;) {
        /* Lanes that read the same number of bytes; where it is 0 the address does not matter. */
        uint32_t size = source_size(sizes, __builtin_ctz(left), bytes), same = 0;
        for (uint32_t l = left; l; l &= l - 1)
            if (source_size(sizes, __builtin_ctz(l), bytes) == size)
                same |= l & -l;
        if (size > 0 &&
            !access_resolve_part(warp, instruction, same, 1, instruction->offset2, PTX_GLOBAL,
                                 ACCESS_ASYNC_READ, (int)size, bytes, &from))
            return NEXT_STOP;
        for (uint32_t l = same; l; l &= l - 1)
            if (!issue(warp, instruction, &to, size > 0 ? &from : NULL, __builtin_ctz(l), size))
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
