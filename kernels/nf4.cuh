/* NF4's tables for the GPU's kernels: those of nf4.c. */
#ifndef MIDASHI_KERNELS_NF4_CUH
#define MIDASHI_KERNELS_NF4_CUH

#include "kernels/nf4_layout.h"
#include "kernels/nf4_tables.h"
#include "kernels/tensor.cuh"

static __device__ const float nf4_map[16] = {NF4_MAP_VALUES};

/* Half of the nested map: from its 0 on, which is code 127. The map is odd: code 127 - i is the
 * negative of code 127 + i; and code 255 is 1. */
struct nf4_nested_half {
    float of[128];
};

static constexpr nf4_nested_half nf4_half_of_nested_map()
{
    const float map[256] = {NF4_NESTED_MAP_VALUES};
    nf4_nested_half half = {};
    for (int i = 0; i < 128; i++)
        half.of[i] = map[127 + i];
    return half;
}
static __device__ constexpr nf4_nested_half nf4_nested_map = nf4_half_of_nested_map();

/* What of a map a lane keeps in registers: entries lane, lane + 32, + 64, + 96. A look-up by
 * shuffles has no bank conflicts, as one in shared memory would: 32 lanes want 32 of 256 words. */
struct nf4_nested {
    float part[4];

    __device__ __forceinline__ nf4_nested()
    {
#pragma unroll
        for (int i = 0; i < 4; i++)
            part[i] = nf4_nested_map.of[32 * i + threadIdx.x % 32];
    }

    /* Of all lanes together. */
    __device__ __forceinline__ float value(unsigned code) const
    {
        int signed_code = (int)code - 127, at = abs(signed_code); /* up to 128 */
        float a = __shfl_sync(0xFFFFFFFF, part[0], at), b = __shfl_sync(0xFFFFFFFF, part[1], at);
        float c = __shfl_sync(0xFFFFFFFF, part[2], at), d = __shfl_sync(0xFFFFFFFF, part[3], at);
        float low = at & 32 ? b : a, high = at & 32 ? d : c;
        float value = at == 128 ? 1.0f : at & 64 ? high : low;
        return signed_code < 0 ? -value : value;
    }
};

/* What of nf4_map a lane keeps: entry lane % 16. */
static __device__ __forceinline__ float nf4_entry()
{
    return nf4_map[threadIdx.x % 16];
}

/* The byte of a word at bit `shift`: two weights, the even k in the lower half. Of all lanes
 * together. A shuffle among 16 lanes looks at the lowest four bits of a lane's number only, so a
 * code needs no mask; of a word in shared memory the address would need one, and the load takes
 * twice as long to issue on GeForce cards. The product is float32's, rounded once to bfloat16. */
static __device__ __forceinline__ unsigned nf4_pair(float entry, unsigned word, int shift,
                                                    float absmax)
{
    float even = __shfl_sync(0xFFFFFFFF, entry, word >> (shift + 4), 16);
    float odd = __shfl_sync(0xFFFFFFFF, entry, word >> shift, 16);
    return pack(even * absmax, odd * absmax);
}

/* absmax by its code, looked up in memory: for kernels that do so weight by weight. */
static __device__ __forceinline__ float nf4_absmax(unsigned code, float nested, float offset)
{
    int at = (int)code - 127;
    float scaled = at == 128 ? 1.0f : nf4_nested_map.of[abs(at)];
    return __fadd_rn(__fmul_rn(at < 0 ? -scaled : scaled, nested), offset);
}

/* That of a block of a flat matrix. */
static __device__ __forceinline__ float nf4_flat_absmax(const nf4_segment &segment, size_t block)
{
    if (!segment.nested_absmax)
        return ((const float *)segment.flat_absmax)[block];
    return nf4_absmax(((const unsigned char *)segment.flat_absmax)[block],
                      segment.nested_absmax[block / 256], segment.offset);
}

/* Which segment a row of tiles belongs to. */
static __device__ __forceinline__ const nf4_segment &nf4_segment_of(const nf4_tiles &w, int group)
{
    int i = 0;
    while (i + 1 < w.n_segments && group >= w.segments[i + 1].first_group)
        i++;
    return w.segments[i];
}

#endif
