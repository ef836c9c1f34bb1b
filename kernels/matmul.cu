/* Matrix product with a bfloat16 weight on a GPU: see matmul.h, and product.cuh for the tiles and
 * the loop. W goes the way of X: copied row by row into a stage, read by ldmatrix. */
#include "kernels/product.cuh"

struct dense {
    const __nv_bfloat16 *data; /* (rows, columns) */
    int rows, columns;
};

template <typename S, bool VECTORS> struct dense_weight {
    static const int stage_bytes = S::columns * ROW_BYTES, more_bytes = 0;

    const dense &w;
    unsigned char *stages;
    row_copies<S::columns, S::threads, VECTORS> copies;
    unsigned place; /* of this lane's row of an ldmatrix: two n8 tiles by two vectors */
    unsigned from;  /* the same in a step's stage */

    __device__ __forceinline__ dense_weight(const dense &weight, const product_place &at,
                                            unsigned char *first_stage)
        : w(weight), stages(first_stage), copies(w.data, at.column, w.rows, w.columns)
    {
        int row = at.warp_column + at.lane % 8 + at.lane / 16 * 8;
        place = opaque(shared_address(first_stage) + row * ROW_BYTES +
                       16 * (at.lane / 8 % 2 ^ at.lane % 8));
    }

    __device__ __forceinline__ int width() const
    {
        return w.rows;
    }

    __device__ __forceinline__ void load(int step, int stage)
    {
        copies.copy(stages + stage * stage_bytes, step);
    }

    __device__ __forceinline__ void start(int, int stage)
    {
        from = place + stage * stage_bytes;
    }

    __device__ __forceinline__ void fragments(unsigned (*b)[4], int s) const
    {
#pragma unroll
        for (int t = 0; t < S::warp_columns / 16; t++)
            load_matrices(b[t], (from ^ 32 * s) + 16 * ROW_BYTES * t);
    }

    __device__ __forceinline__ int column_of_y(int column) const
    {
        return column < w.rows ? column : -1;
    }
};

template <typename S, bool VECTORS>
static __device__ __forceinline__ void dense_product(const product &p, const dense &w)
{
    typedef dense_weight<S, VECTORS> weight;
    extern __shared__ __align__(128) unsigned char shared[];
    product_place at = product_place_of<S>(p, w.rows);
    weight of(w, at, shared + S::stages * S::x_bytes);
    product_tile<S, weight, VECTORS>(p, of, at, shared);
}

/* Shapes: rows of X, columns of a warp, warps high and wide, stages, CTAs side by side; matmul.c's
 * table has the same. */
#define MATMUL(name, ROWS, WARP_COLUMNS, HIGH, WIDE, STAGES, SIDE, VECTORS)                        \
    extern "C" __global__ void __launch_bounds__(32 * HIGH * WIDE, SIDE)                           \
        matmul_##name(const __grid_constant__ product p, const __grid_constant__ dense w)          \
    {                                                                                              \
        dense_product<product_shape<ROWS, WARP_COLUMNS, HIGH, WIDE, STAGES>, VECTORS>(p, w);       \
    }
MATMUL(128x256, 128, 32, 1, 8, 2, 1, true)
MATMUL(128x128, 128, 32, 2, 4, 3, 2, true)
MATMUL(96x256, 96, 32, 1, 8, 2, 1, true)
MATMUL(64x128, 64, 32, 1, 4, 2, 3, true)
MATMUL(32x64, 32, 16, 1, 4, 4, 5, true)
MATMUL(16x64, 16, 16, 1, 4, 4, 6, true)
MATMUL(any, 32, 16, 1, 4, 2, 4, false)
