/* dX = dY W with a bfloat16 weight on a GPU: see matmul.h, product.cuh for the loop and
 * product_bwd.cuh for its end. k runs along W's rows: a step is 64 of them, as many columns wide as
 * the CTA's tile, and ldmatrix.trans makes B fragments of them. */
#include "kernels/product_bwd.cuh"

/* Shared memory of W: a row is the tile's columns; vector c of row r lies at place c ^ (r % 8), so
 * that the 8 rows of an ldmatrix, and the vectors that 8 lanes copy, lie in different banks. */
template <typename S, bool VECTORS> struct dense_transposed {
    static const int row_bytes = 2 * S::columns, row_vectors = S::columns / 8;
    static const int stage_bytes = K_STEP * row_bytes, more_bytes = 0;
    static const int PITCH = S::threads / row_vectors; /* a thread copies of every PITCHth row */
    static_assert(PITCH % 8 == 0, "r % 8 is the same in all of them");

    const matmul_bwd &w;
    const product_adapters &adapters;
    unsigned char *stages;
    const __nv_bfloat16 *from; /* the thread's vector, of step 0 */
    int rows, columns;         /* that there are from there on */
    unsigned to;
    unsigned place; /* of this lane's row of an ldmatrix: 16 rows by two vectors */
    unsigned now;   /* the same in a step's stage */

    __device__ __forceinline__ dense_transposed(const matmul_bwd &all, const product_place &at,
                                                unsigned char *first_stage)
        : w(all), adapters(all.adapters), stages(first_stage)
    {
        int row = threadIdx.x / row_vectors, vector = threadIdx.x % row_vectors;
        from = (const __nv_bfloat16 *)w.data + (size_t)row * w.columns + at.column + 8 * vector;
        columns = w.columns - at.column - 8 * vector;
        rows = columns > 0 ? w.rows - row : 0;
        to = opaque(row * row_bytes + 16 * (vector ^ row % 8));
        vector = at.warp_column / 8 + at.lane / 16;
        place = opaque(shared_address(first_stage) + at.lane % 16 * row_bytes +
                       16 * (vector ^ at.lane % 8));
    }

    __device__ __forceinline__ int width() const
    {
        return w.columns;
    }

    __device__ __forceinline__ int column_of_y(int column) const
    {
        return column < w.columns ? column : -1;
    }

    __device__ __forceinline__ void load(int step, int stage)
    {
        unsigned row_of_w = w.columns;
        const __nv_bfloat16 *at = from + (size_t)(unsigned)step * (K_STEP * row_of_w);
        unsigned char *own = stages + stage * stage_bytes + to;
        int left = rows - K_STEP * step;
#pragma unroll
        for (int i = 0; i < K_STEP; i += PITCH, at += (size_t)PITCH * row_of_w) {
            if constexpr (VECTORS) {
                copy16(own + i * row_bytes, at, i < left);
            } else {
                vector_of<__nv_bfloat16> values;
                for (int e = 0; e < 8; e++)
                    values.of[e] = i < left && e < columns ? at[e] : __float2bfloat16_rn(0.0f);
                vector_store((__nv_bfloat16 *)(own + i * row_bytes), values);
            }
        }
    }

    __device__ __forceinline__ void start(int, int stage)
    {
        now = place + stage * stage_bytes;
    }

    __device__ __forceinline__ void fragments(unsigned (*b)[4], int s) const
    {
#pragma unroll
        for (int t = 0; t < S::warp_columns / 16; t++)
            load_matrices<true>(b[t], (now ^ 32 * t) + 16 * s * row_bytes);
    }
};

template <typename S, bool VECTORS>
static __device__ __forceinline__ void dense_product_bwd(const product &p, const matmul_bwd &all)
{
    typedef dense_transposed<S, VECTORS> weight;
    extern __shared__ __align__(128) unsigned char shared[];
    product_place at = product_place_of<S>(p, all.columns);
    weight of(all, at, shared + S::stages * S::x_bytes);
    product_tile<S, weight, VECTORS, adapters_epilogue<S, VECTORS>>(p, of, at, shared);
}

/* Shapes: rows of dY, columns of a warp, warps, stages, CTAs side by side; matmul_bwd.c's table has
 * the same. */
#define MATMUL_BWD(name, ROWS, WARP_COLUMNS, WARPS, STAGES, SIDE, VECTORS)                         \
    extern "C" __global__ void __launch_bounds__(32 * WARPS, SIDE)                                 \
        matmul_bwd_##name(const __grid_constant__ product p,                                       \
                          const __grid_constant__ matmul_bwd all)                                  \
    {                                                                                              \
        dense_product_bwd<product_shape<ROWS, WARP_COLUMNS, 1, WARPS, STAGES>, VECTORS>(p, all);   \
    }
MATMUL_BWD(128x256, 128, 32, 8, 2, 1, true)
MATMUL_BWD(96x256, 96, 32, 8, 2, 1, true)
MATMUL_BWD(64x128, 64, 32, 4, 2, 3, true)
MATMUL_BWD(32x64, 32, 16, 4, 4, 5, true)
MATMUL_BWD(any, 32, 16, 4, 2, 4, false)
