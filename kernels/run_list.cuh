/* Which run and which piece of its work a block has, in kernels over several runs. */
#ifndef MIDASHI_KERNELS_RUN_LIST_CUH
#define MIDASHI_KERNELS_RUN_LIST_CUH

#include "kernels/run_list.h"

/* Runs go fastest, so that blocks of the same rows are under way together. */
static __device__ __forceinline__ int run_of_block(const run_list &runs)
{
    return runs.of[blockIdx.x % runs.n];
}

static __device__ __forceinline__ int piece_of_block(const run_list &runs)
{
    return blockIdx.x / runs.n;
}

#endif
