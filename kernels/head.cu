/* A classification head on a GPU. See head.h. Everything is small and stays in L2: a product of 16
 * texts and 150 labels of width 4096 reads 2.7 MB once. What counts is that there are enough warps.
 *
 *   forward         a warp a dot product, a block a label and 8 texts, whose row of the head the
 *                   warps share through L1
 *   by the input    a thread an element (or four side by side), a chain over the labels
 *   by the head     a thread an element (or four), a chain over the texts of a unit
 */
#include "kernels/cuda.cuh"

#define WARPS   8
#define THREADS 128

/* Columns j .. j+3 of a row of d. Single elements are the same numbers, hence the same sums; behind
 * the end there are zeros, in both rows of a product. */
template <bool FOURS> static __device__ floats<4> load_piece(const float *row, int j, int d)
{
    if constexpr (FOURS)
        return load_floats<4>(row + j);
    else {
        floats<4> v;
        for (int i = 0; i < 4; i++)
            v.of[i] = j + i < d ? row[j + i] : 0.0f;
        return v;
    }
}

template <bool FOURS>
static __device__ void forward(float *y, const float *x, const float *head, int n, int n_labels,
                               int d)
{
    int i = blockIdx.y * WARPS + threadIdx.x / 32, label = blockIdx.x, lane = threadIdx.x % 32;
    if (i >= n)
        return;
    const float *row = x + (size_t)i * d, *weight = head + (size_t)label * d;
    float sum = 0;
    for (int j = lane * 4; j < d; j += 128) {
        floats<4> v = load_piece<FOURS>(row, j, d), w = load_piece<FOURS>(weight, j, d);
        for (int k = 0; k < 4; k++)
            sum = fmaf(v.of[k], w.of[k], sum);
    }
    sum = warp_sum(sum);
    if (lane == 0)
        y[(size_t)i * n_labels + label] = sum;
}

extern "C" __global__ void __launch_bounds__(32 * WARPS)
    head_fwd_by_fours(float *y, const float *x, const float *head, int n, int n_labels, int d)
{
    forward<true>(y, x, head, n, n_labels, d);
}

extern "C" __global__ void __launch_bounds__(32 * WARPS)
    head_fwd_by_elements(float *y, const float *x, const float *head, int n, int n_labels, int d)
{
    forward<false>(y, x, head, n, n_labels, d);
}

template <int W>
static __device__ void by_input(float *dx, const float *dy, const float *head, int n_labels, int d)
{
    int j = (blockIdx.y * blockDim.x + threadIdx.x) * W;
    const float *gradient = dy + (size_t)blockIdx.x * n_labels;
    floats<W> sum = {};
    if (j >= d)
        return;
    for (int label = 0; label < n_labels; label++) {
        floats<W> w = load_floats<W>(head + (size_t)label * d + j);
        for (int k = 0; k < W; k++)
            sum.of[k] = fmaf(gradient[label], w.of[k], sum.of[k]);
    }
    store_floats(dx + (size_t)blockIdx.x * d + j, sum);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    head_bwd_input_by_fours(float *dx, const float *dy, const float *head, int n_labels, int d)
{
    by_input<4>(dx, dy, head, n_labels, d);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    head_bwd_input_by_elements(float *dx, const float *dy, const float *head, int n_labels, int d)
{
    by_input<1>(dx, dy, head, n_labels, d);
}

template <int W>
static __device__ void by_head(float *dhead, const float *dy, const float *x, const int *units,
                               int n_units, int n_labels, int d)
{
    int j = (blockIdx.y * blockDim.x + threadIdx.x) * W, label = blockIdx.x;
    if (j >= d)
        return;
    float *at = dhead + (size_t)label * d + j;
    floats<W> total = load_floats<W>(at);
    for (int unit = 0; unit < n_units; unit++) {
        floats<W> sum = {};
        for (int t = units[unit]; t < units[unit + 1]; t++) {
            float gradient = dy[(size_t)t * n_labels + label];
            floats<W> v = load_floats<W>(x + (size_t)t * d + j);
            for (int k = 0; k < W; k++)
                sum.of[k] = fmaf(gradient, v.of[k], sum.of[k]);
        }
        for (int k = 0; k < W; k++)
            total.of[k] += sum.of[k];
    }
    store_floats(at, total);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    head_gradient_by_fours(float *dhead, const float *dy, const float *x, const int *units,
                           int n_units, int n_labels, int d)
{
    by_head<4>(dhead, dy, x, units, n_units, n_labels, d);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    head_gradient_by_elements(float *dhead, const float *dy, const float *x, const int *units,
                              int n_units, int n_labels, int d)
{
    by_head<1>(dhead, dy, x, units, n_units, n_labels, d);
}
