/* Adapters on a GPU: the working copies of their matrices, and the products into the ranks, whose
 * results s and ds other kernels read. See lora.h and lora_parts.h.
 *
 * s and ds are one product over two operands: 8 or 16 rows of activations and up to 32 ranks of a
 * part make a block. What is summed over, the columns of x or dy, is shared out among 16 warps, 32
 * columns at a time in turn; their sums are added in the order of the warps. So an element's order
 * of summation depends on the number of columns only. Where there are few rows, drawing the masks
 * is most of the work, and blocks of 8 rows share it out among more multiprocessors; of 16 they
 * read the matrix half as often.
 *
 * Everything goes from memory straight into the fragments of mma.m16n8k16, whose A are 16 ranks and
 * whose B are 8 rows. Which columns a k of it
 * stands for is free as long as both operands agree: of 32 columns lane q = lane % 4 owns 8 q to
 * 8 q + 7, one load of 16 bytes and one counter of the dropout's Philox; the first 4 of them are
 * its k of a first mma (2 q, 2 q + 1, 2 q + 8, 2 q + 9), the others of a second. */
#include "kernels/cuda.cuh"
#include "kernels/dropout.cuh"
#include "kernels/lora_parts.h"
#include "kernels/tensor.cuh"

#define WARPS    16
#define RANKS    32 /* a block's, at most */
#define COLUMNS  32 /* of a warp's turn */
#define SUMS_ROW (RANKS + 4) /* a store's 4 rows, every other one, lie 8 banks apart */

typedef vector_of<__nv_bfloat16> eight;

/* ---- the products into the ranks ------------------------------------------------------------- */

/* One part as the product has it: to (m, ranks) = scale * drop(x) (m, columns) times the transpose
 * of w (ranks, columns). */
struct lora_product {
    __nv_bfloat16 *to;
    const __nv_bfloat16 *x, *w;
    int to_stride, x_stride;
    int m, columns, rank; /* from `rank` on ranks are 0 */
    int tiles;            /* of 16 ranks */
    float scale;
};

/* Elements of a row from `column` on; zeros behind its end. VECTORS: rows begin at multiples of 16
 * bytes, and columns are a multiple of 8. Not FILLED: behind the end stand the row's first elements
 * or zeros, for an operand whose other one has zeros there. */
template <bool VECTORS, bool FILLED>
static __device__ __forceinline__ eight load_eight(const __nv_bfloat16 *row, int column,
                                                   int columns)
{
    eight v;
    if constexpr (VECTORS) {
        bool there = column < columns;
        uint4 bits = *(const uint4 *)(row + (there ? column : 0));
        *(uint4 *)&v = there || !FILLED ? bits : make_uint4(0, 0, 0, 0);
    } else {
#pragma unroll
        for (int e = 0; e < 8; e++)
            v.of[e] = column + e < columns ? row[column + e] : __float2bfloat16_rn(0.0f);
    }
    return v;
}

template <bool VECTORS>
static __device__ __forceinline__ void drop(eight &v, const dropout &of, float scale, int row,
                                            int column, int columns)
{
    dropout_halves halves =
        VECTORS ? dropout_halves(of, dropout_group(of, row, column, columns))
                : dropout_halves_from(of, (uint64_t)(of.first_row + row) * columns + column);
    *(uint4 *)&v = dropout_eight(*(const uint4 *)&v, halves, of.threshold, scale);
}

/* A warp's sums of 8 TILES rows. Rows that x does not have are the last one again, and nobody reads
 * their sums. */
template <int TILES, bool VECTORS>
static __device__ __forceinline__ void multiply(float (*sums)[TILES][4], const lora_product &p,
                                                const dropout &dropout, int row0)
{
    int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
    float drop_scale = dropout_scale_of(dropout.threshold);
    const __nv_bfloat16 *rows[TILES], *w = p.w + (size_t)g * p.columns;
#pragma unroll
    for (int t = 0; t < TILES; t++)
        rows[t] = p.x + (size_t)min(row0 + 8 * t + g, p.m - 1) * p.x_stride;
#pragma unroll 2
    for (int first = COLUMNS * warp; first < p.columns; first += COLUMNS * WARPS) {
        int column = first + 8 * q;
        eight x[TILES], ranks[RANKS / 16][2];
#pragma unroll
        for (int t = 0; t < TILES; t++)
            x[t] = load_eight<VECTORS, true>(rows[t], column, p.columns);
#pragma unroll
        for (int i = 0; i < RANKS / 16; i++)
#pragma unroll
            for (int h = 0; h < 2; h++)
                if (i < p.tiles)
                    ranks[i][h] = load_eight<VECTORS, false>(
                        w + (size_t)(16 * i + 8 * h) * p.columns, column, p.columns);
#pragma unroll
        for (int t = 0; t < TILES; t++)
            if (dropout.threshold)
                drop<VECTORS>(x[t], dropout, drop_scale, row0 + 8 * t + g, column, p.columns);
#pragma unroll
        for (int i = 0; i < RANKS / 16; i++) {
            const unsigned *low = (const unsigned *)&ranks[i][0];
            const unsigned *high = (const unsigned *)&ranks[i][1];
            if (i >= p.tiles)
                break;
#pragma unroll
            for (int k = 0; k < 4; k += 2) {
                unsigned a[4] = {low[k], high[k], low[k + 1], high[k + 1]};
#pragma unroll
                for (int t = 0; t < TILES; t++)
                    mma(sums[i][t], a, ((const unsigned *)&x[t])[k],
                        ((const unsigned *)&x[t])[k + 1]);
            }
        }
    }
}

template <int TILES, bool VECTORS>
static __device__ __forceinline__ void lora_multiply(const lora_product &p, const dropout &dropout)
{
    const int n_rows = 8 * TILES;
    __shared__ float sums_of[WARPS][n_rows][SUMS_ROW];
    int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
    int row0 = n_rows * blockIdx.x;
    float sums[RANKS / 16][TILES][4] = {};
    multiply<TILES, VECTORS>(sums, p, dropout, row0);
#pragma unroll
    for (int i = 0; i < RANKS / 16; i++)
#pragma unroll
        for (int t = 0; t < TILES; t++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                sums_of[warp][8 * t + 2 * q + e % 2][16 * i + g + e / 2 * 8] = sums[i][t][e];
    __syncthreads();
    /* Two ranks of a row a thread. */
    int row = threadIdx.x / (RANKS / 2), rank = threadIdx.x % (RANKS / 2) * 2;
    if (row >= n_rows || row0 + row >= p.m || rank >= 16 * p.tiles)
        return;
    float2 sum = make_float2(0, 0);
#pragma unroll
    for (int j = 0; j < WARPS; j++) {
        float2 one = *(const float2 *)&sums_of[j][row][rank];
        sum.x += one.x, sum.y += one.y;
    }
    sum.x = rank < p.rank ? sum.x * p.scale : 0;
    sum.y = rank + 1 < p.rank ? sum.y * p.scale : 0;
    *(unsigned *)(p.to + (size_t)(row0 + row) * p.to_stride + rank) = pack(sum.x, sum.y);
}

/* Which part's ranks, and from which on, a block makes: those of all parts in turn. */
struct lora_ranks {
    int part, first;

    __device__ __forceinline__ lora_ranks(const lora_parts &parts) : part(0), first(0)
    {
        int chunk = blockIdx.y;
        for (int n; chunk >= (n = (parts.parts[part].padded + RANKS - 1) / RANKS); part++)
            chunk -= n;
        first = RANKS * chunk;
    }
};

static __device__ __forceinline__ lora_product product_of(void *to, const lora_parts &parts,
                                                          const lora_ranks &ranks, int m)
{
    const lora_part &part = parts.parts[ranks.part];
    lora_product p;
    p.to = (__nv_bfloat16 *)to + part.first_rank + ranks.first;
    p.to_stride = parts.padded;
    p.m = m;
    p.rank = part.rank - ranks.first;
    p.tiles = min(RANKS, part.padded - ranks.first) / 16;
    p.scale = part.scale;
    return p;
}

template <int TILES, bool VECTORS>
static __device__ __forceinline__ void lora_s(void *s, const void *x, int x_stride,
                                              const lora_parts &parts, dropout dropout, int m)
{
    lora_ranks ranks(parts);
    const lora_part &part = parts.parts[ranks.part];
    lora_product p = product_of(s, parts, ranks, m);
    p.x = (const __nv_bfloat16 *)x;
    p.x_stride = x_stride;
    p.columns = parts.columns;
    p.w = (const __nv_bfloat16 *)part.a_copy + (size_t)ranks.first * p.columns;
    dropout.stream = part.stream;
    lora_multiply<TILES, VECTORS>(p, dropout);
}

template <int TILES, bool VECTORS>
static __device__ __forceinline__ void lora_ds(void *ds, const void *dy, const lora_parts &parts,
                                               int m)
{
    lora_ranks ranks(parts);
    const lora_part &part = parts.parts[ranks.part];
    lora_product p = product_of(ds, parts, ranks, m);
    p.x = (const __nv_bfloat16 *)dy + part.first_row;
    p.x_stride = parts.rows;
    p.columns = part.rows;
    p.w = (const __nv_bfloat16 *)part.b_transposed + (size_t)ranks.first * p.columns;
    dropout none = {};
    lora_multiply<TILES, VECTORS>(p, none);
}

/* By rows of a block; lora.c chooses. */
#define LORA_S(name, TILES, VECTORS)                                                               \
    extern "C" __global__ void __launch_bounds__(32 * WARPS, TILES == 1 && VECTORS ? 2 : 1)        \
        lora_s_##name(void *s, const void *x, int x_stride,                                        \
                      const __grid_constant__ lora_parts parts,                                    \
                      const __grid_constant__ dropout dropout, int m)                              \
    {                                                                                              \
        lora_s<TILES, VECTORS>(s, x, x_stride, parts, dropout, m);                                 \
    }
LORA_S(8, 1, true)
LORA_S(16, 2, true)
LORA_S(any, 1, false)

#define LORA_DS(name, TILES, VECTORS)                                                              \
    extern "C" __global__ void __launch_bounds__(32 * WARPS, TILES == 1 && VECTORS ? 2 : 1)        \
        lora_ds_##name(void *ds, const void *dy, const __grid_constant__ lora_parts parts, int m)  \
    {                                                                                              \
        lora_ds<TILES, VECTORS>(ds, dy, parts, m);                                                 \
    }
LORA_DS(8, 1, true)
LORA_DS(16, 2, true)
LORA_DS(any, 1, false)

/* ---- working copies -------------------------------------------------------------------------- */

#define COPY_RANKS  32
#define COPY_LENGTH 128

/* A piece of one matrix, up to 32 ranks by 128 of its columns (A) or rows (B), through shared
 * memory, so that it is read and written along rows whichever way those lie. A block a piece, in z
 * the matrices: A and B of each part that a table may have. */
extern "C" __global__ void __launch_bounds__(256) lora_copy(const lora_parts *tables)
{
    __shared__ float piece[COPY_RANKS][COPY_LENGTH + 1];
    const lora_parts &table = tables[blockIdx.z / (2 * LORA_PARTS)];
    int which = blockIdx.z % (2 * LORA_PARTS) / 2;
    bool is_b = blockIdx.z % 2;
    if (which >= table.n_parts)
        return;
    const lora_part &part = table.parts[which];
    int length = is_b ? part.rows : table.columns, rank = part.rank, padded = part.padded;
    int first = COPY_LENGTH * blockIdx.x, first_rank = COPY_RANKS * blockIdx.y;
    if (first >= length || first_rank >= padded)
        return;
    for (int i = threadIdx.x; i < COPY_RANKS * COPY_LENGTH; i += blockDim.x) {
        int r = is_b ? i % COPY_RANKS : i / COPY_LENGTH;
        int l = is_b ? i / COPY_RANKS : i % COPY_LENGTH;
        bool there = first_rank + r < rank && first + l < length;
        size_t at = is_b ? (size_t)(first + l) * rank + first_rank + r
                         : (size_t)(first_rank + r) * length + first + l;
        piece[r][l] = there ? (is_b ? part.b : part.a)[at] : 0;
    }
    __syncthreads();
    __nv_bfloat16 *wide = (__nv_bfloat16 *)(is_b ? part.b_transposed : part.a_copy);
    __nv_bfloat16 *tall = (__nv_bfloat16 *)(is_b ? part.b_copy : part.a_transposed);
    for (int i = threadIdx.x; i < COPY_RANKS * COPY_LENGTH; i += blockDim.x) {
        int r = i / COPY_LENGTH, l = i % COPY_LENGTH;
        if (wide && first_rank + r < padded && first + l < length)
            wide[(size_t)(first_rank + r) * length + first + l] = __float2bfloat16_rn(piece[r][l]);
        r = i % COPY_RANKS, l = i / COPY_RANKS;
        if (tall && first_rank + r < padded && first + l < length)
            tall[(size_t)(first + l) * padded + first_rank + r] = __float2bfloat16_rn(piece[r][l]);
    }
}
