/* What the kernels for tensor cores share: cp.async, ldmatrix and mma by name;
 * words that change places in a quad. */
#ifndef MIDASHI_KERNELS_TENSOR_CUH
#define MIDASHI_KERNELS_TENSOR_CUH

#include <cuda_bf16.h>

static __device__ __forceinline__ unsigned shared_address(const void *p)
{
    return (unsigned)__cvta_generic_to_shared(p);
}

/* 16 bytes; where there are none to read (a row behind the end) zeros. */
static __device__ __forceinline__ void copy16(void *to, const void *from, bool there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(there ? 16 : 0)
                 : "memory");
}
static __device__ __forceinline__ void commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int N> static __device__ __forceinline__ void wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* The same number, of which the compiler knows nothing. It would compute it again in a loop rather
 * than keep it, and take sums of it with constants apart that ptxas can put into the instruction
 * which uses them. */
static __device__ __forceinline__ unsigned opaque(unsigned x)
{
    asm volatile("mov.u32 %0, %0;" : "+r"(x));
    return x;
}

/* Four matrices of 8 x 8, by the address of this lane's row in shared memory. */
template <bool TRANSPOSED = false>
static __device__ __forceinline__ void load_matrices(unsigned *x, unsigned address)
{
    if constexpr (TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                     : "r"(address)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                     : "r"(address)
                     : "memory");
}

/* d (16, 8) += a (16, 16) b (16, 8). */
static __device__ __forceinline__ void mma(float *d, const unsigned *a, unsigned b0, unsigned b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* d (16, 8) = a (16, 16) b (16, 8): the first link of a chain. */
static __device__ __forceinline__ void mma_first(float *d, const unsigned *a, unsigned b0,
                                                 unsigned b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%10, %10, %10, %10};"
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(0.0f));
}

static __device__ __forceinline__ unsigned pack(float low, float high)
{
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *(unsigned *)&pair;
}

/* Among the four lanes of a quad: word j of lane i becomes word i of lane j. A fragment has word i
 * of four chunks of 16 bytes in lane i; memory, and a counter of Philox, have whole chunks. */
static __device__ __forceinline__ void transpose_quad(unsigned *word)
{
#pragma unroll
    for (int bit = 1; bit <= 2; bit *= 2)
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (!(j & bit)) {
                bool high = threadIdx.x & bit;
                unsigned kept = high ? word[j | bit] : word[j];
                unsigned other =
                    __shfl_xor_sync(0xFFFFFFFF, high ? word[j] : word[j | bit], bit);
                word[j] = high ? other : kept;
                word[j | bit] = high ? kept : other;
            }
}

#endif
