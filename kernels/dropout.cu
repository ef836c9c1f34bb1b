/* Dropout on a GPU: a thread a counter of Philox, eight elements in a row. See dropout.h.
 *
 * Where the first element of all is the first of a group and both arrays begin at multiples of 16
 * bytes, as they do in all models whose width is a multiple of 8, a thread moves its elements as
 * one vector; elsewhere, and at the ends, one by one. It is bound by memory. */
#include "kernels/cuda.cuh"
#include "kernels/dropout.cuh"

struct dropout_rows { /* dropout.c's */
    __nv_bfloat16 *y;
    const __nv_bfloat16 *x;
    size_t n; /* elements */
    uint64_t first; /* the number of x[0] in the step */
    int add;
};

/* The rounding of the product is float32's, that to bfloat16 comes behind the sum. */
static __device__ __forceinline__ float dropped(float old, float x, float scale, bool keep)
{
    return keep ? fmaf(x, scale, old) : old;
}

static __device__ void whole_group(const dropout_rows &rows, const dropout &of, size_t i,
                                   const dropout_halves &halves, float scale)
{
    vector_of<__nv_bfloat16> x = vector_load(rows.x + i), y = {};
    if (rows.add)
        y = vector_load(rows.y + i);
#pragma unroll
    for (int e = 0; e < DROPOUT_GROUP; e++)
        y.of[e] = __float2bfloat16_rn(dropped(rows.add ? to_float(y.of[e]) : 0.0f,
                                              to_float(x.of[e]), scale,
                                              halves.keep(e, of.threshold)));
    vector_store(rows.y + i, y);
}

extern "C" __global__ void __launch_bounds__(256)
    dropout_bf16(const __grid_constant__ dropout_rows rows, const __grid_constant__ dropout of)
{
    size_t place = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * DROPOUT_GROUP;
    unsigned before = (unsigned)(rows.first % DROPOUT_GROUP); /* of the first group, not in x */
    float scale = dropout_scale_of(of.threshold);
    if (place >= rows.n + before)
        return;
    dropout_halves halves(of, (rows.first + place) / DROPOUT_GROUP);
    bool vectors = before == 0 && ((size_t)rows.x | (size_t)rows.y) % 16 == 0;
    if (vectors && place + DROPOUT_GROUP <= rows.n) {
        whole_group(rows, of, place, halves, scale);
        return;
    }
#pragma unroll
    for (int e = 0; e < DROPOUT_GROUP; e++) {
        if (place + e < before || place + e >= rows.n + before)
            continue;
        size_t i = place + e - before;
        rows.y[i] = __float2bfloat16_rn(dropped(rows.add ? to_float(rows.y[i]) : 0.0f,
                                                to_float(rows.x[i]), scale,
                                                halves.keep(e, of.threshold)));
    }
}
