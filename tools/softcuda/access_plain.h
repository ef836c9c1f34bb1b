/* The short way from addresses to host memory, for when neither checkers nor counters look on: all
 * lanes within one piece of memory, tested together by what the compiler turns into vector code.
 * Whatever does not fit, a fault too, goes the long way (access.h). */
#ifndef SOFTCUDA_ACCESS_PLAIN_H
#define SOFTCUDA_ACCESS_PLAIN_H

#include "tools/softcuda/access.h"
#include "tools/softcuda/ops.h"

/* Memory that an access may reach: addresses from `base` on. */
struct piece {
    unsigned char *host;
    uint64_t base, size;
    enum ptx_space space;
};

/* The piece that holds `address`; false: none that could be used in this way. */
static inline bool piece_find(struct warp *warp, enum ptx_space space, enum access_kind kind,
                              uint64_t address, struct piece *piece)
{
    const struct cta *cta = warp->cta;
    bool generic = space == PTX_GENERIC;
    if (space == PTX_SHARED || (generic && address >> WINDOW_SHIFT == WINDOW_SHARED)) {
        *piece = (struct piece){cta->shared, generic ? WINDOW_SHARED << WINDOW_SHIFT : 0,
                                cta->shared_bytes, PTX_SHARED};
        return true;
    }
    if (space == PTX_PARAM && kind == ACCESS_READ) {
        *piece = (struct piece){(unsigned char *)cta->launch->parameters, 0,
                                (uint64_t)cta->launch->program->parameter_bytes, PTX_PARAM};
        return true;
    }
    if ((space != PTX_GLOBAL && !generic) || address >> WINDOW_SHIFT > WINDOW_GLOBAL)
        return false;
    const struct allocation *allocation = warp->last_allocation;
    if (!allocation || address - allocation->base >= allocation->size)
        allocation = memory_find(cta->launch->memory, address);
    if (!allocation)
        return false;
    warp->last_allocation = allocation;
    *piece = (struct piece){allocation->host, allocation->base, allocation->size, PTX_GLOBAL};
    return true;
}

/* Distances from the piece's base to host memory; those of lanes that take no part are the first
 * one's. false: a lane is not within it, or misaligned. */
static inline __attribute__((always_inline)) bool piece_reach(const struct piece *piece,
                                                              const void *place, bool narrow,
                                                              uint64_t offset, uint32_t lanes,
                                                              bool all, struct access *access)
{
    const uint32_t *words = place;
    const uint64_t *wide = place;
    int first = __builtin_ctz(lanes);
    uint64_t last = piece->size - (uint64_t)access->bytes, outside = 0, bits = 0;
    uint64_t shift = offset - piece->base;
    uint64_t to_address = piece->space == PTX_GLOBAL ? piece->base : 0;
    FOR_LANES(l)
    {
        int lane = all || lanes >> l & 1 ? l : first;
        uint64_t distance =
            narrow ? (uint32_t)(words[lane] + (uint32_t)offset) : wide[lane] + shift;
        /* The highest bit of either is set where distance > last. */
        outside |= distance | (last - distance);
        bits |= distance;
        access->address[l] = distance + to_address;
        access->host[l] = (unsigned char *)((uintptr_t)piece->host + (uintptr_t)distance);
    }
    bits |= piece->base;
    return outside >> 63 == 0 && (bits & (uint64_t)(access->alignment - 1)) == 0;
}

/* As access_resolve_part (access.h), by the short way where that will do. */
static inline bool access_reach(struct warp *warp, const struct instruction *instruction,
                                uint32_t lanes, int source, int64_t offset, enum ptx_space space,
                                enum access_kind kind, int bytes, int alignment,
                                struct access *access)
{
    const void *place = SOURCE(warp, instruction, source);
    bool narrow = instruction->narrow_addresses >> (kind == ACCESS_ASYNC_READ) & 1;
    struct piece piece;
    int first = __builtin_ctz(lanes);
    uint64_t address = narrow ? 0 : ((const uint64_t *)place)[first] + (uint64_t)offset;
    if (!warp->cta->counters && !warp->cta->launch->checked &&
        piece_find(warp, space, kind, address, &piece) && piece.size >= (uint64_t)bytes) {
        access->kind = kind;
        access->space = piece.space;
        access->bytes = bytes;
        access->alignment = alignment;
        access->lanes = lanes;
        access->strong = instruction->strong || kind == ACCESS_ATOMIC;
        access->allocation = NULL;
        uint64_t distance = (uint64_t)offset;
        if (lanes == ALL_LANES
                ? narrow ? piece_reach(&piece, place, true, distance, lanes, true, access)
                         : piece_reach(&piece, place, false, distance, lanes, true, access)
                : piece_reach(&piece, place, narrow, distance, lanes, false, access))
            return true;
    }
    return access_resolve_part(warp, instruction, lanes, source, offset, space, kind, bytes,
                               alignment, access);
}

#endif
