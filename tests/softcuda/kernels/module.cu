/* One module of 20 kernels, as large as a program's: all eight real ones twice, four of them a third
 * time, under other names. For the time that loading takes. */
#include "kernels/tensor.cuh" /* once, outside the namespaces below */

#define JOIN_TOKENS(a, b) a##_##b
#define JOIN(a, b)        JOIN_TOKENS(a, b)

#define attention  JOIN(attention, SET)
#define nf4_gemm   JOIN(nf4_gemm, SET)
#define rmsnorm    JOIN(rmsnorm, SET)
#define softmax    JOIN(softmax, SET)
#define grid_sum   JOIN(grid_sum, SET)
#define assign     JOIN(assign, SET)
#define accumulate JOIN(accumulate, SET)
#define phases     JOIN(phases, SET)

#define SET 1
#include "tests/softcuda/kernels/module_set.cuh"
#undef SET
#define SET 2
#include "tests/softcuda/kernels/module_set.cuh"
#undef SET
#define SET 3
#include "tests/softcuda/kernels/module_set.cuh"
