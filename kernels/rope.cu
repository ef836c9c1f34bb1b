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
static __device__ void turn(__nv_bfloat16 *x, __nv_bfloat16 *raw, int half, int end, int lane,
                            int n_lanes, const float *cosines, const float *sines,
                            const float *norm, float scale)
{
    for (int i = lane * W; i < end; i += n_lanes * W) {
        floats<W> a = load_floats<W>(x + i), b = load_floats<W>(x + half + i);
        floats<W> c = load_floats<W>(cosines + i), s = load_floats<W>(sines + i);
        if (raw) {
            store_floats(raw + i, a);
            store_floats(raw + half + i, b);
        }
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
    __nv_bfloat16 *raw; /* NULL without norms */
    size_t raw_stride;
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
        __nv_bfloat16 *raw = nullptr;
        if (p.raw)
            raw = p.raw + blockIdx.x * p.raw_stride + (size_t)head * p.head_dim;
        turn<W>(of_head, raw, half, end, lane, p.n_lanes, p.cos_table + row, p.sin_table + row,
                norm, scale);
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

/* ---- the gradient ---------------------------------------------------------------------------

 * As above, with 8 pairs of a lane at a time: 16 bytes of each half of a head, of the gradient and
 * of raw; the tables and norms are in L1, being the token's and the model's. A lane of a head of up
 * to 512 has one piece, which it keeps in registers between the sums of the norm and the result; of
 * more, and where half a head is no pieces of eight, pieces are read again, from L1. */
template <int W> struct pairs {
    floats<W> a, b;
};

template <int W> static __device__ pairs<W> load_pairs(const __nv_bfloat16 *x, int half)
{
    return {load_floats<W>(x), load_floats<W>(x + half)};
}

template <int W>
static __device__ void store_pairs(__nv_bfloat16 *x, int half, const pairs<W> &v)
{
    store_floats(x, v.a);
    store_floats(x + half, v.b);
}

/* What a lane reads and writes of a head, from its first pair on. */
struct head_back {
    __nv_bfloat16 *dx;
    const __nv_bfloat16 *raw;
    const float *cosines, *sines, *norm;
    int half;

    template <int W> __device__ pairs<W> turned(int i) const
    {
        pairs<W> v = load_pairs<W>(dx + i, half);
        floats<W> c = load_floats<W>(cosines + i), s = load_floats<W>(sines + i);
        for (int j = 0; j < W; j++) {
            float by_a = v.a.of[j] * c.of[j] + v.b.of[j] * s.of[j];
            v.b.of[j] = v.b.of[j] * c.of[j] - v.a.of[j] * s.of[j];
            v.a.of[j] = by_a;
        }
        return v;
    }

    template <int W> __device__ pairs<W> weighed(int i) const
    {
        pairs<W> v = turned<W>(i);
        weigh<W>(v.a, 1, norm + i);
        weigh<W>(v.b, 1, norm + half + i);
        return v;
    }
};

/* kernels/rmsnorm.cu has the formula. end: 0 for lanes without a head. */
template <int W>
static __device__ void through_norm(const head_back &head, int end, int lane, int n_lanes,
                                    float eps)
{
    pairs<W> g = {}, x = {};
    float squares = 0, products = 0, d = (float)(2 * head.half);
    int step = n_lanes * W;
    for (int i = lane * W; i < end; i += step) {
        x = load_pairs<W>(head.raw + i, head.half);
        g = head.weighed<W>(i);
        for (int j = 0; j < W; j++) {
            squares = fmaf(x.a.of[j], x.a.of[j], fmaf(x.b.of[j], x.b.of[j], squares));
            products = fmaf(g.a.of[j], x.a.of[j], fmaf(g.b.of[j], x.b.of[j], products));
        }
    }
    float scale = 1.0f / sqrtf(head_sum(squares, n_lanes) / d + eps);
    float pull = scale * (scale * scale * (head_sum(products, n_lanes) / d));
    for (int i = lane * W; i < end; i += step) {
        if (step < head.half) {
            x = load_pairs<W>(head.raw + i, head.half);
            g = head.weighed<W>(i);
        }
        for (int j = 0; j < W; j++) {
            g.a.of[j] = g.a.of[j] * scale - x.a.of[j] * pull;
            g.b.of[j] = g.b.of[j] * scale - x.b.of[j] * pull;
        }
        store_pairs(head.dx + i, head.half, g);
    }
}

template <int W> static __device__ void rope_token_back(const rope_parameters &p)
{
    int half = p.head_dim / 2, n_all = p.n_heads + p.n_kv_heads;
    int lane = threadIdx.x % p.n_lanes, n_at_once = blockDim.x / p.n_lanes;
    size_t row = (size_t)p.positions[blockIdx.x] * half;
    for (int first = 0; first < n_all; first += n_at_once) {
        int n = first + threadIdx.x / p.n_lanes, end = n < n_all ? half : 0;
        head_back head = {p.x + blockIdx.x * p.stride + (size_t)n * p.head_dim,
                          p.raw + blockIdx.x * p.raw_stride + (size_t)n * p.head_dim,
                          p.cos_table + row,
                          p.sin_table + row,
                          n < p.n_heads ? p.q_norm : p.k_norm,
                          half};
        if (p.q_norm)
            through_norm<W>(head, end, lane, p.n_lanes, p.eps);
        else
            for (int i = lane * W; i < end; i += p.n_lanes * W)
                store_pairs(head.dx + i, half, head.turned<W>(i));
    }
}

extern "C" __global__ void __launch_bounds__(512, 2)
    rope_back_by_vectors(rope_parameters parameters)
{
    rope_token_back<8>(parameters);
}

extern "C" __global__ void __launch_bounds__(512, 2)
    rope_back_by_elements(rope_parameters parameters)
{
    rope_token_back<1>(parameters);
}
