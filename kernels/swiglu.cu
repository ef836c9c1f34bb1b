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

/* ---- the gradient ---------------------------------------------------------------------------

 * s and 1 - s by exp(-|gate|), which does not overflow: 1 / (1 + e) is the larger of the two, and
 * e / (1 + e) the smaller. 10 bytes move, and the special function unit is asked as often as
 * forwards. What a thread writes lies, where places are shared, on what it alone has read. */
template <int W>
static __device__ void swiglu_bwd(__nv_bfloat16 *dgate, __nv_bfloat16 *dup, size_t dstride,
                                  const __nv_bfloat16 *dy, const __nv_bfloat16 *gate,
                                  const __nv_bfloat16 *up, size_t stride, int d)
{
    int j = (blockIdx.y * blockDim.x + threadIdx.x) * W;
    if (j >= d)
        return;
    size_t from = (size_t)blockIdx.x * stride + j, to = (size_t)blockIdx.x * dstride + j;
    floats<W> g = load_floats<W>(gate + from), u = load_floats<W>(up + from);
    floats<W> dout = load_floats<W>(dy + (size_t)blockIdx.x * d + j);
    for (int i = 0; i < W; i++) {
        float x = g.of[i], e = __expf(-fabsf(x));
        float larger = __fdividef(1.0f, 1.0f + e), smaller = e * larger;
        float s = x < 0 ? smaller : larger, rest = x < 0 ? larger : smaller;
        g.of[i] = dout.of[i] * u.of[i] * (s * fmaf(x, rest, 1.0f));
        u.of[i] = dout.of[i] * (x * s);
    }
    store_floats(dgate + to, g);
    store_floats(dup + to, u);
}

extern "C" __global__ void __launch_bounds__(256)
    swiglu_bwd_by_vectors(__nv_bfloat16 *dgate, __nv_bfloat16 *dup, size_t dstride,
                          const __nv_bfloat16 *dy, const __nv_bfloat16 *gate,
                          const __nv_bfloat16 *up, size_t stride, int d)
{
    swiglu_bwd<8>(dgate, dup, dstride, dy, gate, up, stride, d);
}

extern "C" __global__ void __launch_bounds__(256)
    swiglu_bwd_by_elements(__nv_bfloat16 *dgate, __nv_bfloat16 *dup, size_t dstride,
                           const __nv_bfloat16 *dy, const __nv_bfloat16 *gate,
                           const __nv_bfloat16 *up, size_t stride, int d)
{
    swiglu_bwd<1>(dgate, dup, dstride, dy, gate, up, stride, d);
}
