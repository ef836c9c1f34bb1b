/* Kernels over rows: RMSNorm, softmax. A block a row. */
#include <cuda_bf16.h>

static __device__ __forceinline__ float warp_sum(float x)
{
    for (int d = 16; d > 0; d >>= 1)
        x += __shfl_xor_sync(0xFFFFFFFFu, x, d);
    return x;
}

static __device__ __forceinline__ float warp_max(float x)
{
    for (int d = 16; d > 0; d >>= 1)
        x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, d));
    return x;
}

/* Over the block; all threads get it. parts: 32 of shared memory, free again after the call. */
template <bool SUM> static __device__ __forceinline__ float block_reduce(float x, float *parts)
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n = (blockDim.x + 31) / 32;
    x = SUM ? warp_sum(x) : warp_max(x);
    if (lane == 0)
        parts[warp] = x;
    __syncthreads();
    x = lane < n ? parts[lane] : SUM ? 0.0f : -INFINITY;
    x = SUM ? warp_sum(x) : warp_max(x);
    __syncthreads();
    return x;
}

/* y = x * weight / sqrt(mean(x^2) + epsilon), n even. */
extern "C" __global__ void rmsnorm(__nv_bfloat162 *y, const __nv_bfloat162 *x, const float2 *weight,
                                   int n, float epsilon)
{
    __shared__ float parts[32];
    x += (size_t)blockIdx.x * (n / 2);
    y += (size_t)blockIdx.x * (n / 2);
    float sum = 0;
    for (int i = threadIdx.x; i < n / 2; i += blockDim.x) {
        float2 v = __bfloat1622float2(x[i]);
        sum += v.x * v.x + v.y * v.y;
    }
    float scale = 1.0f / sqrtf(block_reduce<true>(sum, parts) / n + epsilon);
    for (int i = threadIdx.x; i < n / 2; i += blockDim.x) {
        float2 v = __bfloat1622float2(x[i]), w = weight[i];
        y[i] = __floats2bfloat162_rn(v.x * scale * w.x, v.y * scale * w.y);
    }
}

extern "C" __global__ void softmax(float *y, const float *x, int n)
{
    __shared__ float parts[32];
    x += (size_t)blockIdx.x * n;
    y += (size_t)blockIdx.x * n;
    float most = -INFINITY, sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        most = fmaxf(most, x[i]);
    most = block_reduce<false>(most, parts);
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        float e = expf(x[i] - most);
        y[i] = e;
        sum += e;
    }
    float scale = 1.0f / block_reduce<true>(sum, parts);
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        y[i] *= scale;
}
