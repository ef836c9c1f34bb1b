/* SwiGLU on a GPU: 16 bytes a thread of gate, of up and of y, where rows are whole vectors. See
 * swiglu.h. It is bound by memory: 6 bytes move for one exponential and one division, both of which
 * the special function unit approximates; docs/numerics.md has the error. */
#include "kernels/cuda.cuh"

template <int W>
static __device__ void swiglu(__nv_bfloat16 *y, const __nv_bfloat16 *gate, const __nv_bfloat16 *up,
                              size_t stride, int d)
{
    int j = (blockIdx.y * blockDim.x + threadIdx.x) * W;
    if (j >= d)
        return;
    size_t from = (size_t)blockIdx.x * stride + j;
    floats<W> g = load_floats<W>(gate + from), u = load_floats<W>(up + from);
    for (int i = 0; i < W; i++)
        g.of[i] = __fdividef(g.of[i], 1.0f + __expf(-g.of[i])) * u.of[i];
    store_floats(y + (size_t)blockIdx.x * d + j, g);
}

extern "C" __global__ void __launch_bounds__(256)
    swiglu_by_vectors(__nv_bfloat16 *y, const __nv_bfloat16 *gate, const __nv_bfloat16 *up,
                      size_t stride, int d)
{
    swiglu<8>(y, gate, up, stride, d);
}

extern "C" __global__ void __launch_bounds__(256)
    swiglu_by_elements(__nv_bfloat16 *y, const __nv_bfloat16 *gate, const __nv_bfloat16 *up,
                       size_t stride, int d)
{
    swiglu<1>(y, gate, up, stride, d);
}
