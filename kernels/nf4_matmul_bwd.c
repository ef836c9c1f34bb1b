/* Gradient by the input of a matrix product with an NF4 weight: CUDA launch (CPU code and dispatch:
 * nf4_matmul.c). */
#include "kernels/nf4_matmul.h"

#include <assert.h>
#include "host/base/cuda_device.h"
#include "kernels/product_bwd.h"
#include "kernels/product_shape.h"

/* Those of nf4_matmul_bwd.cu. */
static const struct product_shape shapes[NF4_MATMUL_BWD_SHAPES] = {
    {"nf4_matmul_bwd_128x256", 128, 256, 1, 8, 3, 1},
    {"nf4_matmul_bwd_96x256", 96, 256, 1, 8, 3, 1},
    {"nf4_matmul_bwd_96x128", 96, 128, 1, 4, 2, 2},
    {"nf4_matmul_bwd_64x128", 64, 128, 1, 4, 3, 3},
    {"nf4_matmul_bwd_32x128", 32, 128, 1, 4, 4, 4},
    {"nf4_matmul_bwd_32x64", 32, 64, 1, 2, 4, 8},
};
static const struct product_shape any_shape = {"nf4_matmul_bwd_any", 32, 64, 1, 4, 2, 4};

/* 64 weights of a column: 32 bytes of codes and one of absmax, four in shared memory. 64 look-ups
 * by shuffles take 2 passes, codes a quarter when they come and half when they go, absmax half. */
static const struct product_weight weight_cost = {33, 3.25, 0, 36, 0};
/* For any_shape, which keeps nothing there. */
static const struct product_weight any_cost = {33, 3.25, 0, 0, 0};

/* Whether k may count rows of tiles, and rows of dy are whole vectors. */
static bool takes_tiles(const struct nf4_tiles *w)
{
    for (int i = 0; i + 1 < w->n_segments; i++)
        if (w->segments[i].rows % NF4_TILE_ROWS != 0)
            return false;
    return !w->flat && w->rows % 8 == 0;
}

enum status nf4_matmul_shape_bwd_input_cuda(struct device *device, int shape, void *dx,
                                            const void *dy, const struct nf4_tiles *w, int m,
                                            bool add, const struct lora_parts *parts,
                                            const void *ds, const struct dropout *dropout,
                                            struct err *err)
{
    struct product product = {
        .y = dx,
        .x = dy,
        .m = m,
        .rows = w->columns,
        .columns = w->rows,
        .add = add,
        .vectors = w->columns % 8 == 0,
    };
    struct nf4_matmul_bwd argument = {*w, product_adapters_of(parts, ds, dropout)};
    bool tiles = takes_tiles(w);
    assert(shape >= 0 && shape < NF4_MATMUL_BWD_SHAPES);
    assert(!parts || (parts->columns == w->columns && parts->rows == w->rows));
    if (m == 0)
        return STATUS_OK;
    return product_launch(device->cuda, "nf4_matmul_bwd", tiles ? &shapes[shape] : &any_shape,
                          tiles ? &weight_cost : &any_cost, &product, w->columns, &argument, err);
}

enum status nf4_matmul_bwd_input_cuda(struct device *device, void *dx, const void *dy,
                                      const struct nf4_tiles *w, int m, bool add,
                                      const struct lora_parts *parts, const void *ds,
                                      const struct dropout *dropout, struct err *err)
{
    int shape = product_shape_choose(shapes, NF4_MATMUL_BWD_SHAPES, &weight_cost,
                                     &device->cuda->info, m, w->columns);
    return nf4_matmul_shape_bwd_input_cuda(device, shape, dx, dy, w, m, add, parts, ds, dropout,
                                           err);
}
