/* Embedding lookup on a GPU: a row of the table to each token, 16 bytes a thread where rows are whole
 * vectors. See embedding.h. */
#include "kernels/cuda.cuh"

template <int W>
static __device__ void copy_row(__nv_bfloat16 *y, const int *tokens, const __nv_bfloat16 *table,
                                int d)
{
    typedef typename bits_of<W * sizeof *y>::type bits;
    int j = (blockIdx.y * blockDim.x + threadIdx.x) * W;
    const __nv_bfloat16 *from = table + (size_t)tokens[blockIdx.x] * d + j;
    if (j < d)
        *(bits *)(y + (size_t)blockIdx.x * d + j) = *(const bits *)from;
}

extern "C" __global__ void __launch_bounds__(256)
    embedding_by_vectors(__nv_bfloat16 *y, const int *tokens, const __nv_bfloat16 *table, int d)
{
    copy_row<8>(y, tokens, table, d);
}

extern "C" __global__ void __launch_bounds__(256)
    embedding_by_elements(__nv_bfloat16 *y, const int *tokens, const __nv_bfloat16 *table, int d)
{
    copy_row<1>(y, tokens, table, d);
}
