/* Adding a bias on a GPU: four elements a thread where rows are whole pieces of four. See bias.h. */
#include "kernels/cuda.cuh"

template <int W> static __device__ void add_bias(__nv_bfloat16 *y, const float *bias, int d)
{
    int j = (blockIdx.y * blockDim.x + threadIdx.x) * W;
    if (j >= d)
        return;
    y += (size_t)blockIdx.x * d + j;
    floats<W> v = load_floats<W>(y), b = load_floats<W>(bias + j);
    for (int i = 0; i < W; i++)
        v.of[i] += b.of[i];
    store_floats(y, v);
}

extern "C" __global__ void __launch_bounds__(256)
    bias_by_fours(__nv_bfloat16 *y, const float *bias, int d)
{
    add_bias<4>(y, bias, d);
}

extern "C" __global__ void __launch_bounds__(256)
    bias_by_elements(__nv_bfloat16 *y, const float *bias, int d)
{
    add_bias<1>(y, bias, d);
}
