/* Causal attention of one head, d = 64: y (T, 64) f32 of q, k, v (T, 64) bf16. A block takes 64
 * queries, a warp 16 of them; keys come in tiles of 64, two stages deep; softmax on the way. */
#include "kernels/tensor.cuh"

#define ROW 72

struct tiles {
    __nv_bfloat16 q[64][ROW];
    __nv_bfloat16 k[2][64][ROW];
    __nv_bfloat16 v[2][64][ROW];
};

static __device__ __forceinline__ void load_tile(__nv_bfloat16 (*to)[ROW], const __nv_bfloat16 *from,
                                                 int first, int n)
{
    for (int i = threadIdx.x; i < 64 * 8; i += 128) {
        int row = i / 8, column = 8 * (i % 8);
        copy16(&to[row][column], from + (size_t)(first + row) * 64 + column, first + row < n);
    }
}

static __device__ __forceinline__ float quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 2));
}

static __device__ __forceinline__ float quad_sum(float x)
{
    x += __shfl_xor_sync(0xFFFFFFFFu, x, 1);
    return x + __shfl_xor_sync(0xFFFFFFFFu, x, 2);
}

extern "C" __global__ void __launch_bounds__(128)
    attention(float *y, const __nv_bfloat16 *q, const __nv_bfloat16 *k, const __nv_bfloat16 *v, int n)
{
    extern __shared__ __align__(16) unsigned char dynamic[];
    tiles &s = *(tiles *)dynamic;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, q0 = 64 * blockIdx.x;
    int n_tiles = (min(q0 + 64, n) + 63) / 64;
    unsigned queries[4][4];
    float out[8][4] = {}, most[2] = {-INFINITY, -INFINITY}, total[2] = {};
    load_tile(s.q, q, q0, n);
    load_tile(s.k[0], k, 0, n);
    load_tile(s.v[0], v, 0, n);
    commit();
    for (int tile = 0; tile < n_tiles; tile++) {
        int stage = tile & 1;
        wait<0>();
        __syncthreads();
        if (tile + 1 < n_tiles) {
            load_tile(s.k[stage ^ 1], k, 64 * (tile + 1), n);
            load_tile(s.v[stage ^ 1], v, 64 * (tile + 1), n);
        }
        commit();
        if (tile == 0)
#pragma unroll
            for (int i = 0; i < 4; i++)
                load_matrices(queries[i], shared_address(&s.q[16 * warp + lane % 16]
                                                             [16 * i + 8 * (lane / 16)]));
        float scores[8][4] = {};
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                unsigned keys[4];
                load_matrices(keys,
                              shared_address(&s.k[stage][16 * j + lane % 8 + 8 * (lane / 16)]
                                                 [16 * i + 8 * (lane / 8 % 2)]));
                mma(scores[2 * j], queries[i], keys[0], keys[1]);
                mma(scores[2 * j + 1], queries[i], keys[2], keys[3]);
            }
        float now[2] = {most[0], most[1]};
#pragma unroll
        for (int j = 0; j < 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int key = 64 * tile + 8 * j + 2 * (lane % 4) + e % 2;
                int query = q0 + 16 * warp + lane / 4 + 8 * (e / 2);
                scores[j][e] = key <= query ? scores[j][e] * 0.125f : -INFINITY;
                now[e / 2] = fmaxf(now[e / 2], scores[j][e]);
            }
        float scale[2];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            now[h] = quad_max(now[h]);
            scale[h] = exp2f((most[h] - now[h]) * 1.44269504f);
            most[h] = now[h];
            total[h] *= scale[h];
        }
#pragma unroll
        for (int j = 0; j < 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                scores[j][e] = exp2f((scores[j][e] - now[e / 2]) * 1.44269504f);
                total[e / 2] += scores[j][e];
                out[j][e] *= scale[e / 2];
            }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            unsigned p[4] = {pack(scores[2 * i][0], scores[2 * i][1]),
                             pack(scores[2 * i][2], scores[2 * i][3]),
                             pack(scores[2 * i + 1][0], scores[2 * i + 1][1]),
                             pack(scores[2 * i + 1][2], scores[2 * i + 1][3])};
#pragma unroll
            for (int j = 0; j < 4; j++) {
                unsigned values[4];
                load_matrices<true>(values, shared_address(&s.v[stage][16 * i + lane % 16]
                                                                   [16 * j + 8 * (lane / 16)]));
                mma(out[2 * j], p, values[0], values[1]);
                mma(out[2 * j + 1], p, values[2], values[3]);
            }
        }
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int query = q0 + 16 * warp + lane / 4 + 8 * h;
        float sum = quad_sum(total[h]);
#pragma unroll
        for (int j = 0; j < 8; j++)
            if (query < n)
                *(float2 *)&y[(size_t)query * 64 + 8 * j + 2 * (lane % 4)] =
                    make_float2(out[j][2 * h] / sum, out[j][2 * h + 1] / sum);
    }
}
