/* Rotary position embedding on a GPU, with the norms of heads before it where a model has them. See
 * rope.h.
 *
 * A block takes a token: its heads share a row of the tables, which L1 then has. A head is shared by
 * n_lanes neighbouring lanes of a warp, a power of two, each with W pairs (x[i], x[i + d/2]) at a
 * time: W is 4 where half a head is pieces of four, so that the float32 tables are read 16 bytes a
 * lane, side by side. head_dim 128 is 16 lanes, 64 is 8. With norms a head is read twice, the second
 * time from L1; the order of its sum of squares depends on head_dim alone. */
#include "kernels/cuda.cuh"

/* Over the n_lanes lanes of a head, the same in each. All lanes of the warp call it. */
static __device__ float head_sum(float value, int n_lanes)
{
    for (int step = n_lanes / 2; step > 0; step /= 2)
        value += __shfl_xor_sync(0xFFFFFFFF, value, step);
    return value;
}

/* 1 / the root of the mean square, over pairs below end; 0 of them for lanes without a head. */
template <int W>
static __device__ float head_scale(const __nv_bfloat16 *x, int half, int end, int lane, int n_lanes,
                                   float eps)
{
    float sum = 0;
    for (int i = lane * W; i < end; i += n_lanes * W) {
        floats<W> a = load_floats<W>(x + i), b = load_floats<W>(x + half + i);
        for (int j = 0; j < W; j++)
            sum = fmaf(a.of[j], a.of[j], fmaf(b.of[j], b.of[j], sum));
    }
    return 1.0f / sqrtf(head_sum(sum, n_lanes) / (float)(2 * half) + eps);
}

template <int W> static __device__ void weigh(floats<W> &v, float scale, const float *norm)
{
    floats<W> w = load_floats<W>(norm);
    for (int j = 0; j < W; j++)
        v.of[j] = v.of[j] * scale * w.of[j];
}

template <int W>
static __device__ void turn(__nv_bfloat16 *x, int half, int end, int lane, int n_lanes,
                            const float *cosines, const float *sines, const float *norm, float scale)
{
    for (int i = lane * W; i < end; i += n_lanes * W) {
        floats<W> a = load_floats<W>(x + i), b = load_floats<W>(x + half + i);
        floats<W> c = load_floats<W>(cosines + i), s = load_floats<W>(sines + i);
        if (norm) {
            weigh<W>(a, scale, norm + i);
            weigh<W>(b, scale, norm + half + i);
        }
        for (int j = 0; j < W; j++) {
            float turned = a.of[j] * c.of[j] - b.of[j] * s.of[j];
            b.of[j] = b.of[j] * c.of[j] + a.of[j] * s.of[j];
            a.of[j] = turned;
        }
        store_floats(x + i, a);
        store_floats(x + half + i, b);
    }
}

struct rope_parameters { /* rope.c's */
    __nv_bfloat16 *x;
    size_t stride;
    const int *positions;
    const float *cos_table, *sin_table;
    int n_heads, n_kv_heads, head_dim, n_lanes;
    const float *q_norm, *k_norm;
    float eps;
};

template <int W> static __device__ void rope_token(const rope_parameters &p)
{
    int half = p.head_dim / 2, n_all = p.n_heads + p.n_kv_heads;
    int lane = threadIdx.x % p.n_lanes, n_at_once = blockDim.x / p.n_lanes;
    __nv_bfloat16 *x = p.x + blockIdx.x * p.stride;
    size_t row = (size_t)p.positions[blockIdx.x] * half;
    for (int first = 0; first < n_all; first += n_at_once) {
        int head = first + threadIdx.x / p.n_lanes;
        int end = head < n_all ? half : 0;
        __nv_bfloat16 *of_head = x + (size_t)head * p.head_dim;
        const float *norm = head < p.n_heads ? p.q_norm : p.k_norm;
        float scale = 1;
        if (p.q_norm)
            scale = head_scale<W>(of_head, half, end, lane, p.n_lanes, p.eps);
        turn<W>(of_head, half, end, lane, p.n_lanes, p.cos_table + row, p.sin_table + row, norm,
                scale);
    }
}

extern "C" __global__ void __launch_bounds__(512) rope_by_fours(rope_parameters parameters)
{
    rope_token<4>(parameters);
}

extern "C" __global__ void __launch_bounds__(512) rope_by_elements(rope_parameters parameters)
{
    rope_token<1>(parameters);
}
