/* A linear layer on a GPU: one matrix, which may be several of the model's that have their input in
 * common (q, k and v; gate and up), joined along the output; with a bias where the model has one.
 */
#ifndef MIDASHI_HOST_CUDA_LINEAR_H
#define MIDASHI_HOST_CUDA_LINEAR_H

#include "host/base/cuda_memory.h"
#include "host/cuda_upload.h"
#include "kernels/dense_matrix.h"
#include "kernels/dropout_mask.h"
#include "kernels/lora_parts.h"

#define CUDA_LINEAR_PARTS 3

struct cuda_linear {
    enum precision precision; /* PRECISION_NF4, PRECISION_BF16 */
    int columns, n_parts;
    int rows[CUDA_LINEAR_PARTS]; /* of each part */
    /* A checkpoint holds this part in NF4 whose scales are float32. */
    bool not_nested[CUDA_LINEAR_PARTS];
    union {
        struct nf4_tiles nf4;
        struct dense_matrix dense; /* data in the GPU's memory */
    };
    float *bias; /* (all rows), NULL: none */
};

/* Takes what it needs from the arena, which may be measuring. Shape and precision are set already.
 */
void cuda_linear_plan(struct cuda_linear *linear, bool bias, struct cuda_arena *arena);
/* Tensor `name` as the part-th matrix, or as its bias. */
enum status cuda_linear_load(struct cuda_linear *linear, int part, const char *name,
                             struct cuda_upload *upload, struct err *err);
enum status cuda_linear_load_bias(struct cuda_linear *linear, int part, const char *name,
                                  struct cuda_upload *upload, struct err *err);

/* y (m, all rows) = x (m, columns) · Wᵀ + bias, or += with add, with the terms of the parts'
 * adapters, whose s (m, parts->padded) is written. parts NULL: there is none, and s and dropout are
 * not read. */
enum status cuda_linear_fwd(struct device *device, void *y, const void *x,
                            const struct cuda_linear *linear, int m, bool add,
                            const struct lora_parts *parts, void *s, const struct dropout *dropout,
                            struct err *err);

/* dx (m, columns) = dy (m, all rows) · W, or += with add, with what goes back through the parts'
 * adapters: ds (m, parts->padded) from lora_ds_cuda. */
enum status cuda_linear_bwd_input(struct device *device, void *dx, const void *dy,
                                  const struct cuda_linear *linear, int m, bool add,
                                  const struct lora_parts *parts, const void *ds,
                                  const struct dropout *dropout, struct err *err);

#endif
