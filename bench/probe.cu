/* What a GPU can do at best: its launches and its tensor cores, for `midashi bench`. */
#include <cstdint>

/* A launch and nothing else. */
extern "C" __global__ void probe_empty()
{
}

#define CHAINS 8 /* independent sums of a warp: more than the latency of an mma needs */

/* Each warp runs `steps` times CHAINS products of 16 x 16 by 16 x 8 in bfloat16 with float32 sums,
 * all from registers. out: a float a thread, so that nothing is left out. */
extern "C" __global__ void __launch_bounds__(256) probe_mma(float *out, int steps)
{
    float sum[CHAINS][4] = {};
    uint32_t a[4], b[2];
    for (int i = 0; i < 4; i++)
        a[i] = 0x3C003C00u + threadIdx.x;
    for (int i = 0; i < 2; i++)
        b[i] = 0x3C003C00u - threadIdx.x;
    for (int step = 0; step < steps; step++)
#pragma unroll
        for (int i = 0; i < CHAINS; i++)
            asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                         "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                         : "+f"(sum[i][0]), "+f"(sum[i][1]), "+f"(sum[i][2]), "+f"(sum[i][3])
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    float total = 0;
    for (int i = 0; i < CHAINS; i++)
        for (int j = 0; j < 4; j++)
            total += sum[i][j];
    out[blockIdx.x * blockDim.x + threadIdx.x] = total;
}
