/* See cuda_linear.h. */
#include "host/cuda_linear.h"

#include "kernels/lora.h"
#include "kernels/matmul.h"
#include "kernels/nf4_matmul.h"

static int rows_before(const struct cuda_linear *linear, int part)
{
    int rows = 0;
    for (int i = 0; i < part; i++)
        rows += linear->rows[i];
    return rows;
}

static void plan_nf4(struct cuda_linear *linear, struct cuda_arena *arena)
{
    static const float some;
    struct nf4_matrix matrices[CUDA_LINEAR_PARTS];
    const struct nf4_matrix *parts[CUDA_LINEAR_PARTS];
    for (int i = 0; i < linear->n_parts; i++) {
        matrices[i] = (struct nf4_matrix){
            .rows = linear->rows[i],
            .columns = linear->columns,
            .absmax = linear->not_nested[i] ? &some : NULL,
        };
        parts[i] = &matrices[i];
    }
    size_t bytes = nf4_tiles_plan(&linear->nf4, parts, linear->n_parts);
    nf4_tiles_place(&linear->nf4, cuda_arena_take(arena, bytes, 1));
}

void cuda_linear_plan(struct cuda_linear *linear, bool bias, struct cuda_arena *arena)
{
    int rows = rows_before(linear, linear->n_parts);
    size_t n = (size_t)rows * (size_t)linear->columns;
    if (linear->precision == PRECISION_NF4)
        plan_nf4(linear, arena);
    else
        linear->dense = (struct dense_matrix){PRECISION_BF16, cuda_arena_take(arena, n, 2), rows,
                                              linear->columns};
    linear->bias = bias ? cuda_arena_take(arena, (size_t)rows, sizeof(float)) : NULL;
}

enum status cuda_linear_load(struct cuda_linear *linear, int part, const char *name,
                             struct cuda_upload *upload, struct err *err)
{
    if (linear->precision == PRECISION_NF4)
        return cuda_upload_nf4(upload, name, &linear->nf4, part, err);
    size_t before = (size_t)rows_before(linear, part) * (size_t)linear->columns;
    uint16_t *data = (uint16_t *)(uintptr_t)linear->dense.data;
    return cuda_upload_dense(upload, name, linear->rows[part], linear->columns, PRECISION_BF16,
                             data + before, err);
}

enum status cuda_linear_load_bias(struct cuda_linear *linear, int part, const char *name,
                                  struct cuda_upload *upload, struct err *err)
{
    return cuda_upload_dense(upload, name, 1, linear->rows[part], PRECISION_F32,
                             linear->bias + rows_before(linear, part), err);
}

enum status cuda_linear_fwd(struct device *device, void *y, const void *x,
                            const struct cuda_linear *linear, int m, bool add,
                            const struct lora_parts *parts, void *s, const struct dropout *dropout,
                            struct err *err)
{
    if (parts)
        TRY(lora_s_cuda(device, s, x, linear->columns, parts, dropout, m, err));
    if (linear->precision == PRECISION_NF4)
        return nf4_matmul_lora_fwd_cuda(device, y, x, &linear->nf4, linear->bias, m, add, parts, s,
                                        err);
    return matmul_lora_fwd_cuda(device, y, x, &linear->dense, linear->bias, m, add, parts, s, err);
}

enum status cuda_linear_bwd_input(struct device *device, void *dx, const void *dy,
                                  const struct cuda_linear *linear, int m, bool add,
                                  const struct lora_parts *parts, const void *ds,
                                  const struct dropout *dropout, struct err *err)
{
    if (linear->precision == PRECISION_NF4)
        return nf4_matmul_bwd_input_cuda(device, dx, dy, &linear->nf4, m, add, parts, ds, dropout,
                                         err);
    return matmul_bwd_input_cuda(device, dx, dy, &linear->dense, m, add, parts, ds, dropout, err);
}
