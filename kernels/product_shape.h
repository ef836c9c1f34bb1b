/* Shapes of the tiles of a matrix product on a GPU (product.cuh), and which one a product gets. An
 * element's sum has the same order in all of them, so the choice may depend on the number of rows.
 */
#ifndef MIDASHI_KERNELS_PRODUCT_SHAPE_H
#define MIDASHI_KERNELS_PRODUCT_SHAPE_H

#include "host/base/cuda_device.h"
#include "kernels/product.h"

struct product_shape {
    const char *kernel;
    int rows, columns; /* of Y, a CTA's */
    int warps_high, warps_wide, stages;
    int side_by_side; /* CTAs of a multiprocessor at most, by their registers */
};

/* What a kind of weight costs. */
struct product_weight {
    double bytes;           /* of 64 weights in a row, as they come from memory */
    double wavefronts;      /* passes through shared memory for 64 weights of a row, once a CTA */
    double wavefronts_warp; /* and for each warp that stands above another */
    int stage_bytes;        /* in shared memory, of a row's 64 weights, in each stage */
    int more_bytes;         /* in shared memory, of a row, once */
};

/* Dynamic shared memory of a CTA. */
unsigned product_shared_bytes(const struct product_shape *shape,
                              const struct product_weight *weight);

/* The number of the shape that takes least by the model of product_shape.c. width: rows of the
 * weight, those included that fill up tiles. */
int product_shape_choose(const struct product_shape *shapes, int n_shapes,
                         const struct product_weight *weight, const struct cuda_info *info, int m,
                         int width);

/* parts NULL: no adapters. */
void product_set_low_rank(struct product *product, const struct lora_parts *parts, const void *s);

/* Queues the kernel. weight_argument: its second parameter. product->tall is set here. */
enum status product_launch(struct cuda_device *cuda, const char *image,
                           const struct product_shape *shape, const struct product_weight *weight,
                           struct product *product, int width, void *weight_argument,
                           struct err *err);

#endif
