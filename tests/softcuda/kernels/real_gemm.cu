/* y (M, N) f32 = x (M, K) bf16 times the transpose of w (N, K) NF4. A byte of w holds two codes, the
 * high nibble first; absmax (N, K / 64). K is a multiple of 64. Tiles of 128 x 128 x 32, copied two
 * stages deep; 8 warps of 64 x 32. */
#include "kernels/tensor.cuh"

#define ROW 40 /* elements of a row in shared memory: 32 and a pad against bank conflicts */

__constant__ float codes[16] = {
    -1.0f,        -0.69619280f, -0.52507305f, -0.39491749f, -0.28444138f, -0.18477343f,
    -0.09105004f, 0.0f,         0.07958030f,  0.16093020f,  0.24611230f,  0.33791524f,
    0.44070983f,  0.56261700f,  0.72295684f,  1.0f,
};

struct tiles {
    __nv_bfloat16 x[2][128][ROW];
    __nv_bfloat16 w[128][ROW];
    unsigned char packed[2][128][16];
    float2 pairs[256];
};

struct matrices {
    float *y;
    const __nv_bfloat16 *x;
    const unsigned char *w;
    const float *absmax;
    int m, n, k;
};

static __device__ __forceinline__ void load(tiles &s, const matrices &a, int stage, int k0)
{
    int t = threadIdx.x;
    for (int i = 0; i < 2; i++) {
        int row = (t + 256 * i) / 4, column = 8 * (t % 4), from = 128 * blockIdx.y + row;
        copy16(&s.x[stage][row][column], a.x + (size_t)from * a.k + k0 + column, from < a.m);
    }
    if (t < 128) {
        int from = 128 * blockIdx.x + t;
        copy16(s.packed[stage][t], a.w + ((size_t)from * a.k + k0) / 2, from < a.n);
    }
    commit();
}

static __device__ __forceinline__ void unpack(tiles &s, const matrices &a, int stage, int k0)
{
    int row = threadIdx.x / 2, half = threadIdx.x % 2, from = 128 * blockIdx.x + row;
    float scale = from < a.n ? a.absmax[(size_t)from * (a.k / 64) + k0 / 64] : 0.0f;
    uint2 bytes = *(const uint2 *)&s.packed[stage][row][8 * half];
    unsigned out[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
        float2 pair = s.pairs[(i < 4 ? bytes.x : bytes.y) >> 8 * (i % 4) & 255];
        out[i] = pack(pair.x * scale, pair.y * scale);
    }
    uint4 *to = (uint4 *)&s.w[row][16 * half];
    to[0] = make_uint4(out[0], out[1], out[2], out[3]);
    to[1] = make_uint4(out[4], out[5], out[6], out[7]);
}

extern "C" __global__ void __launch_bounds__(256) nf4_gemm(matrices a)
{
    extern __shared__ __align__(16) unsigned char dynamic[];
    tiles &s = *(tiles *)dynamic;
    int t = threadIdx.x, warp = t / 32, lane = t % 32;
    int m0 = 64 * (warp / 4), n0 = 32 * (warp % 4);
    float sums[4][4][4] = {};
    load(s, a, 0, 0);
    s.pairs[t] = make_float2(codes[t >> 4], codes[t & 15]);
    for (int k0 = 0, stage = 0; k0 < a.k; k0 += 32, stage ^= 1) {
        wait<0>();
        __syncthreads(); /* the stage is there, and nobody reads the other one and w any more */
        if (k0 + 32 < a.k)
            load(s, a, stage ^ 1, k0 + 32);
        unpack(s, a, stage, k0);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < 32; k += 16) {
            unsigned xs[4][4], ws[2][4];
#pragma unroll
            for (int i = 0; i < 4; i++)
                load_matrices(xs[i], shared_address(
                                         &s.x[stage][m0 + 16 * i + lane % 16][k + 8 * (lane / 16)]));
#pragma unroll
            for (int j = 0; j < 2; j++)
                load_matrices(ws[j],
                              shared_address(&s.w[n0 + 16 * j + lane % 8 + 8 * (lane / 16)]
                                                 [k + 8 * (lane / 8 % 2)]));
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++)
                    mma(sums[i][j], xs[i], ws[j / 2][2 * (j % 2)], ws[j / 2][2 * (j % 2) + 1]);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int row = 128 * blockIdx.y + m0 + 16 * i + lane / 4 + 8 * (e / 2);
                int column = 128 * blockIdx.x + n0 + 8 * j + 2 * (lane % 4) + e % 2;
                if (row < a.m && column < a.n)
                    a.y[(size_t)row * a.n + column] = sums[i][j][e];
            }
}
