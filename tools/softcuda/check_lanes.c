/* Lanes in groups. See check_lanes.h. */
#include "tools/softcuda/check_lanes.h"

uint32_t whole_pieces(const struct access *access, int piece)
{
    int bytes = access->bytes, n = piece / bytes;
    if (bytes == piece)
        return access->lanes;
    if (bytes & (bytes - 1) || n > WARP_LANES)
        return 0;
    uint64_t ones = ((uint64_t)1 << n) - 1;
    uint32_t firsts = access->lanes & (uint32_t)(n == WARP_LANES ? 1 : ALL_LANES / ones);
    if (firsts * ones != access->lanes)
        return 0;
    uint64_t within = (uint64_t)piece - 1;
    for (uint32_t left = firsts; left; left &= left - 1) {
        const uint64_t *address = access->address + __builtin_ctz(left);
        uint64_t differ = address[0] & within;
        for (int i = 1; i < n; i++)
            differ |= address[i] ^ (address[0] + (uint64_t)(i * bytes));
        if (differ)
            return 0;
    }
    return firsts;
}

/* How far the next lane's address lies behind this one's, where that makes a group of them. */
static bool is_stride(const struct access *access, uint64_t stride)
{
    uint64_t bytes = (uint64_t)access->bytes;
    if (stride == 0 || stride == bytes)
        return stride || access->kind != ACCESS_WRITE; /* values of a store may differ */
    return (access->kind == ACCESS_READ || access->kind == ACCESS_WRITE) && stride > bytes &&
           (stride == 8 || stride == 4 || stride == 2);
}

uint64_t next_group(const struct access *access, uint32_t *left, struct touched *group)
{
    int first = __builtin_ctz(*left), bytes = access->bytes, last = first;
    uint64_t address = access->address[first], granule = address & ~(uint64_t)(GRANULE - 1);
    uint64_t stride = address;
    *group = one_lane(access, first);
    *left &= *left - 1;
    uint32_t follow = *left >> first >> 1; /* bit 0: the lane behind the last one */
    if (follow & 1)
        stride = access->address[first + 1] - address;
    if (!(follow & 1) || bytes == GRANULE || !is_stride(access, stride))
        return granule;
    uint64_t next = address + stride;
    for (; follow & 1 && access->address[last + 1] == next && next - granule < GRANULE;
         last++, follow >>= 1, next += stride)
        group->bytes |= byte_mask(next, bytes);
    bool apart = stride > (uint64_t)bytes;
    /* A lane with a gap before it may belong to those behind it. */
    if (apart && follow & 1 && last > first) {
        uint64_t behind = access->address[last + 1] - access->address[last];
        if (behind <= (uint64_t)bytes && is_stride(access, behind))
            group->bytes &= ~byte_mask(access->address[last--], bytes);
    }
    if (last == first)
        return granule;
    group->lanes = (ALL_LANES >> (WARP_LANES - 1 - last + first)) << first;
    *left &= ~group->lanes;
    if (stride) {
        unsigned shift = (unsigned)__builtin_ctz((unsigned)stride);
        group->base = first - (int)((address - granule) >> shift);
        group->shift = apart ? shift | APART : shift;
    }
    return granule;
}
