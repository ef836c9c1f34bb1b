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

 * 16 bytes a thread and access where rows are whole vectors. A thread keeps its first KEPT pieces
 * of x, of dy * weight and of what dx held in registers between the sums and the result, so that
 * each byte of them is read once and all are under way together; what a row has beyond 4096 (where
 * it is no vectors, 1024) is read again, from L1. Both sums go through one barrier. */
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

/* As they lie in memory, and half as many registers for bfloat16: widened where they are used. */
template <typename T, int W> struct kept_piece {
    typename bits_of<W * sizeof(T)>::type bits;

    __device__ void load(const T *from)
    {
        bits = *(const decltype(bits) *)from;
    }
    __device__ floats<W> widened() const
    {
        return load_floats<W>((const T *)&bits);
    }
};

template <typename T, int W> struct bwd_piece {
    kept_piece<T, W> x, before; /* before: what dx held */
    floats<W> g;                /* dy * weight */

    __device__ void load(const T *dx, const T *dy, const T *of_x, bool add)
    {
        x.load(of_x);
        g = load_floats<W>(dy);
        if (add)
            before.load(dx);
    }

    __device__ void sum_up(row_sums &sums, const float *weight)
    {
        floats<W> v = x.widened(), w = load_floats<W>(weight);
        for (int i = 0; i < W; i++) {
            g.of[i] *= w.of[i];
            sums.squares = fmaf(v.of[i], v.of[i], sums.squares);
            sums.products = fmaf(g.of[i], v.of[i], sums.products);
        }
    }

    __device__ void store(T *dx, float scale, float pull, bool add) const
    {
        floats<W> v = x.widened(), result = {};
        if (add)
            result = before.widened();
        for (int i = 0; i < W; i++)
            result.of[i] += g.of[i] * scale - v.of[i] * pull;
        store_floats(dx, result);
    }
};

/* dx may be dy: a thread writes only elements that it alone reads. */
template <int W, int KEPT, typename T>
static __device__ void rmsnorm_bwd_pieces(T *dx, const T *dy, const T *x, const float *weight,
                                          int d, float eps, bool add)
{
    bwd_piece<T, W> kept[KEPT], piece;
    row_sums sums = {}, again = {};
    int first = threadIdx.x * W, step = blockDim.x * W, behind = first + KEPT * step;
#pragma unroll
    for (int k = 0, j = first; k < KEPT; k++, j += step)
        if (j < d)
            kept[k].load(dx + j, dy + j, x + j, add);
#pragma unroll
    for (int k = 0, j = first; k < KEPT; k++, j += step)
        if (j < d)
            kept[k].sum_up(sums, weight + j);
    for (int j = behind; j < d; j += step) {
        piece.load(dx + j, dy + j, x + j, false);
        piece.sum_up(sums, weight + j);
    }
    sums = block_sums(sums);
    float scale = 1.0f / sqrtf(sums.squares / (float)d + eps);
    float pull = scale * (scale * scale * (sums.products / (float)d));
#pragma unroll
    for (int k = 0, j = first; k < KEPT; k++, j += step)
        if (j < d)
            kept[k].store(dx + j, scale, pull, add);
    for (int j = behind; j < d; j += step) {
        piece.load(dx + j, dy + j, x + j, add);
        piece.sum_up(again, weight + j);
        piece.store(dx + j, scale, pull, add);
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

extern "C" __global__ void __launch_bounds__(32 * BWD_WARPS_LARGEST, 4)
    rmsnorm_bwd_bf16(__nv_bfloat16 *dx, const __nv_bfloat16 *dy, const __nv_bfloat16 *x,
                     const float *weight, int d, float eps, int add)
{
    rmsnorm_bwd_row<8>(dx, dy, x, weight, d, eps, add);
}

extern "C" __global__ void __launch_bounds__(32 * BWD_WARPS_LARGEST, 3)
    rmsnorm_bwd_f32(float *dx, const float *dy, const float *x, const float *weight, int d,
                    float eps, int add)
{
    rmsnorm_bwd_row<4>(dx, dy, x, weight, d, eps, add);
}
