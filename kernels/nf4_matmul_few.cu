/* Matrix product of up to 8 rows of X with an NF4 weight on a GPU: bound by reading W once. See
 * nf4_matmul.h and nf4_layout.h.
 *
 * A block makes 16 columns of Y, a row of W's tiles. Its 8 warps share out k, 4 tiles (256 columns)
 * at a time in turn, and add up their sums in the order of the warps at the end. Here W is mma's A
 * operand and X its B: D (16 rows of W, 8 rows of X). A lane's codes come straight from memory into
 * registers, 16 bytes a tile, one run of 4 tiles ahead of the one that is computed. X goes through
 * shared memory, also one run ahead. */
#include "kernels/cuda.cuh"
#include "kernels/nf4.cuh"
#include "kernels/product.h"

#define WARPS 8
#define RUN   4 /* tiles */
/* Elements of a row of a run of X in shared memory: 8 more than it has, so that the 8 rows of a
 * fragment lie 4 banks apart. */
#define X_ROW (RUN * NF4_TILE_COLUMNS + 8)

struct run {
    uint4 codes[RUN];
    /* Of one row of W, in tiles lane / 16 and lane / 16 + 2. */
    unsigned char absmax_codes[2];
    float nested[2];
};

struct few {
    const product &p;
    const nf4_tiles &w;
    const nf4_segment &segment;
    int lane, group, row; /* row: of the segment, whose absmax this lane makes */

    __device__ __forceinline__ void load(run &to, int first) const
    {
#pragma unroll
        for (int t = 0; t < RUN; t++) {
            to.codes[t] = make_uint4(0, 0, 0, 0);
            if (first + t < w.n_steps)
                to.codes[t] = ((const uint4 *)w.codes)[32 * ((size_t)group * w.n_steps + first +
                                                             t) + lane];
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int step = first + lane / 16 + 2 * i;
            to.absmax_codes[i] = 127; /* 0 */
            to.nested[i] = 0;
            if (step >= w.n_steps)
                continue;
            to.absmax_codes[i] =
                w.absmax_codes[16 * ((size_t)group * w.n_steps + step) + lane % 16];
            if (row < segment.rows)
                to.nested[i] = segment.nested_absmax[(row * w.n_steps + step) >> 8];
        }
    }

    __device__ __forceinline__ void load_x(__nv_bfloat16 *to, int first) const
    {
        int k = first * NF4_TILE_COLUMNS + 8 * lane;
        bool there = k < p.columns;
        const __nv_bfloat16 *from = (const __nv_bfloat16 *)p.x + (there ? k : 0);
        for (int i = 0; i < p.m; i++)
            copy16(to + i * X_ROW + 8 * lane, from + (size_t)i * p.columns, there);
        commit();
    }
};

static __device__ __forceinline__ unsigned word_of(const uint4 &words, int s)
{
    return s == 0 ? words.x : s == 1 ? words.y : s == 2 ? words.z : words.w;
}

extern "C" __global__ void __launch_bounds__(32 * WARPS)
    nf4_matmul_few(const __grid_constant__ product p, const __grid_constant__ nf4_tiles w)
{
    extern __shared__ __align__(16) __nv_bfloat16 xs[]; /* [WARPS][2][m][X_ROW] */
    __shared__ float sums_of[WARPS][16][8];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = blockIdx.x;
    const nf4_segment &segment = nf4_segment_of(w, group);
    int first_row = 16 * (group - segment.first_group);
    few f = {p, w, segment, lane, group, first_row + lane % 16};
    nf4_nested map;
    __nv_bfloat16 *own = xs + 2 * warp * p.m * X_ROW;
    float sums[4] = {};
    run now, next;
    nf4_values_fill();
    int first = RUN * warp;
    if (first < w.n_steps) {
        f.load_x(own, first);
        f.load(now, first);
    }
    __syncthreads(); /* nf4_values */
    for (int turn = 0; first < w.n_steps; first += RUN * WARPS, turn ^= 1) {
        const __nv_bfloat16 *x = own + turn * p.m * X_ROW;
        wait<0>();
        __syncwarp(); /* X is there, and the other half has been read */
        if (first + RUN * WARPS < w.n_steps) {
            f.load_x(own + (turn ^ 1) * p.m * X_ROW, first + RUN * WARPS);
            f.load(next, first + RUN * WARPS);
        }
        float absmax[2];
#pragma unroll
        for (int i = 0; i < 2; i++)
            absmax[i] = __fadd_rn(__fmul_rn(map.value(now.absmax_codes[i]), now.nested[i]),
                                  segment.offset);
#pragma unroll
        for (int t = 0; t < RUN; t++) {
            float low = __shfl_sync(0xFFFFFFFF, absmax[t / 2], t % 2 * 16 + lane / 4);
            float high = __shfl_sync(0xFFFFFFFF, absmax[t / 2], t % 2 * 16 + 8 + lane / 4);
#pragma unroll
            for (int s = 0; s < 4; s++) {
                unsigned word = word_of(now.codes[t], s), b[2] = {0, 0};
                unsigned a[4] = {nf4_pair(word, 0, low), nf4_pair(word, 16, high),
                                 nf4_pair(word, 8, low), nf4_pair(word, 24, high)};
                if (lane / 4 < p.m && first + t < w.n_steps) {
                    const __nv_bfloat16 *at = x + lane / 4 * X_ROW + 64 * t + 16 * s + lane % 4 * 2;
                    b[0] = *(const unsigned *)at;
                    b[1] = *(const unsigned *)(at + 8);
                }
                mma(sums, a, b[0], b[1]);
            }
        }
        now = next;
    }
    *(float2 *)&sums_of[warp][lane / 4][lane % 4 * 2] = make_float2(sums[0], sums[1]);
    *(float2 *)&sums_of[warp][lane / 4 + 8][lane % 4 * 2] = make_float2(sums[2], sums[3]);
    __syncthreads();
    int i = threadIdx.x / 16, row = threadIdx.x % 16;
    if (i >= p.m || first_row + row >= segment.rows)
        return;
    float sum = 0;
#pragma unroll
    for (int j = 0; j < WARPS; j++)
        sum += sums_of[j][row][i];
    int column = segment.first_row + first_row + row;
    __nv_bfloat16 *y = (__nv_bfloat16 *)p.y + (size_t)i * p.rows + column;
    if (p.bias)
        sum += p.bias[column];
    if (p.add)
        sum += to_float(*y);
    *y = __float2bfloat16_rn(sum);
}
