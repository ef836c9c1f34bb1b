/* Which run and which piece of its work a block of the nearest centre's kernels has, and the run's
 * part of what all runs have. */
#ifndef MIDASHI_KERNELS_NEAREST_CUH
#define MIDASHI_KERNELS_NEAREST_CUH

#include "kernels/nearest_job.h"

/* Runs go fastest, so that blocks of the same rows are under way together. */
static __device__ __forceinline__ int run_of_block(const run_list &runs)
{
    return runs.of[blockIdx.x % runs.n];
}

static __device__ __forceinline__ int piece_of_block(const run_list &runs)
{
    return blockIdx.x / runs.n;
}

/* n: all rows. */
static __device__ __forceinline__ nearest_list list_of_run(const nearest_list &all, int run, int n)
{
    size_t first = (size_t)run * n;
    return {all.n + run, all.row + first, all.least + first, all.n_candidates + first,
            all.candidates + first * NEAREST_CANDIDATES};
}

#endif
