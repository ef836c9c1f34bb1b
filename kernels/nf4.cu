/* Quantising to NF4 and back on a GPU, bit for bit as nf4.c does it. See nf4.h.
 *
 * All of it is bound by memory: a thread takes 16 bytes of values, so that 8 or 16 neighbouring
 * lanes share a block and find its absmax by shuffles, and what a warp reads and writes lies side
 * by side. Where the CPU rounds twice, products and sums stand by name (__fmul_rn), lest the compiler
 * fuse them. */
#include <cuda_fp16.h>
#include "kernels/cuda.cuh"
#include "kernels/nf4_tables.h"

#define BLOCK        64
#define NESTED_BLOCK 256
#define THREADS      256

static __device__ float to_float(__half x)
{
    return __half2float(x);
}

/* ---- quantising ----------------------------------------------------------------------------- */

/* The entry of the map nearest to v, as nf4.c's binary search finds it: !(midpoint >= v) goes up.
 * The midpoints are constants that selects choose from: cheaper than a table, whose place would
 * differ from lane to lane. */
static __device__ unsigned nearest_code(float v)
{
    constexpr float map[16] = {NF4_MAP_VALUES};
#define MIDPOINT(i) ((map[i] + map[(i) + 1]) / 2)
    bool a = !(MIDPOINT(7) >= v);
    float of_2 = a ? MIDPOINT(11) : MIDPOINT(3);
    bool b = !(of_2 >= v);
    float below = b ? MIDPOINT(5) : MIDPOINT(1), above = b ? MIDPOINT(13) : MIDPOINT(9);
    bool c = !((a ? above : below) >= v);
    float below_0 = c ? MIDPOINT(2) : MIDPOINT(0), below_1 = c ? MIDPOINT(6) : MIDPOINT(4);
    float above_0 = c ? MIDPOINT(10) : MIDPOINT(8), above_1 = c ? MIDPOINT(14) : MIDPOINT(12);
    below = b ? below_1 : below_0, above = b ? above_1 : above_0;
    bool d = !((a ? above : below) >= v);
#undef MIDPOINT
    return a * 8u + b * 4u + c * 2u + d;
}

/* The larger absolute value as bits: NaN is the largest. */
static __device__ unsigned larger_magnitude(unsigned largest, float x)
{
    return max(largest, __float_as_uint(x) & 0x7FFFFFFF);
}

template <typename T>
static __device__ void quantize(unsigned char *codes, float *absmax, const T *x, long long n)
{
    const int width = vector_of<T>::width, n_lanes = BLOCK / width;
    long long i = ((long long)blockIdx.x * THREADS + threadIdx.x) * width;
    bool whole = i + width <= n;
    floats<width> v;
    if (whole)
        v = load_floats<width>(x + i);
    else
        for (int j = 0; j < width; j++)
            v.of[j] = i + j < n ? to_float(x[i + j]) : 0.0f;
    unsigned largest = 0;
    for (int j = 0; j < width; j++)
        largest = larger_magnitude(largest, v.of[j]);
    for (int step = n_lanes / 2; step > 0; step /= 2)
        largest = max(largest, __shfl_xor_sync(0xFFFFFFFF, largest, step));
    float size = __uint_as_float(largest);
    if (threadIdx.x % n_lanes == 0 && i < n)
        absmax[i / BLOCK] = size;
    float scale = 1.0f / (size < 1e-38f ? 1e-38f : size);
    unsigned packed = 0; /* byte j: values 2 j, high, and 2 j + 1 */
    for (int j = 0; j < width; j++)
        packed |= nearest_code(__fmul_rn(v.of[j], scale)) << (j / 2 * 8 + (j % 2 ? 0 : 4));
    codes += i / 2;
    if (whole && width == 8)
        *(unsigned *)codes = packed;
    else if (whole)
        *(unsigned short *)codes = packed;
    else
        for (int j = 0; i + j < n; j += 2) /* the last odd value has the code of 0.0 beside it */
            codes[j / 2] = i + j + 1 == n ? (packed >> j * 4 & 0xF0) | 7 : packed >> j * 4;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    nf4_quantize_f32(unsigned char *codes, float *absmax, const float *x, long long n)
{
    quantize(codes, absmax, x, n);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    nf4_quantize_bf16(unsigned char *codes, float *absmax, const __nv_bfloat16 *x, long long n)
{
    quantize(codes, absmax, x, n);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    nf4_quantize_f16(unsigned char *codes, float *absmax, const __half *x, long long n)
{
    quantize(codes, absmax, x, n);
}

/* ---- double quantisation -------------------------------------------------------------------- */

/* nf4.c's join_chains: a lane a chain. Each sum has the same two operands in every lane. */
static __device__ double warp_join(double chain)
{
    for (int step = 16; step > 0; step /= 2)
        chain += __shfl_xor_sync(0xFFFFFFFF, chain, step);
    return chain;
}

/* sums[b]: of nested block b, by a warp. */
extern "C" __global__ void __launch_bounds__(THREADS)
    nf4_sum_absmax(double *sums, const float *absmax, long long n_blocks)
{
    int lane = threadIdx.x % 32;
    long long nested = (long long)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    long long first = nested * NESTED_BLOCK;
    if (first >= n_blocks)
        return;
    double chain = 0;
    for (long long i = first + lane; i < first + NESTED_BLOCK && i < n_blocks; i += 32)
        chain += absmax[i];
    chain = warp_join(chain);
    if (lane == 0)
        sums[nested] = chain;
}

/* By one warp: the sums are a 16,384th of the values. */
extern "C" __global__ void __launch_bounds__(32)
    nf4_mean_absmax(float *offset, const double *sums, long long n_nested, long long n_blocks)
{
    double chain = 0, of[8];
    long long i = threadIdx.x;
    for (; i + 32 * 7 < n_nested; i += 32 * 8) { /* eight loads before the first is needed */
        for (int j = 0; j < 8; j++)
            of[j] = sums[i + 32 * j];
        for (int j = 0; j < 8; j++)
            chain += of[j];
    }
    for (; i < n_nested; i += 32)
        chain += sums[i];
    chain = warp_join(chain);
    if (threadIdx.x == 0)
        *offset = n_blocks ? (float)(chain / (double)n_blocks) : 0.0f;
}

/* The midpoints of the nested map level by level of the search tree, from 1 on: the children of
 * node i are 2 i and 2 i + 1. So those that the lanes of a warp look at in one step lie side by
 * side, in banks of their own for the first six of the eight steps; in ascending order all of a step
 * would share one bank or two. */
struct search_tree {
    float of[NESTED_BLOCK];
};

static constexpr search_tree nested_tree()
{
    const float map[NESTED_BLOCK] = {NF4_NESTED_MAP_VALUES};
    search_tree tree = {};
    for (int width = 1; width < NESTED_BLOCK; width *= 2)
        for (int i = 0; i < width; i++) {
            int low = NESTED_BLOCK / width * i + NESTED_BLOCK / width / 2 - 1;
            tree.of[width + i] = 0.5f * (map[low] + map[low + 1]);
        }
    return tree;
}
static __device__ constexpr search_tree midpoints = nested_tree();

#define GRID 65535 /* nf4.c's: steps between -1 and 1 */

static __device__ unsigned char nested_code(float v, const float *tree)
{
    v = !(v >= -1.0f) ? -1.0f : v > 1.0f ? 1.0f : v;
    int index = (int)__fadd_rn(__fmul_rn(__fmul_rn(__fadd_rn(v, 1.0f), 0.5f), GRID), 0.5f);
    float point = __fadd_rn(-1.0f, __fdiv_rn(2.0f * index, GRID));
    int node = 1;
    for (int step = 0; step < 8; step++)
        node = 2 * node + (tree[node] < point);
    return node - NESTED_BLOCK;
}

/* A block a nested block, a thread an absmax. */
extern "C" __global__ void __launch_bounds__(THREADS)
    nf4_nest_absmax(unsigned char *codes, float *nested_absmax, const float *absmax,
                    const float *offset, long long n_blocks)
{
    __shared__ float tree[NESTED_BLOCK];
    __shared__ unsigned of_warp[THREADS / 32];
    int lane = threadIdx.x % 32;
    long long i = (long long)blockIdx.x * NESTED_BLOCK + threadIdx.x;
    float centred = i < n_blocks ? __fsub_rn(absmax[i], *offset) : 0.0f;
    tree[threadIdx.x] = midpoints.of[threadIdx.x];
    unsigned largest = __reduce_max_sync(0xFFFFFFFF, larger_magnitude(0, centred));
    if (lane == 0)
        of_warp[threadIdx.x / 32] = largest;
    __syncthreads();
    largest = __reduce_max_sync(0xFFFFFFFF, of_warp[lane % (THREADS / 32)]);
    float size = __uint_as_float(largest);
    if (threadIdx.x == 0)
        nested_absmax[blockIdx.x] = size;
    if (i < n_blocks)
        codes[i] = size == 0 ? 0 : nested_code(__fmul_rn(centred, 1.0f / size), tree);
}

/* ---- dequantising --------------------------------------------------------------------------- */

static __constant__ float nf4_map[16] = {NF4_MAP_VALUES};
static __constant__ float nested_map[NESTED_BLOCK] = {NF4_NESTED_MAP_VALUES};

/* The 16 values of the map in shared memory have a bank each: lanes never wait for one another. */
template <typename T>
static __device__ void dequantize(T *out, const unsigned char *codes, const float *absmax,
                                  const unsigned char *absmax_codes, const float *nested_absmax,
                                  const float *offset, long long n)
{
    __shared__ float map[16];
    const int width = vector_of<T>::width;
    long long i = ((long long)blockIdx.x * THREADS + threadIdx.x) * width, block = i / BLOCK;
    if (threadIdx.x < 16)
        map[threadIdx.x] = nf4_map[threadIdx.x];
    __syncthreads();
    if (i >= n)
        return;
    float size = absmax ? absmax[block]
                        : __fadd_rn(__fmul_rn(nested_map[absmax_codes[block]],
                                              nested_absmax[block / NESTED_BLOCK]),
                                    *offset);
    bool whole = i + width <= n;
    unsigned packed = 0;
    codes += i / 2;
    if (whole)
        packed = width == 8 ? *(const unsigned *)codes : *(const unsigned short *)codes;
    else
        for (int j = 0; i + j < n; j += 2)
            packed |= (unsigned)codes[j / 2] << j * 4;
    floats<width> v;
    for (int j = 0; j < width; j++)
        v.of[j] = __fmul_rn(map[packed >> (j / 2 * 8 + (j % 2 ? 0 : 4)) & 15], size);
    if (whole)
        store_floats(out + i, v);
    else
        for (int j = 0; j < width; j++) /* unrolled, so that v stays in registers */
            if (i + j < n)
                out[i + j] = from_float<T>(v.of[j]);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    nf4_dequantize_f32(float *out, const unsigned char *codes, const float *absmax,
                       const unsigned char *absmax_codes, const float *nested_absmax,
                       const float *offset, long long n)
{
    dequantize(out, codes, absmax, absmax_codes, nested_absmax, offset, n);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    nf4_dequantize_bf16(__nv_bfloat16 *out, const unsigned char *codes, const float *absmax,
                        const unsigned char *absmax_codes, const float *nested_absmax,
                        const float *offset, long long n)
{
    dequantize(out, codes, absmax, absmax_codes, nested_absmax, offset, n);
}
