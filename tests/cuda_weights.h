/* Weights on softcuda for the tests of matrix products: NF4, joined from several tensors, and
 * bfloat16. */
#ifndef MIDASHI_TESTS_CUDA_WEIGHTS_H
#define MIDASHI_TESTS_CUDA_WEIGHTS_H

#include "kernels/dense_matrix.h"
#include "kernels/nf4_tiles.h"
#include "tests/cuda_support.h"

/* A matrix on the host and what it stands for: the dequantised weight, rounded to bfloat16. */
struct weight {
    struct nf4_matrix nf4;
    uint8_t *codes, *absmax_codes;
    float *absmax, *nested_absmax;
    double *values; /* (rows, columns) */
};

/* Segments joined on the device, and their values one below the other. */
struct joined {
    struct weight parts[NF4_SEGMENTS];
    int n_parts;
    struct nf4_tiles tiles;
    struct cuda_tensor memory;
    double *values;
};

/* Normal values by shape and number of the part. nested: double-quantised. */
struct joined join(const int *rows, int n_parts, int columns, bool nested);
void joined_free(struct joined *joined);

struct dense_on_device {
    struct cuda_tensor tensor;
    struct dense_matrix matrix;
    double *values;
};

/* values: (rows, columns), or NULL for normal ones. */
struct dense_on_device dense_make(int rows, int columns, const double *values);
void dense_free(struct dense_on_device *dense);

#endif
