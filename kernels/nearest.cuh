/* A run's part of the list that all runs of the nearest centre have. */
#ifndef MIDASHI_KERNELS_NEAREST_CUH
#define MIDASHI_KERNELS_NEAREST_CUH

#include "kernels/nearest_job.h"
#include "kernels/run_list.cuh"

/* n: all rows. */
static __device__ __forceinline__ nearest_list list_of_run(const nearest_list &all, int run, int n)
{
    size_t first = (size_t)run * n;
    return {all.n + run, all.row + first, all.least + first, all.n_candidates + first,
            all.candidates + first * NEAREST_CANDIDATES};
}

#endif
