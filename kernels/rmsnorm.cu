/* RMSNorm on a GPU: a block a row. See rmsnorm.h.
 *
 * The row is read twice, the second time from L1: 16 bytes a thread and load where rows are whole
 * vectors, so that a warp's load covers 512 bytes in a row; one element at a time elsewhere.
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

template <typename T>
static __device__ void rmsnorm_row_by_vectors(T *y, const T *x, const float *weight, int d,
                                              float eps)
{
    const int width = vector_of<T>::width;
    float sum = 0;
    for (int j = threadIdx.x * width; j < d; j += blockDim.x * width) {
        vector_of<T> v = vector_load(x + j);
        for (int i = 0; i < width; i++)
            sum = fmaf(to_float(v.of[i]), to_float(v.of[i]), sum);
    }
    float scale = 1.0f / sqrtf(block_sum(sum) / (float)d + eps);
    for (int j = threadIdx.x * width; j < d; j += blockDim.x * width) {
        vector_of<T> v = vector_load(x + j);
        for (int i = 0; i < width; i += 4) {
            float4 w = *(const float4 *)(weight + j + i);
            v.of[i] = from_float<T>(to_float(v.of[i]) * scale * w.x);
            v.of[i + 1] = from_float<T>(to_float(v.of[i + 1]) * scale * w.y);
            v.of[i + 2] = from_float<T>(to_float(v.of[i + 2]) * scale * w.z);
            v.of[i + 3] = from_float<T>(to_float(v.of[i + 3]) * scale * w.w);
        }
        vector_store(y + j, v);
    }
}

template <typename T>
static __device__ void rmsnorm_row_by_elements(T *y, const T *x, const float *weight, int d,
                                               float eps)
{
    float sum = 0;
    for (int j = threadIdx.x; j < d; j += blockDim.x)
        sum = fmaf(to_float(x[j]), to_float(x[j]), sum);
    float scale = 1.0f / sqrtf(block_sum(sum) / (float)d + eps);
    for (int j = threadIdx.x; j < d; j += blockDim.x)
        y[j] = from_float<T>(to_float(x[j]) * scale * weight[j]);
}

/* y may be x: a thread writes only elements that it alone reads. */
template <typename T>
static __device__ void rmsnorm_row(T *y, const T *x, const float *weight, int d, float eps)
{
    y += (size_t)blockIdx.x * d;
    x += (size_t)blockIdx.x * d;
    if (d % vector_of<T>::width == 0)
        rmsnorm_row_by_vectors(y, x, weight, d, eps);
    else
        rmsnorm_row_by_elements(y, x, weight, d, eps);
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
