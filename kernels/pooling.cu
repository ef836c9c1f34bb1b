/* Pooling on a GPU, with the model's final norm where it is wanted. See pooling.h.
 *
 * A text's rows are taken 32 at a time. With the norm, warps first find the scale of a row each; then
 * a thread goes down its own columns, and its sum of the 32 is added to what it left in out. So a
 * long text needs no more registers than a short one, and the order of a column's sum depends on the
 * text alone: chains of 32 rows, then the chains. Without the norm columns have nothing to do with
 * one another, and a text is given to several blocks side by side; with it to one, since each
 * would have to read whole rows for their scales. POOL_LAST is the mean of one row. */
#include "kernels/cuda.cuh"

#define ROWS_AT_ONCE 32

/* 1 / the root of the mean square of a row, by a warp. */
template <int W> static __device__ float row_scale(const __nv_bfloat16 *x, int d, float eps)
{
    float sum = 0;
    for (int j = threadIdx.x % 32 * W; j < d; j += 32 * W) {
        floats<W> v = load_floats<W>(x + j);
        for (int i = 0; i < W; i++)
            sum = fmaf(v.of[i], v.of[i], sum);
    }
    return 1.0f / sqrtf(warp_sum(sum) / (float)d + eps);
}

struct pooling_parameters { /* pooling.c's */
    float *out;
    const __nv_bfloat16 *hidden;
    const int *begin, *end;
    int d, is_last;
    const float *norm;
    float eps;
};

template <int W> static __device__ void pool_text(const pooling_parameters &p)
{
    __shared__ float scale[ROWS_AT_ONCE];
    int text = blockIdx.x, d = p.d, end = p.end[text];
    int begin = p.is_last ? max(p.begin[text], end - 1) : p.begin[text];
    int first_column = (blockIdx.y * blockDim.x + threadIdx.x) * W;
    int step = gridDim.y * blockDim.x * W;
    float *out = p.out + (size_t)text * d;
    for (int j = first_column; begin >= end && j < d; j += step)
        store_floats(out + j, floats<W>{});
    for (int row = begin; row < end; row += ROWS_AT_ONCE) {
        int n = min(ROWS_AT_ONCE, end - row);
        const __nv_bfloat16 *x = p.hidden + (size_t)row * d;
        if (p.norm) {
            __syncthreads(); /* the scales before these have been read */
            for (int i = threadIdx.x / 32; i < n; i += blockDim.x / 32) {
                float of_row = row_scale<W>(x + (size_t)i * d, d, p.eps);
                if (threadIdx.x % 32 == 0)
                    scale[i] = of_row;
            }
            __syncthreads();
        }
        for (int j = first_column; j < d; j += step) {
            floats<W> sum = {};
            for (int i = 0; i < n; i++) {
                floats<W> v = load_floats<W>(x + (size_t)i * d + j);
                float s = p.norm ? scale[i] : 1.0f;
                for (int k = 0; k < W; k++)
                    sum.of[k] = fmaf(v.of[k], s, sum.of[k]);
            }
            if (row > begin) {
                floats<W> before = load_floats<W>(out + j);
                for (int k = 0; k < W; k++)
                    sum.of[k] += before.of[k];
            }
            if (row + ROWS_AT_ONCE >= end) {
                floats<W> weight;
                if (p.norm)
                    weight = load_floats<W>(p.norm + j);
                for (int k = 0; k < W; k++)
                    sum.of[k] = sum.of[k] / (float)(end - begin) * (p.norm ? weight.of[k] : 1.0f);
            }
            store_floats(out + j, sum);
        }
    }
}

extern "C" __global__ void __launch_bounds__(512) pooling_by_fours(pooling_parameters parameters)
{
    pool_text<4>(parameters);
}

extern "C" __global__ void __launch_bounds__(512) pooling_by_elements(pooling_parameters parameters)
{
    pool_text<1>(parameters);
}

/* ---- the gradient ---------------------------------------------------------------------------

 * A block takes ROWS_OF_BLOCK rows of dhidden, whose texts are mostly the same: their rows of dout
 * then come from L1. Each warp finds the texts of a row by itself, a lane looking at every 32nd. */
#define ROWS_OF_BLOCK 4 /* pooling.c's */

struct pooling_bwd_parameters { /* pooling.c's */
    __nv_bfloat16 *dhidden;
    const float *dout;
    const int *begin, *end;
    int n_texts, n, d, is_last, add;
};

/* To the elements from column j on. Lanes behind the last column look for texts only. */
template <int W>
static __device__ void row_gradient(const pooling_bwd_parameters &p, int row, int j)
{
    __nv_bfloat16 *to = p.dhidden + (size_t)row * p.d + j;
    floats<W> sum = {};
    unsigned any = 0;
    for (int first = 0; first < p.n_texts; first += 32) {
        int text = first + threadIdx.x % 32, begin = 0, end = 0;
        if (text < p.n_texts)
            begin = p.begin[text], end = p.end[text];
        if (p.is_last)
            begin = max(begin, end - 1);
        unsigned has = __ballot_sync(0xFFFFFFFF, begin <= row && row < end);
        any |= has;
        for (; has; has &= has - 1) {
            int lane = __ffs(has) - 1;
            float count = (float)__shfl_sync(0xFFFFFFFF, end - begin, lane);
            if (j >= p.d)
                continue;
            floats<W> v = load_floats<W>(p.dout + (size_t)(first + lane) * p.d + j);
            for (int k = 0; k < W; k++)
                sum.of[k] += v.of[k] / count;
        }
    }
    if (j >= p.d || (p.add && !any))
        return;
    if (p.add) {
        floats<W> before = load_floats<W>(to);
        for (int k = 0; k < W; k++)
            sum.of[k] += before.of[k];
    }
    store_floats(to, sum);
}

template <int W> static __device__ void spread_rows(const pooling_bwd_parameters &p)
{
    int j = (blockIdx.y * blockDim.x + threadIdx.x) * W;
    int first = blockIdx.x * ROWS_OF_BLOCK, n = min(ROWS_OF_BLOCK, p.n - first);
    for (int i = 0; i < n; i++)
        row_gradient<W>(p, first + i, j);
}

extern "C" __global__ void __launch_bounds__(256)
    pooling_bwd_by_vectors(pooling_bwd_parameters parameters)
{
    spread_rows<8>(parameters);
}

extern "C" __global__ void __launch_bounds__(256)
    pooling_bwd_by_elements(pooling_bwd_parameters parameters)
{
    spread_rows<1>(parameters);
}
