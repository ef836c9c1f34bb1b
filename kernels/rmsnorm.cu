/* RMSNorm on a GPU: a block a row. See rmsnorm.h.
 *
 * The row is read twice, the second time from L1: four elements a thread and load where rows are
 * whole pieces of four, so that a warp's loads of the row and of the float32 weight both lie side by
 * side; one element at a time elsewhere.
 * Threads keep partial sums of their own elements, warps add them by shuffles, and each warp adds
 * the warps' sums in the same order. All of that depends on d only, not on the number of rows. */
#include "kernels/cuda.cuh"

#define WARPS_LARGEST 16

/* The sum over all threads of the block, the same in each. */
static __device__ float block_sum(float value)
{
    __shared__ float of_warp[WARPS_LARGEST];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n_warps = blockDim.x / 32;
    value = warp_sum(value);
    if (lane == 0)
        of_warp[warp] = value;
    __syncthreads();
    return warp_sum(lane < n_warps ? of_warp[lane] : 0.0f);
}

/* y may be x: a thread writes only elements that it alone reads. */
template <int W, typename T>
static __device__ void rmsnorm_pieces(T *y, const T *x, const float *weight, int d, float eps)
{
    float sum = 0;
    for (int j = threadIdx.x * W; j < d; j += blockDim.x * W) {
        floats<W> v = load_floats<W>(x + j);
        for (int i = 0; i < W; i++)
            sum = fmaf(v.of[i], v.of[i], sum);
    }
    float scale = 1.0f / sqrtf(block_sum(sum) / (float)d + eps);
    for (int j = threadIdx.x * W; j < d; j += blockDim.x * W) {
        floats<W> v = load_floats<W>(x + j), w = load_floats<W>(weight + j);
        for (int i = 0; i < W; i++)
            v.of[i] = v.of[i] * scale * w.of[i];
        store_floats(y + j, v);
    }
}

template <typename T>
static __device__ void rmsnorm_row(T *y, const T *x, const float *weight, int d, float eps)
{
    y += (size_t)blockIdx.x * d;
    x += (size_t)blockIdx.x * d;
    if (d % 4 == 0)
        rmsnorm_pieces<4>(y, x, weight, d, eps);
    else
        rmsnorm_pieces<1>(y, x, weight, d, eps);
}

extern "C" __global__ void __launch_bounds__(32 * WARPS_LARGEST)
    rmsnorm_bf16(__nv_bfloat16 *y, const __nv_bfloat16 *x, const float *weight, int d, float eps)
{
    rmsnorm_row(y, x, weight, d, eps);
}

extern "C" __global__ void __launch_bounds__(32 * WARPS_LARGEST)
    rmsnorm_f32(float *y, const float *x, const float *weight, int d, float eps)
{
    rmsnorm_row(y, x, weight, d, eps);
}

/* ---- the gradient ---------------------------------------------------------------------------

 * A thread keeps its first KEPT pieces of x, of dy * weight and of what dx held in registers between
 * the sums and the result, so that each byte of them is read once, all at the same time; rows wider
 * than that (4096 of bfloat16, 4096 of float32) are read again behind it, from L1. Both sums go
 * through one barrier. */
#define BWD_WARPS_LARGEST 8

struct row_sums {
    float squares, products;
};

static __device__ row_sums block_sums(row_sums value)
{
    __shared__ float squares[BWD_WARPS_LARGEST], products[BWD_WARPS_LARGEST];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n_warps = blockDim.x / 32;
    value.squares = warp_sum(value.squares);
    value.products = warp_sum(value.products);
    if (lane == 0)
        squares[warp] = value.squares, products[warp] = value.products;
    __syncthreads();
    return {warp_sum(lane < n_warps ? squares[lane] : 0.0f),
            warp_sum(lane < n_warps ? products[lane] : 0.0f)};
}

template <int W> struct bwd_piece {
    floats<W> x, g, before; /* g: dy * weight; before: what dx held */
};

template <int W, typename T>
static __device__ bwd_piece<W> load_piece(const T *dx, const T *dy, const T *x, bool add)
{
    bwd_piece<W> piece = {load_floats<W>(x), load_floats<W>(dy), {}};
    if (add)
        piece.before = load_floats<W>(dx);
    return piece;
}

template <int W> static __device__ void weigh(bwd_piece<W> &piece, const float *weight)
{
    floats<W> w = load_floats<W>(weight);
    for (int i = 0; i < W; i++)
        piece.g.of[i] *= w.of[i];
}

template <int W> static __device__ void sum_up(row_sums &sums, const bwd_piece<W> &piece)
{
    for (int i = 0; i < W; i++) {
        sums.squares = fmaf(piece.x.of[i], piece.x.of[i], sums.squares);
        sums.products = fmaf(piece.g.of[i], piece.x.of[i], sums.products);
    }
}

template <int W, typename T>
static __device__ void store_result(T *dx, const bwd_piece<W> &piece, float scale, float pull)
{
    floats<W> v;
    for (int i = 0; i < W; i++)
        v.of[i] = piece.before.of[i] + (piece.g.of[i] * scale - piece.x.of[i] * pull);
    store_floats(dx, v);
}

/* dx may be dy: a thread writes only elements that it alone reads. */
template <int W, int KEPT, typename T>
static __device__ void rmsnorm_bwd_pieces(T *dx, const T *dy, const T *x, const float *weight,
                                          int d, float eps, bool add)
{
    bwd_piece<W> kept[KEPT];
    row_sums sums = {};
    int first = threadIdx.x * W, step = blockDim.x * W, behind = first + KEPT * step;
#pragma unroll
    for (int k = 0; k < KEPT; k++)
        if (first + k * step < d)
            kept[k] = load_piece<W>(dx + first + k * step, dy + first + k * step,
                                    x + first + k * step, add);
#pragma unroll
    for (int k = 0; k < KEPT; k++)
        if (first + k * step < d) {
            weigh(kept[k], weight + first + k * step);
            sum_up(sums, kept[k]);
        }
    for (int j = behind; j < d; j += step) {
        bwd_piece<W> piece = load_piece<W>(dx + j, dy + j, x + j, false);
        weigh(piece, weight + j);
        sum_up(sums, piece);
    }
    sums = block_sums(sums);
    float scale = 1.0f / sqrtf(sums.squares / (float)d + eps);
    float pull = scale * (scale * scale * (sums.products / (float)d));
#pragma unroll
    for (int k = 0; k < KEPT; k++)
        if (first + k * step < d)
            store_result(dx + first + k * step, kept[k], scale, pull);
    for (int j = behind; j < d; j += step) {
        bwd_piece<W> piece = load_piece<W>(dx + j, dy + j, x + j, add);
        weigh(piece, weight + j);
        store_result(dx + j, piece, scale, pull);
    }
}

/* W: of 16 bytes. */
template <int W, typename T>
static __device__ void rmsnorm_bwd_row(T *dx, const T *dy, const T *x, const float *weight, int d,
                                       float eps, bool add)
{
    size_t row = (size_t)blockIdx.x * d;
    if (d % W == 0)
        rmsnorm_bwd_pieces<W, 16 / W>(dx + row, dy + row, x + row, weight, d, eps, add);
    else
        rmsnorm_bwd_pieces<1, 4>(dx + row, dy + row, x + row, weight, d, eps, add);
}

extern "C" __global__ void __launch_bounds__(32 * BWD_WARPS_LARGEST)
    rmsnorm_bwd_bf16(__nv_bfloat16 *dx, const __nv_bfloat16 *dy, const __nv_bfloat16 *x,
                     const float *weight, int d, float eps, int add)
{
    rmsnorm_bwd_row<8>(dx, dy, x, weight, d, eps, add);
}

extern "C" __global__ void __launch_bounds__(32 * BWD_WARPS_LARGEST)
    rmsnorm_bwd_f32(float *dx, const float *dy, const float *x, const float *weight, int d,
                    float eps, int add)
{
    rmsnorm_bwd_row<4>(dx, dy, x, weight, d, eps, add);
}
