/* The lanes of an access, by the pieces of memory that they touch. */
#ifndef SOFTCUDA_CHECK_LANES_H
#define SOFTCUDA_CHECK_LANES_H

#include "tools/softcuda/check_state.h"
#include "tools/softcuda/check_words.h"

static inline bool access_reads(const struct access *access)
{
    return access->kind == ACCESS_READ || access->kind == ACCESS_ATOMIC ||
           access->kind == ACCESS_ASYNC_READ;
}

static inline bool access_writes(const struct access *access)
{
    return access->kind == ACCESS_WRITE || access->kind == ACCESS_ATOMIC;
}

static inline unsigned byte_mask(uint64_t address, int bytes)
{
    return ((1u << bytes) - 1) << (address & (GRANULE - 1));
}

static inline int lane_at(const struct touched *group, int byte)
{
    return group->shift == ALL_OF_THEM ? __builtin_ctz(group->lanes)
                                       : group->base + (byte >> (group->shift & ~(unsigned)APART));
}

/* Where lanes side by side touch whole pieces of memory (of GRANULE or LINE bytes, at a multiple of
 * that), and nothing else is touched: the first lane of each piece. Else 0. */
uint32_t whole_pieces(const struct access *access, int piece);

/* The granule that lane `first` of whole_pieces begins. */
static inline struct touched whole_granule(const struct access *access, int first)
{
    int n = GRANULE / access->bytes;
    if (n == 1)
        return (struct touched){1u << first, ALL_BYTES, 0, ALL_OF_THEM};
    return (struct touched){((1u << n) - 1) << first, ALL_BYTES, first,
                            (unsigned)__builtin_ctz((unsigned)access->bytes)};
}

static inline struct touched one_lane(const struct access *access, int lane)
{
    return (struct touched){1u << lane, byte_mask(access->address[lane], access->bytes), 0,
                            ALL_OF_THEM};
}

/* The lanes from the first of *left on that touch one granule in one way: the same bytes, or bytes
 * that ascend with the lanes, side by side or, where the access reads or writes, with gaps. They
 * leave *left. The granule's address. Of lanes with gaps the caller looks at each by itself when
 * something is amiss. */
uint64_t next_group(const struct access *access, uint32_t *left, struct touched *group);

/* Reads what was written, and has written it. */
static inline void check_written(struct warp *warp, const struct instruction *instruction,
                                 const struct access *access, const struct touched *group,
                                 uint64_t granule, uint16_t *written)
{
    if (access_reads(access) && group->bytes & ~*written) {
        int byte = __builtin_ctz(group->bytes & ~(unsigned)*written);
        say_unwritten(warp, instruction, access, lane_at(group, byte), granule + (unsigned)byte);
    }
    if (access_writes(access))
        *written |= (uint16_t)group->bytes;
}

#endif
