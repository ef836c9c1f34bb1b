/* Matrix products with a dense weight in the harness, float32 and bfloat16. */
#include "kernels/matmul.h"
#include "bench/operations.h"
#include "bench/rows/product.h"

static enum status prepare(struct trial *trial, enum tensor_type type, struct err *err)
{
    TRY(product_prepare(trial, err));
    return trial_tensor(trial, type, TENSOR_READ, trial->size[PRODUCT_N] * trial->size[PRODUCT_K],
                        0.05, err);
}

static enum status prepare_f32(struct trial *trial, struct err *err)
{
    return prepare(trial, TENSOR_F32, err);
}

static enum status prepare_bf16(struct trial *trial, struct err *err)
{
    return prepare(trial, TENSOR_BF16, err);
}

static enum status run(struct trial *trial, struct err *err)
{
    struct dense_matrix w = {
        .type = trial->tensors[PRODUCT_W].type == TENSOR_BF16 ? PRECISION_BF16 : PRECISION_F32,
        .data = trial_at(trial, PRODUCT_W),
        .rows = (int)trial->size[PRODUCT_N],
        .columns = (int)trial->size[PRODUCT_K],
    };
    return matmul_fwd(trial->device, trial_at(trial, PRODUCT_Y), trial_at(trial, PRODUCT_X), &w,
                      (int)trial->size[PRODUCT_M], false, err);
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    return product_verify(trial, trial_doubles(trial, PRODUCT_W), verdict, err);
}

const struct bench_operation bench_matmul_f32 = {
    .name = "matmul_fwd",
    .dtype = "f32",
    .dimensions = PRODUCT_DIMENSIONS,
    .shapes = product_shapes,
    .refuse = product_refuse,
    .prepare = prepare_f32,
    .run = run,
    .verify = verify,
};

const struct bench_operation bench_matmul_bf16 = {
    .name = "matmul_fwd",
    .dtype = "bf16",
    .dimensions = PRODUCT_DIMENSIONS,
    .cuda = true,
    .shapes = product_shapes,
    .refuse = product_refuse,
    .prepare = prepare_bf16,
    .run = run,
    .verify = verify,
};
