/* Matrix product of up to 8 rows of X with an NF4 weight on a GPU: bound by reading W once. See
 * nf4_matmul.h and nf4_layout.h.
 *
 * A block makes 16 columns of Y, a row of W's tiles. Its 8 warps share out k, a run of 4 tiles (256
 * columns) at a time in turn, and add up their sums in the order of the warps at the end. Here W is
 * mma's A operand and X its B: D (16 rows of W, 8 rows of X). A lane's codes come straight from
 * memory into registers, 16 bytes a tile, a run's all at once; X goes through shared memory. That
 * one run is decoded while others are on their way is left to the other warps: 4 blocks of a
 * multiprocessor (of more than 4 rows GeForce cards have room for 2 or 3) have 64 KB under way. */
#include "kernels/cuda.cuh"
#include "kernels/nf4.cuh"
#include "kernels/product.h"

#define WARPS 8
#define RUN   4 /* tiles */
/* Elements of a row of a run of X in shared memory: 8 more than it has, so that the 8 rows of a
 * fragment lie 4 banks apart. */
#define X_ROW (RUN * NF4_TILE_COLUMNS + 8)
/* Floats from one row of X to the next in a warp's sums: a store's 4 rows lie 8 banks apart. */
#define SUMS_ROW 20

struct run {
    uint4 codes[RUN];
    float absmax[RUN / 2]; /* of one row of W, in tiles lane / 16 and lane / 16 + 2 */
};

/* Tiles from `first` on of a row of tiles; row: of the segment, whose absmax this lane makes. */
static __device__ __forceinline__ void load_run(run &to, const nf4_tiles &w,
                                                const nf4_segment &segment, int group, int first,
                                                int row, const nf4_nested &map)
{
    int lane = threadIdx.x % 32;
    const unsigned char *absmax_codes = w.absmax_codes + 16 * ((size_t)group * w.n_steps + first);
    const uint4 *codes = (const uint4 *)w.codes + 32 * ((size_t)group * w.n_steps + first) + lane;
    unsigned code[RUN / 2];
    float nested[RUN / 2];
    int last = w.n_steps - 1 - first;
    /* A tile behind the last one is that one again, with an absmax of 0: loads that nothing guards
     * stand side by side, and all of them are under way before the first is needed. */
#pragma unroll
    for (int t = 0; t < RUN; t++)
        to.codes[t] = codes[32 * min(t, last)];
#pragma unroll
    for (int i = 0; i < RUN / 2; i++) {
        int t = min(lane / 16 + 2 * i, last);
        int block = min(row, segment.rows - 1) * w.n_steps + first + t;
        code[i] = absmax_codes[16 * t + lane % 16];
        nested[i] = segment.nested_absmax[block >> 8];
    }
#pragma unroll
    for (int i = 0; i < RUN / 2; i++) {
        float absmax = __fadd_rn(__fmul_rn(map.value(code[i]), nested[i]), segment.offset);
        to.absmax[i] = lane / 16 + 2 * i <= last ? absmax : 0.0f;
    }
}

/* The columns of a run, of all rows; zeros behind the last column. */
static __device__ __forceinline__ void load_x(__nv_bfloat16 *to, const product &p, int first)
{
    int lane = threadIdx.x % 32, k = first * NF4_TILE_COLUMNS + 8 * lane;
    bool there = k < p.columns;
    const __nv_bfloat16 *from = (const __nv_bfloat16 *)p.x + (there ? k : 0);
    for (int i = 0; i < p.m; i++)
        copy16(to + i * X_ROW + 8 * lane, from + (size_t)i * p.columns, there);
    commit();
}

static __device__ __forceinline__ unsigned word_of(const uint4 &words, int s)
{
    return s == 0 ? words.x : s == 1 ? words.y : s == 2 ? words.z : words.w;
}

/* x: where the lane's row of an ldmatrix begins in shared memory. */
static __device__ __forceinline__ void add_run(float *sums, const run &run, unsigned x, float entry)
{
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int t = 0; t < RUN; t++) {
        float low = __shfl_sync(0xFFFFFFFF, run.absmax[t / 2], t % 2 * 16 + lane / 4);
        float high = __shfl_sync(0xFFFFFFFF, run.absmax[t / 2], t % 2 * 16 + 8 + lane / 4);
        unsigned b[4]; /* of two k16 steps */
#pragma unroll
        for (int s = 0; s < 4; s++) {
            unsigned word = word_of(run.codes[t], s);
            unsigned a[4] = {nf4_pair(entry, word, 0, low), nf4_pair(entry, word, 16, high),
                             nf4_pair(entry, word, 8, low), nf4_pair(entry, word, 24, high)};
            if (s % 2 == 0)
                load_matrices(b, x + 2 * (NF4_TILE_COLUMNS * t + 16 * s));
            mma(sums, a, b[s % 2 * 2], b[s % 2 * 2 + 1]);
        }
    }
}

extern "C" __global__ void __launch_bounds__(32 * WARPS, 4)
    nf4_matmul_few(const __grid_constant__ product p, const __grid_constant__ nf4_tiles w)
{
    extern __shared__ __align__(16) __nv_bfloat16 xs[]; /* [WARPS][m][X_ROW] */
    __shared__ float sums_of[WARPS][8][SUMS_ROW];
    /* Not as a number that the compiler knows to be one for a warp (product_place_of): as it is,
     * ptxas sees a loop whose lanes may part, tests for that before the first shuffle, and leaves
     * all loads of a run above the test. Else it puts some behind the first use of others. */
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = blockIdx.x;
    nf4_nested map;
    float entry = nf4_entry();
    const nf4_segment &segment = nf4_segment_of(w, group);
    int first_row = 16 * (group - segment.first_group);
    __nv_bfloat16 *own = xs + warp * p.m * X_ROW;
    /* Rows that X does not have are the last one again: they make columns of sums that nobody
     * reads. */
    unsigned x = opaque(shared_address(own + min(lane % 8, p.m - 1) * X_ROW + lane / 8 * 8));
    float sums[4] = {};
    for (int first = RUN * warp; first < w.n_steps; first += RUN * WARPS) {
        run now;
        load_x(own, p, first);
        load_run(now, w, segment, group, first, first_row + lane % 16, map);
        wait<0>();
        __syncwarp(); /* X is there */
        add_run(sums, now, x, entry);
        __syncwarp(); /* and has been read */
    }
    float *to = &sums_of[warp][lane % 4 * 2][lane / 4];
    to[0] = sums[0], to[SUMS_ROW] = sums[1];
    to[8] = sums[2], to[SUMS_ROW + 8] = sums[3];
    __syncthreads();
    int i = threadIdx.x / 16, row = threadIdx.x % 16;
    if (i >= p.m || first_row + row >= segment.rows)
        return;
    float sum = 0;
#pragma unroll
    for (int j = 0; j < WARPS; j++)
        sum += sums_of[j][i][row];
    int column = segment.first_row + first_row + row;
    __nv_bfloat16 *y = (__nv_bfloat16 *)p.y + (size_t)i * p.rows + column;
    if (p.bias)
        sum += p.bias[column];
    if (p.add)
        sum += to_float(*y);
    *y = __float2bfloat16_rn(sum);
}
