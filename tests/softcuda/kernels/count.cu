// Kernels whose counts can be worked out by hand, for test_softcuda_count_kernels.c.
#include <stdint.h>

extern "C" __global__ void vector_add(float *c, const float *a, const float *b, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        c[i] = a[i] + b[i];
}

// Thread i reads element i * stride.
extern "C" __global__ void strided(float *out, const float *in, int stride)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] = in[i * stride];
}

// A block of 32 x 8 threads transposes a tile of 32 x 32 through shared memory.
template <int PAD> __device__ void transpose(float *out, const float *in, int n)
{
    __shared__ float tile[32][32 + PAD];
    int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32 + threadIdx.y;
#pragma unroll
    for (int i = 0; i < 32; i += 8)
        tile[threadIdx.y + i][threadIdx.x] = in[(y + i) * n + x];
    __syncthreads();
    x = blockIdx.y * 32 + threadIdx.x;
    y = blockIdx.x * 32 + threadIdx.y;
#pragma unroll
    for (int i = 0; i < 32; i += 8)
        out[(y + i) * n + x] = tile[threadIdx.x][threadIdx.y + i];
}
extern "C" __global__ void transpose_plain(float *out, const float *in, int n)
{
    transpose<0>(out, in, n);
}
extern "C" __global__ void transpose_padded(float *out, const float *in, int n)
{
    transpose<1>(out, in, n);
}

// All add to one counter in global memory, and each warp's lane l to bin l / 4 in shared memory.
extern "C" __global__ void tally(int *sum, int *bins)
{
    __shared__ int own[8];
    if (threadIdx.x < 8)
        own[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(&own[threadIdx.x % 32 / 4], (int)threadIdx.x);
    atomicAdd(sum, (int)threadIdx.x);
    __syncthreads();
    if (threadIdx.x < 8)
        atomicAdd(&bins[threadIdx.x], own[threadIdx.x]);
}

// An array that is indexed by what is read: it lies in local memory.
extern "C" __global__ void local_array(int *out, const int *index)
{
    int values[16];
#pragma unroll
    for (int i = 0; i < 16; i++)
        values[i] = index[i * 32 + threadIdx.x] * i;
    int sum = 0;
    for (int i = 0; i < 16; i++) {
        int at = index[i * 32 + threadIdx.x] & 15;
        values[at] += i;
        sum += values[at ^ 1];
    }
    out[threadIdx.x] = sum;
}

// C (M, N) in float32 = A (M, K) times B (N, K) transposed, in bfloat16. 128 threads make a tile of
// 64 x 64 in steps of 32 columns; two stages of copies. A row of a tile has 64 bytes: without a
// swizzle 8 rows of ldmatrix lie 4 to a quadruple of banks.
#define TILE 64
#define STEP 32

static __device__ __forceinline__ uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

template <bool SWIZZLE> __device__ __forceinline__ int place(int row, int chunk)
{
    return row * STEP + (SWIZZLE ? chunk ^ (row >> 1 & 3) : chunk) * 8;
}

template <bool SWIZZLE>
__device__ void gemm(float *c, const uint16_t *a, const uint16_t *b, int n, int k)
{
    __shared__ __align__(128) uint16_t as[2][TILE * STEP], bs[2][TILE * STEP];
    int t = threadIdx.x, warp = t / 32, lane = t % 32;
    int row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE;
    int wm = warp / 2 * 32, wn = warp % 2 * 32;
    float sums[2][4][4] = {};
    auto fetch = [&](int stage, int at) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int id = t + i * 128, row = id / 4, chunk = id % 4;
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                             shared_address(&as[stage][place<SWIZZLE>(row, chunk)])),
                         "l"(a + (size_t)(row0 + row) * k + at + chunk * 8));
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                             shared_address(&bs[stage][place<SWIZZLE>(row, chunk)])),
                         "l"(b + (size_t)(column0 + row) * k + at + chunk * 8));
        }
    };
    auto matrices = [&](uint32_t *r, const uint16_t *p) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(shared_address(p)));
    };
    fetch(0, 0);
    asm volatile("cp.async.commit_group;");
    for (int at = 0; at < k; at += STEP) {
        int stage = at / STEP & 1;
        if (at + STEP < k)
            fetch(stage ^ 1, at + STEP);
        asm volatile("cp.async.commit_group;");
        asm volatile("cp.async.wait_group 1;");
        __syncthreads();
#pragma unroll
        for (int part = 0; part < STEP / 16; part++) {
            uint32_t x[2][4], y[2][4];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                matrices(x[i], &as[stage][place<SWIZZLE>(wm + i * 16 + lane % 16,
                                                         part * 2 + lane / 16)]);
                matrices(y[i], &bs[stage][place<SWIZZLE>(wn + i * 16 + lane % 8 + lane / 16 * 8,
                                                         part * 2 + lane / 8 % 2)]);
            }
#pragma unroll
            for (int i = 0; i < 2; i++)
#pragma unroll
                for (int j = 0; j < 4; j++)
                    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                                 : "+f"(sums[i][j][0]), "+f"(sums[i][j][1]), "+f"(sums[i][j][2]),
                                   "+f"(sums[i][j][3])
                                 : "r"(x[i][0]), "r"(x[i][1]), "r"(x[i][2]), "r"(x[i][3]),
                                   "r"(y[j / 2][j % 2 * 2]), "r"(y[j / 2][j % 2 * 2 + 1]));
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int h = 0; h < 2; h++)
                *(float2 *)&c[(size_t)(row0 + wm + i * 16 + lane / 4 + h * 8) * n + column0 + wn +
                              j * 8 + lane % 4 * 2] =
                    make_float2(sums[i][j][2 * h], sums[i][j][2 * h + 1]);
}
extern "C" __global__ void __launch_bounds__(128)
    gemm_plain(float *c, const uint16_t *a, const uint16_t *b, int n, int k)
{
    gemm<false>(c, a, b, n, k);
}
extern "C" __global__ void __launch_bounds__(128)
    gemm_swizzled(float *c, const uint16_t *a, const uint16_t *b, int n, int k)
{
    gemm<true>(c, a, b, n, k);
}

// A block sums a slice of `span` elements, `times` over: what L2 keeps it does not read again.
extern "C" __global__ void stream(float *out, const float *in, int span, int times)
{
    float sum = 0;
    for (int t = 0; t < times; t++) {
        for (int i = threadIdx.x; i < span; i += blockDim.x)
            sum += __ldcg(&in[(size_t)blockIdx.x * span + i]);
        __syncthreads();
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
