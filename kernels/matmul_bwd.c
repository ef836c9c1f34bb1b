/* Gradient by the input of a matrix product with a dense weight: CUDA launch (CPU code and
 * dispatch: matmul.c). */
#include "kernels/matmul.h"

#include <assert.h>
#include "host/base/cuda_device.h"
#include "kernels/product_bwd.h"
#include "kernels/product_shape.h"

/* Those of matmul_bwd.cu. */
static const struct product_shape shapes[MATMUL_BWD_SHAPES] = {
    {"matmul_bwd_128x256", 128, 256, 1, 8, 2, 1},
    {"matmul_bwd_96x256", 96, 256, 1, 8, 2, 1},
    {"matmul_bwd_64x128", 64, 128, 1, 4, 2, 3},
    {"matmul_bwd_32x64", 32, 64, 1, 4, 4, 5},
};
static const struct product_shape any_shape = {"matmul_bwd_any", 32, 64, 1, 4, 2, 4};

/* 64 weights of a column: those of the forward product. */
static const struct product_weight weight_cost = {128, 1, 1, 128, 0};

enum status matmul_shape_bwd_input_cuda(struct device *device, int shape, void *dx, const void *dy,
                                        const struct dense_matrix *w, int m, bool add,
                                        const struct lora_parts *parts, const void *ds,
                                        const struct dropout *dropout, struct err *err)
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
    struct matmul_bwd argument = {
        .data = w->data,
        .rows = w->rows,
        .columns = w->columns,
        .adapters = product_adapters_of(parts, ds, dropout),
    };
    bool any = w->rows % 8 != 0 || w->columns % 8 != 0;
    assert(shape >= 0 && shape < MATMUL_BWD_SHAPES);
    assert(!parts || (parts->columns == w->columns && parts->rows == w->rows));
    if (w->type != PRECISION_BF16)
        return err_set(err, STATUS_RESOURCE, "matmul: a GPU takes weights in bf16");
    if (m == 0)
        return STATUS_OK;
    return product_launch(device->cuda, "matmul_bwd", any ? &any_shape : &shapes[shape],
                          &weight_cost, &product, w->columns, &argument, err);
}

enum status matmul_bwd_input_cuda(struct device *device, void *dx, const void *dy,
                                  const struct dense_matrix *w, int m, bool add,
                                  const struct lora_parts *parts, const void *ds,
                                  const struct dropout *dropout, struct err *err)
{
    int shape = product_shape_choose(shapes, MATMUL_BWD_SHAPES, &weight_cost, &device->cuda->info,
                                     m, w->columns);
    return matmul_shape_bwd_input_cuda(device, shape, dx, dy, w, m, add, parts, ds, dropout, err);
}
