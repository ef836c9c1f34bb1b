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

/* Either, for a product that takes both. Borrowed. */
struct weighted {
    const struct nf4_tiles *tiles;    /* NULL: */
    const struct dense_matrix *dense; /* of the device */
    const double *values;             /* (rows, columns) */
    int rows, columns;
};
struct weighted weighted_tiles(const struct joined *joined);
struct weighted weighted_dense(const struct dense_on_device *dense);

/* ---- what a product's rows promise ---------------------------------------------------------- */

#define CHOSEN (-1) /* in the place of a shape's number: the one that the product chooses */

/* Rows first_row up to first_row + m of the result, which the caller frees, by one of the shapes.
 */
typedef float *product_rows(const void *context, int shape, int first_row, int m);

/* all (m, width): the rows from 0 on, 61 at least, have the same bytes when they begin at the 60th
 * only, in each of n_shapes shapes and in the chosen one. */
void check_shapes(product_rows *product, const void *context, const float *all, int m, int width,
                  int n_shapes);
/* And when they are alone. */
void check_rows_alone(product_rows *product, const void *context, const float *all, int m,
                      int width);

/* nf4_matmul_fwd or nf4_matmul_bwd_input: a NaN in one of the rows that it reads, which are those
 * of a matrix of 48 rows or of its 128 columns, is all over that row of the result, and nowhere
 * else. */
typedef enum status nf4_product(struct device *device, void *result, const void *from,
                                const struct nf4_matrix *w, int m, bool add, struct err *err);
void check_nan_stays_in_its_row(nf4_product *product, bool backwards);

#endif
