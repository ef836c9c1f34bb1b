/* From addresses to host memory. See access.h. */
#include "tools/softcuda/access.h"

#include "tools/softcuda/check.h"
#include "tools/softcuda/count.h"
#include "tools/softcuda/faults.h"

static void read_addresses(const struct warp *warp, const struct instruction *instruction,
                           int source, int64_t offset, bool narrow, uint64_t *address)
{
    const void *place = SOURCE(warp, instruction, source);
    if (narrow) {
        const uint32_t *from = place;
        for (int l = 0; l < WARP_LANES; l++)
            address[l] = (uint32_t)(from[l] + (uint32_t)offset);
    } else {
        const uint64_t *from = place;
        for (int l = 0; l < WARP_LANES; l++)
            address[l] = from[l] + (uint64_t)offset;
    }
}

/* The lanes whose generic address lies in the window of the first one; its space. */
static bool pick_window(struct access *access)
{
    uint64_t window = access->address[__builtin_ctz(access->lanes)] >> WINDOW_SHIFT;
    static const enum ptx_space spaces[] = {
        [WINDOW_HOST] = PTX_GLOBAL, [WINDOW_GLOBAL] = PTX_GLOBAL, [WINDOW_SHARED] = PTX_SHARED,
        [WINDOW_LOCAL] = PTX_LOCAL, [WINDOW_PARAM] = PTX_PARAM,
    };
    if (window > WINDOW_PARAM)
        return false;
    access->space = spaces[window];
    uint32_t picked = 0;
    for (uint32_t left = access->lanes; left; left &= left - 1) {
        int l = __builtin_ctz(left);
        uint64_t own = access->address[l] >> WINDOW_SHIFT;
        if (own > WINDOW_PARAM || spaces[own] != access->space)
            continue;
        picked |= 1u << l;
        if (access->space != PTX_GLOBAL)
            access->address[l] &= ((uint64_t)1 << WINDOW_SHIFT) - 1;
    }
    access->lanes = picked;
    return true;
}

/* Lowest and highest address of the lanes, and all of them or-ed. */
struct extent {
    uint64_t low, high, bits;
};

static struct extent extent_of(const struct access *access)
{
    struct extent extent = {UINT64_MAX, 0, 0};
    if (access->lanes == ALL_LANES) {
        for (int l = 0; l < WARP_LANES; l++) {
            uint64_t address = access->address[l];
            extent.low = address < extent.low ? address : extent.low;
            extent.high = address > extent.high ? address : extent.high;
            extent.bits |= address;
        }
        return extent;
    }
    for (uint32_t left = access->lanes; left; left &= left - 1) {
        uint64_t address = access->address[__builtin_ctz(left)];
        extent.low = address < extent.low ? address : extent.low;
        extent.high = address > extent.high ? address : extent.high;
        extent.bits |= address;
    }
    return extent;
}

static bool fault_at(struct warp *warp, const struct instruction *instruction,
                     const struct access *access, int lane, enum fault fault)
{
    fault_access(warp, instruction, access, lane, fault);
    return false;
}

static int first_misaligned(const struct access *access)
{
    uint32_t left = access->lanes;
    while ((access->address[__builtin_ctz(left)] & (uint64_t)(access->alignment - 1)) == 0)
        left &= left - 1;
    return __builtin_ctz(left);
}

/* Lanes that take no part have any address: theirs is worked out too, and not as a pointer. */
static inline unsigned char *place_of(const unsigned char *base, uint64_t offset)
{
    return (unsigned char *)((uintptr_t)base + (uintptr_t)offset);
}

/* A piece of memory of `size` bytes, addressed from 0: all lanes within it, or a fault. */
static bool resolve_piece(struct warp *warp, const struct instruction *instruction,
                          struct access *access, unsigned char *piece, uint64_t size,
                          uint64_t stride, const struct extent *extent)
{
    if (extent->high + (uint64_t)access->bytes > size || extent->high > size)
        for (uint32_t left = access->lanes; left; left &= left - 1) {
            int l = __builtin_ctz(left);
            if (access->address[l] + (uint64_t)access->bytes > size || access->address[l] > size)
                return fault_at(warp, instruction, access, l, FAULT_BOUNDS);
        }
    for (int l = 0; l < WARP_LANES; l++)
        access->host[l] = place_of(piece + (uint64_t)l * stride, access->address[l]);
    return true;
}

static bool resolve_global(struct warp *warp, const struct instruction *instruction,
                           struct access *access, const struct extent *extent)
{
    const struct memory *memory = warp->cta->launch->memory;
    const struct allocation *allocation = warp->last_allocation;
    if (!allocation || extent->low - allocation->base >= allocation->size)
        allocation = memory_find(memory, extent->low);
    access->allocation = warp->last_allocation = allocation;
    if (allocation &&
        extent->high - allocation->base + (uint64_t)access->bytes <= allocation->size) {
        for (int l = 0; l < WARP_LANES; l++)
            access->host[l] = place_of(allocation->host, access->address[l] - allocation->base);
        return true;
    }
    for (uint32_t left = access->lanes; left; left &= left - 1) {
        int l = __builtin_ctz(left);
        allocation = memory_find(memory, access->address[l]);
        if (!allocation ||
            access->address[l] - allocation->base + (uint64_t)access->bytes > allocation->size)
            return fault_at(warp, instruction, access, l, FAULT_BOUNDS);
        access->host[l] = allocation->host + (access->address[l] - allocation->base);
        access->allocation = allocation;
    }
    return true;
}

static bool resolve(struct warp *warp, const struct instruction *instruction, struct access *access)
{
    struct cta *cta = warp->cta;
    const struct program *program = cta->launch->program;
    struct extent extent = extent_of(access);
    if (extent.bits & (uint64_t)(access->alignment - 1))
        return fault_at(warp, instruction, access, first_misaligned(access), FAULT_ALIGNMENT);
    switch (access->space) {
    case PTX_SHARED:
        return resolve_piece(warp, instruction, access, cta->shared, cta->shared_bytes, 0, &extent);
    case PTX_LOCAL:
        return resolve_piece(warp, instruction, access, warp->local, (uint64_t)program->local_bytes,
                             (uint64_t)program->local_bytes, &extent);
    case PTX_PARAM:
        if (access->kind != ACCESS_READ)
            return fault_at(warp, instruction, access, __builtin_ctz(access->lanes),
                            FAULT_READ_ONLY);
        return resolve_piece(warp, instruction, access, (unsigned char *)cta->launch->parameters,
                             (uint64_t)program->parameter_bytes, 0, &extent);
    default:
        return resolve_global(warp, instruction, access, &extent);
    }
}

bool access_resolve_part(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                         int source, int64_t offset, enum ptx_space space, enum access_kind kind,
                         int bytes, int alignment, struct access *access)
{
    access->kind = kind;
    access->space = space;
    access->bytes = bytes;
    access->alignment = alignment;
    access->lanes = lanes;
    access->strong = instruction->strong || kind == ACCESS_ATOMIC;
    access->allocation = NULL;
    int number = kind == ACCESS_ASYNC_READ;
    read_addresses(warp, instruction, source, offset, instruction->narrow_addresses >> number & 1,
                   access->address);
    if (space == PTX_GENERIC && !pick_window(access))
        return fault_at(warp, instruction, access, __builtin_ctz(lanes), FAULT_BOUNDS);
    if (!resolve(warp, instruction, access))
        return false;
    if (kind == ACCESS_HINT)
        return true;
    struct cta *cta = warp->cta;
    if (cta->counters)
        count_access(cta->counters, instruction, access);
    return !cta->launch->checked || check_access(warp, instruction, access);
}

bool access_resolve(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                    int source, int64_t offset, enum ptx_space space, enum access_kind kind,
                    int bytes, struct access *access)
{
    return access_resolve_part(warp, instruction, lanes, source, offset, space, kind, bytes, bytes,
                               access);
}

void access_done(struct warp *warp, const struct access *access)
{
    if (!access->strong)
        return;
    warp->n_polls++;
    warp->cta->n_polls++;
    if (warp->cta->checks)
        check_strong_done(warp, access);
}

unsigned char access_stored_byte(const struct warp *warp, const struct instruction *instruction,
                                 int lane, int at)
{
    int size = ptx_type_size((enum ptx_type)instruction->type), element = at / size;
    bool wide = instruction->wide_register || instruction->constant_sources >> (1 + element) & 1;
    const unsigned char *from = SOURCE(warp, instruction, 1 + element);
    return from[lane * (wide ? 8 : 4) + at % size];
}
