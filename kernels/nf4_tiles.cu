/* Packs an NF4 matrix of nf4.h into the tiles of nf4_layout.h, on the GPU: a warp a tile, four to a
 * block, one segment a launch. Loading does it once; it is bound by memory. */
#include "kernels/nf4_layout.h"

#define WARPS    4
#define CODE_OF_0 7

struct place {
    int group, step, lane, warp; /* the group within the segment */
    bool there;
    size_t tile; /* in the whole matrix */
};

static __device__ place place_of(const nf4_tiles &w, const nf4_segment &segment)
{
    place at;
    at.lane = threadIdx.x % 32, at.warp = threadIdx.x / 32;
    size_t tile = (size_t)blockIdx.x * WARPS + at.warp;
    at.group = (int)(tile / w.n_steps), at.step = (int)(tile % w.n_steps);
    at.there = NF4_TILE_ROWS * at.group < segment.rows;
    at.tile = (size_t)(segment.first_group + at.group) * w.n_steps + at.step;
    return at;
}

/* Columns that are a multiple of 64: a row of a tile is 32 bytes at a multiple of 32. They come in
 * as two vectors a row and are handed on through shared memory. */
extern "C" __global__ void __launch_bounds__(32 * WARPS)
    nf4_tiles_pack(nf4_tiles w, int of, const unsigned char *codes,
                   const unsigned char *absmax_codes)
{
    __shared__ uint4 rows[WARPS][32];
    const nf4_segment &segment = w.segments[of];
    place at = place_of(w, segment);
    if (!at.there)
        return;
    int row = NF4_TILE_ROWS * at.group + at.lane / 2;
    uint4 half = make_uint4(0x77777777, 0x77777777, 0x77777777, 0x77777777);
    if (row < segment.rows)
        half = *(const uint4 *)(codes + (size_t)row * (w.columns / 2) + 32 * at.step +
                                16 * (at.lane % 2));
    rows[at.warp][at.lane] = half;
    __syncwarp();
    const unsigned char *from =
        (const unsigned char *)rows[at.warp] + 32 * (at.lane / 4) + at.lane % 4;
    unsigned words[4];
#pragma unroll
    for (int s = 0; s < 4; s++)
        words[s] = from[8 * s] | from[8 * s + 4] << 8 | from[8 * 32 + 8 * s] << 16 |
                   (unsigned)from[8 * 32 + 8 * s + 4] << 24;
    ((uint4 *)w.codes)[32 * at.tile + at.lane] = make_uint4(words[0], words[1], words[2], words[3]);
    if (absmax_codes && at.lane < NF4_TILE_ROWS) {
        row = NF4_TILE_ROWS * at.group + at.lane;
        ((unsigned char *)w.absmax_codes)[NF4_TILE_ROWS * at.tile + at.lane] =
            row < segment.rows ? absmax_codes[(size_t)row * w.n_steps + at.step] : 0;
    }
}

/* Any columns: code by code. */
static __device__ unsigned code_at(const nf4_tiles &w, const nf4_segment &segment,
                                   const unsigned char *codes, int row, int column)
{
    if (row >= segment.rows || column >= w.columns)
        return CODE_OF_0;
    size_t i = (size_t)row * w.columns + column;
    return codes[i / 2] >> (i % 2 ? 0 : 4) & 15;
}

extern "C" __global__ void __launch_bounds__(32 * WARPS)
    nf4_tiles_pack_any(nf4_tiles w, int of, const unsigned char *codes, const unsigned char *)
{
    const nf4_segment &segment = w.segments[of];
    place at = place_of(w, segment);
    if (!at.there)
        return;
    int row = NF4_TILE_ROWS * at.group + at.lane / 4;
    unsigned words[4];
    for (int s = 0; s < 4; s++) {
        words[s] = 0;
        for (int byte = 0; byte < 4; byte++) {
            int column = NF4_TILE_COLUMNS * at.step + 16 * s + 8 * (byte % 2) + 2 * (at.lane % 4);
            unsigned even = code_at(w, segment, codes, row + 8 * (byte / 2), column);
            unsigned odd = code_at(w, segment, codes, row + 8 * (byte / 2), column + 1);
            words[s] |= (even << 4 | odd) << 8 * byte;
        }
    }
    ((uint4 *)w.codes)[32 * at.tile + at.lane] = make_uint4(words[0], words[1], words[2], words[3]);
}
