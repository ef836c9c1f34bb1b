/* The made-up inputs of tests/golden/make_cluster.py, bit by bit: sums, products and comparisons of
 * float64 in the same order, and no function of the mathematics library. */
#ifndef MIDASHI_TESTS_CLUSTER_INPUTS_H
#define MIDASHI_TESTS_CLUSTER_INPUTS_H

#include <stdlib.h>
#include <string.h>
#include "tests/support.h"

struct cluster_case {
    char shape[32];
    int n, d, k;
    uint64_t seed;
    double spread;
};

static inline double cluster_uniform(uint64_t seed, uint64_t index)
{
    return (double)(mix64(seed, index) >> 11) * 0x1p-53;
}

/* The sum of four uniform numbers, less 2. */
static inline double cluster_bell(uint64_t seed, uint64_t index)
{
    double sum = cluster_uniform(seed, 4 * index);
    for (uint64_t i = 1; i < 4; i++)
        sum += cluster_uniform(seed, 4 * index + i);
    return sum - 2;
}

/* (n, d); the caller frees with free(). */
static inline float *cluster_rows(const struct cluster_case *c)
{
    size_t d = (size_t)c->d;
    float *x = malloc((size_t)c->n * d * sizeof *x + 1);
    ck_assert_ptr_nonnull(x);
    for (size_t i = 0; i < (size_t)c->n; i++)
        for (size_t j = 0; j < d; j++) {
            size_t row = strcmp(c->shape, "duplicates") == 0 ? i % 10 : i;
            double value;
            if (strcmp(c->shape, "uniform") == 0)
                value = cluster_uniform(c->seed, row * d + j);
            else if (strcmp(c->shape, "line") == 0)
                value = cluster_bell(c->seed, row) * (double)(j + 1) + (double)j;
            else
                value = 10 * cluster_uniform(c->seed + 1, row % (size_t)c->k * d + j) +
                        c->spread * cluster_bell(c->seed, row * d + j);
            if (strcmp(c->shape, "stretched") == 0)
                value *= (double)(1 << 2 * (j % 4));
            if (strcmp(c->shape, "far") == 0)
                value += 1000;
            x[i * d + j] = (float)value;
        }
    return x;
}

#endif
