/* The residual add on a GPU: 16 bytes a thread, the last few elements one a thread. See
 * residual_add.h. It is bound by memory: three transfers of an element for one addition. */
#include "kernels/cuda.cuh"

template <typename T> static __device__ void residual_add(T *y, const T *x, size_t n)
{
    const int width = vector_of<T>::width;
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x, n_vectors = n / width;
    if (i < n_vectors) {
        vector_of<T> a = vector_load(y + i * width), b = vector_load(x + i * width);
        for (int j = 0; j < width; j++)
            a.of[j] = from_float<T>(to_float(a.of[j]) + to_float(b.of[j]));
        vector_store(y + i * width, a);
    } else if (i < n_vectors + n % width) {
        size_t j = n_vectors * width + (i - n_vectors);
        y[j] = from_float<T>(to_float(y[j]) + to_float(x[j]));
    }
}

extern "C" __global__ void __launch_bounds__(256)
    residual_add_bf16(__nv_bfloat16 *y, const __nv_bfloat16 *x, size_t n)
{
    residual_add(y, x, n);
}

extern "C" __global__ void __launch_bounds__(256)
    residual_add_f32(float *y, const float *x, size_t n)
{
    residual_add(y, x, n);
}
