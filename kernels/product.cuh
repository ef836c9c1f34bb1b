/* Y = X W' on tensor cores, for any kind of weight: the tiles, the copies of X, the loop over k,
 * the epilogue. What a weight has to do itself is a class (nf4_matmul.cu, matmul.cu).
 *
 * A CTA makes a tile of Y. Its warps stand side by side along Y's columns (several high only where
 * that is said), so that each weight is fetched into the registers of one warp:
 *
 *            warp 0   warp 1   warp 2   warp 3
 *   rows   +--------+--------+--------+--------+      A warp's part: m16 tiles of X from shared
 *   of X   |        |        |        |        |      memory (A), n8 tiles of W (B). D[i][j] is
 *          |        |        |        |        |      mma.m16n8k16's, 16 x 8.
 *          +--------+--------+--------+--------+
 *            columns of Y = rows of W
 *
 * The loop takes 64 columns of X a step. X comes by cp.async, `stages` steps deep; one barrier a
 * step says both that the step's copies are there and that nobody reads the stage which the next
 * copies overwrite. An element's sum is one chain of mma in ascending k, 16 at a time, starting
 * from 0, with an adapter's ranks behind: it does not depend on the tile's shape, so shapes may be
 * picked by m.
 *
 * Shared memory of X: a row is 64 elements, 128 bytes, 8 vectors of 16; vector c of row r lies at
 * place c ^ (r % 8). So the 8 rows of an ldmatrix, and the 8 vectors that 8 lanes copy, each lie in
 * different banks. */
#ifndef MIDASHI_KERNELS_PRODUCT_CUH
#define MIDASHI_KERNELS_PRODUCT_CUH

#include "kernels/cuda.cuh"
#include "kernels/product.h"
#include "kernels/tensor.cuh"

#define K_STEP    64
#define ROW_BYTES (2 * K_STEP) /* of a row of a step in shared memory */

template <int ROWS, int WARP_COLUMNS, int WARPS_HIGH, int WARPS_WIDE, int STAGES>
struct product_shape {
    static const int rows = ROWS, columns = WARP_COLUMNS * WARPS_WIDE;
    static const int warp_rows = ROWS / WARPS_HIGH, warp_columns = WARP_COLUMNS;
    static const int warps_wide = WARPS_WIDE, threads = 32 * WARPS_HIGH * WARPS_WIDE;
    static const int stages = STAGES, x_bytes = ROWS * ROW_BYTES;
};

/* Where a CTA and a warp stand. */
struct product_place {
    int row, column; /* the CTA's first, of Y, in tiles' columns */
    int warp_row, warp_column;
    int lane;
};

template <typename S>
static __device__ __forceinline__ product_place product_place_of(const product &p, int width)
{
    int across = (width + S::columns - 1) / S::columns, down = (p.m + S::rows - 1) / S::rows;
    int first = blockIdx.x / (p.tall * across) * p.tall;
    int height = min(p.tall, down - first), within = blockIdx.x - first * across;
    /* Said by a shuffle, so that the compiler knows it to be one number for a warp. */
    int warp = __shfl_sync(0xFFFFFFFF, threadIdx.x / 32, 0);
    product_place at;
    at.row = (first + within % height) * S::rows;
    at.column = within / height * S::columns;
    at.warp_row = warp / S::warps_wide * S::warp_rows;
    at.warp_column = warp % S::warps_wide * S::warp_columns;
    at.lane = threadIdx.x % 32;
    return at;
}

/* Copies of N rows of 64 elements of a row-major matrix to shared memory, step by step along its
 * columns; zeros where it has none. A thread copies a vector of 16 bytes of every PITCHth row.
 * VECTORS: rows begin at multiples of 16 bytes. What does not change from step to step is kept,
 * since the loop has no slots to spare: the address of the first row's vector, of step 0. */
template <int N, int THREADS, bool VECTORS> struct row_copies {
    static const int PITCH = THREADS / 8;

    const __nv_bfloat16 *from;
    int rows, columns, stride; /* that there are from there on; from row to row */
    int place;                 /* in shared memory */

    __device__ __forceinline__ row_copies(const __nv_bfloat16 *matrix, int row0, int n_rows,
                                          int n_columns)
    {
        int vector = threadIdx.x % 8, row = threadIdx.x / 8;
        from = matrix + (size_t)(row0 + row) * n_columns + 8 * vector;
        rows = n_rows - row0 - row;
        columns = n_columns - 8 * vector;
        stride = n_columns;
        place = opaque(row * ROW_BYTES + 16 * (vector ^ row % 8));
    }

    __device__ __forceinline__ void copy(unsigned char *to, int step) const
    {
        const __nv_bfloat16 *at = from + (size_t)step * K_STEP;
        int left = columns - step * K_STEP; /* columns */
        int there = left > 0 ? rows : 0;
#pragma unroll
        for (int i = 0; i < N; i += PITCH, at += (size_t)PITCH * stride) {
            unsigned char *row = to + place + i * ROW_BYTES;
            if constexpr (VECTORS) {
                copy16(row, at, i < there);
            } else {
                vector_of<__nv_bfloat16> values;
                for (int e = 0; e < 8; e++)
                    values.of[e] = i < there && e < left ? at[e] : __float2bfloat16_rn(0.0f);
                vector_store((__nv_bfloat16 *)row, values);
            }
        }
    }
};

/* ---- the epilogue --------------------------------------------------------------------------- */

/* A warp's sums go to Y 16 rows at a time through its own piece of shared memory, so that a lane
 * gets 8 columns in a row: bias and old values are added in float32, there is one rounding, and Y
 * moves in vectors of 16 bytes. The rows there are 8 floats longer than the columns, which puts the
 * 4 rows that half a warp writes, 8 floats each, into different banks. */
template <typename S> struct product_epilogue {
    static const int columns = S::warp_columns, stride = columns + 8;
    static const int bytes = 16 * stride * 4;

    static __device__ __forceinline__ void put(float *own, const float (*sums)[4], int lane)
    {
#pragma unroll
        for (int j = 0; j < columns / 8; j++) {
            float *at = own + lane / 4 * stride + 8 * j + lane % 4 * 2;
            *(float2 *)at = make_float2(sums[j][0], sums[j][1]);
            *(float2 *)(at + 8 * stride) = make_float2(sums[j][2], sums[j][3]);
        }
    }

    static __device__ __forceinline__ void by_vectors(const product &p, const float *own, int row0,
                                                      int column0, int lane)
    {
#pragma unroll
        for (int i = 0; i < 16 * columns / 8; i += 32) {
            int row = (i + lane) / (columns / 8), vector = (i + lane) % (columns / 8);
            int column = column0 + 8 * vector;
            if (row0 + row >= p.m || column >= p.rows)
                continue;
            /* Half of the lanes read the upper four floats first: 8 lanes, all banks. */
            int upper = 4 * ((columns == 32 ? row : vector) % 2);
            const float *at = own + row * stride + 8 * vector;
            float4 one = *(const float4 *)(at + upper), other = *(const float4 *)(at + 4 - upper);
            float4 low = upper ? other : one, high = upper ? one : other;
            float sums[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
            if (p.bias) {
                low = *(const float4 *)(p.bias + column);
                high = *(const float4 *)(p.bias + column + 4);
                sums[0] += low.x, sums[1] += low.y, sums[2] += low.z, sums[3] += low.w;
                sums[4] += high.x, sums[5] += high.y, sums[6] += high.z, sums[7] += high.w;
            }
            __nv_bfloat16 *y = (__nv_bfloat16 *)p.y + (size_t)(row0 + row) * p.rows + column;
            if (p.add) {
                vector_of<__nv_bfloat16> old = vector_load(y);
#pragma unroll
                for (int e = 0; e < 8; e++)
                    sums[e] += to_float(old.of[e]);
            }
            *(uint4 *)y = make_uint4(pack(sums[0], sums[1]), pack(sums[2], sums[3]),
                                     pack(sums[4], sums[5]), pack(sums[6], sums[7]));
        }
    }

    template <typename W>
    static __device__ __forceinline__ void by_elements(const product &p, const W &w,
                                                       const float *own, int row0, int column0,
                                                       int lane)
    {
        for (int i = lane; i < 16 * columns; i += 32) {
            int row = i / columns, column = w.column_of_y(column0 + i % columns);
            if (row0 + row >= p.m || column < 0)
                continue;
            float sum = own[row * stride + i % columns];
            __nv_bfloat16 *y = (__nv_bfloat16 *)p.y + (size_t)(row0 + row) * p.rows + column;
            if (p.bias)
                sum += p.bias[column];
            if (p.add)
                sum += to_float(*y);
            *y = __float2bfloat16_rn(sum);
        }
    }

    template <typename W>
    static __device__ __forceinline__ void store(const product &p, const W &w,
                                                 const float (*sums)[columns / 8][4],
                                                 unsigned char *shared, const product_place &at)
    {
        float *own = (float *)(shared + threadIdx.x / 32 * bytes);
        int column0 = at.column + at.warp_column;
#pragma unroll
        for (int i = 0; i < S::warp_rows / 16; i++) {
            int row0 = at.row + at.warp_row + 16 * i;
            if (row0 < p.m) {
                put(own, sums[i], at.lane);
                __syncwarp();
                if (p.vectors)
                    by_vectors(p, own, row0, column0, at.lane);
                else
                    by_elements(p, w, own, row0, column0, at.lane);
                __syncwarp();
            }
        }
    }
};

/* Adds s_p · b_copy' of each part to a warp's sums: a few more k16 steps, over the ranks, behind
 * those of the product, in the same chain. Operands come from memory, 8 bytes a lane: ranks 4 q to
 * 4 q + 3 are its k 2 q, 2 q + 1, 2 q + 8, 2 q + 9. Rows that s does not have are the last one
 * again, and nobody reads their sums. An n8 tile that has none of a part's columns is left out; of
 * one that has some, the others get 0 added. */
template <typename S, typename W>
static __device__ __forceinline__ void product_add_low_rank(const product &p, const W &w,
                                                            float (*sums)[S::warp_columns / 8][4],
                                                            const product_place &at)
{
    const int m16 = S::warp_rows / 16, n8 = S::warp_columns / 8;
    const lora_parts &parts = p.low_rank.parts;
    int g = at.lane / 4, q = at.lane % 4, row0 = at.row + at.warp_row + g;
#pragma unroll 1
    for (int i = 0; i < parts.n_parts; i++) {
        const lora_part &part = parts.parts[i];
        if (part.padded == 0)
            continue;
        unsigned row_of_b[n8], some = 0; /* the lane's of each tile; tiles that have columns */
#pragma unroll
        for (int j = 0; j < n8; j++) {
            int column = w.column_of_y(at.column + at.warp_column + 8 * j + g);
            /* Columns before the part, and -1, are beyond it as unsigned numbers. */
            row_of_b[j] = column - part.first_row;
            bool inside = column >= 0 && row_of_b[j] < part.rows;
            row_of_b[j] = inside ? row_of_b[j] : 0x80000000;
            some |= __any_sync(0xFFFFFFFF, inside) << j;
        }
        if (some == 0)
            continue;
        for (int k = 0; k < part.padded; k += 16) {
            const __nv_bfloat16 *b = (const __nv_bfloat16 *)part.b_copy + k + 4 * q;
            const __nv_bfloat16 *s =
                (const __nv_bfloat16 *)p.low_rank.s + part.first_rank + k + 4 * q;
            uint2 of_b[n8];
#pragma unroll
            for (int j = 0; j < n8; j++)
                of_b[j] = (int)row_of_b[j] >= 0
                              ? *(const uint2 *)(b + (size_t)row_of_b[j] * part.padded)
                              : make_uint2(0, 0);
#pragma unroll
            for (int r = 0; r < m16; r++) {
                int row = row0 + 16 * r;
                uint2 low = *(const uint2 *)(s + (size_t)min(row, p.m - 1) * parts.padded);
                uint2 high = *(const uint2 *)(s + (size_t)min(row + 8, p.m - 1) * parts.padded);
                unsigned a[4] = {low.x, high.x, low.y, high.y};
#pragma unroll
                for (int j = 0; j < n8; j++)
                    if (some >> j & 1)
                        mma(sums[r][j], a, of_b[j].x, of_b[j].y);
            }
        }
    }
}

/* What stores y: adapters' terms first. */
template <typename S> struct product_forward_epilogue {
    template <typename W>
    static __device__ __forceinline__ void store(const product &p, const W &w,
                                                 float (*sums)[S::warp_columns / 8][4],
                                                 unsigned char *shared, const product_place &at)
    {
        product_add_low_rank<S>(p, w, sums, at);
        product_epilogue<S>::store(p, w, sums, shared, at);
    }
};

/* ---- the loop ------------------------------------------------------------------------------- */

/* A weight W of a shape S has
 *   stage_bytes, more_bytes      of shared memory: for each stage, and once
 *   W(p, at, stages, more)       stages: the first of its stages
 *   width()                      its rows with those that fill up tiles
 *   load(step, stage)            queues copies to a stage
 *   start(step, stage)           a step's copies are there
 *   fragments(b, s)              b[t]: b0 and b1 of the warp's n8 tiles 2 t and 2 t + 1, k16 step s
 *   column_of_y(column)          -1: it fills up a tile
 * E: what stores a warp's sums. */
template <typename S, typename W, bool VECTORS, typename E = product_forward_epilogue<S>>
static __device__ __forceinline__ void product_tile(const product &p, W &w,
                                                    const product_place &at, unsigned char *shared)
{
    const int m16 = S::warp_rows / 16, n8 = S::warp_columns / 8;
    row_copies<S::rows, S::threads, VECTORS> x((const __nv_bfloat16 *)p.x, at.row, p.m, p.columns);
    int n_steps = (p.columns + K_STEP - 1) / K_STEP;
    bool idle = at.column + at.warp_column >= w.width(); /* it only copies X */
    float sums[m16][n8][4] = {};
    /* This lane's row of an ldmatrix, of 16 rows by 2 vectors. Stages are multiples of 128 bytes,
     * so that 32 * s can be put in after they are added. */
    unsigned place = opaque(shared_address(shared) + (at.warp_row + at.lane % 16) * ROW_BYTES +
                            16 * (at.lane / 16 ^ at.lane % 8));
#pragma unroll
    for (int step = 0; step < S::stages - 1; step++) {
        if (step < n_steps) {
            x.copy(shared + step * S::x_bytes, step);
            w.load(step, step);
        }
        commit();
    }
    int stage = 0, next = S::stages - 1;
    for (int step = 0; step < n_steps; step++) {
        wait<S::stages - 2>();
        __syncthreads();
        int ahead = step + S::stages - 1;
        if (ahead < n_steps) {
            x.copy(shared + next * S::x_bytes, ahead);
            w.load(ahead, next);
        }
        commit();
        if (!idle) {
            unsigned from = place + stage * S::x_bytes;
            /* The next k16 step's weights are made while this one's products run. */
            unsigned b[2][n8 / 2][4];
            w.start(step, stage);
            w.fragments(b[0], 0);
#pragma unroll
            for (int s = 0; s < K_STEP / 16; s++) {
                if (s + 1 < K_STEP / 16)
                    w.fragments(b[(s + 1) % 2], s + 1);
#pragma unroll
                for (int i = 0; i < m16; i++) {
                    unsigned a[4];
                    load_matrices(a, (from ^ 32 * s) + 16 * ROW_BYTES * i);
#pragma unroll
                    for (int j = 0; j < n8; j++)
                        mma(sums[i][j], a, b[s % 2][j / 2][j % 2 * 2],
                            b[s % 2][j / 2][j % 2 * 2 + 1]);
                }
            }
        }
        stage = stage + 1 == S::stages ? 0 : stage + 1;
        next = next + 1 == S::stages ? 0 : next + 1;
    }
    __syncthreads(); /* nobody reads the stages any more */
    if (!idle)
        E::store(p, w, sums, shared, at);
}

#endif
