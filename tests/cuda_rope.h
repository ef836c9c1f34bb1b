/* What rotary embedding on softcuda needs beside the values that are turned, for the tests of both
 * its ways. */
#ifndef MIDASHI_TESTS_CUDA_ROPE_H
#define MIDASHI_TESTS_CUDA_ROPE_H

#include "kernels/rope.h"
#include "tests/cuda_support.h"

#define ROPE_EPS 1e-6

struct rope_case {
    struct cuda_tensor x, raw; /* the test's own: values; and what they were before, backwards */
    struct cuda_tensor positions, cos_table, sin_table, q_norm, k_norm;
    double inv_freq[512];
    int32_t position[8]; /* of the rows, far apart, all in the tables */
    float *norms;        /* (2, head_dim) of q's heads and of k's */
};

/* For n rows, up to 8, of heads of up to 1024. */
void rope_case_open(struct rope_case *c, int n, int head_dim);
/* All but x and raw. */
void rope_case_close(struct rope_case *c);

/* x, which is there, and c's tables; normed: the heads' norms too. Without raw. */
struct rope_cuda rope_case_of(const struct rope_case *c, size_t stride, int n_heads, int n_kv_heads,
                              int head_dim, bool normed);

#endif
