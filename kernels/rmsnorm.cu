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
