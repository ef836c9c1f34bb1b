/* Matrix products with a dense weight in the harness, float32 and bfloat16. */
#include "kernels/matmul.h"
#include "bench/operations.h"
#include "bench/rows/product.h"

static enum status prepare(struct trial *trial, bool back, enum tensor_type type, struct err *err)
{
    TRY(product_prepare(trial, back, err));
    return trial_tensor(trial, type, TENSOR_READ, trial->size[PRODUCT_N] * trial->size[PRODUCT_K],
                        0.05, err);
}

static enum status prepare_f32(struct trial *trial, struct err *err)
{
    return prepare(trial, false, TENSOR_F32, err);
}

static enum status prepare_bf16(struct trial *trial, struct err *err)
{
    return prepare(trial, false, TENSOR_BF16, err);
}

static enum status prepare_back_f32(struct trial *trial, struct err *err)
{
    return prepare(trial, true, TENSOR_F32, err);
}

static enum status prepare_back_bf16(struct trial *trial, struct err *err)
{
    return prepare(trial, true, TENSOR_BF16, err);
}

static struct dense_matrix matrix_of(const struct trial *trial)
{
    return (struct dense_matrix){
        .type = trial->tensors[PRODUCT_W].type == TENSOR_BF16 ? PRECISION_BF16 : PRECISION_F32,
        .data = trial_at(trial, PRODUCT_W),
        .rows = (int)trial->size[PRODUCT_N],
        .columns = (int)trial->size[PRODUCT_K],
    };
}

static enum status run(struct trial *trial, struct err *err)
{
    struct dense_matrix w = matrix_of(trial);
    return matmul_fwd(trial->device, trial_at(trial, PRODUCT_Y), trial_at(trial, PRODUCT_X), &w,
                      (int)trial->size[PRODUCT_M], false, err);
}

static enum status run_back(struct trial *trial, struct err *err)
{
    struct dense_matrix w = matrix_of(trial);
    return matmul_bwd_input(trial->device, trial_at(trial, PRODUCT_Y), trial_at(trial, PRODUCT_X),
                            &w, (int)trial->size[PRODUCT_M], false, err);
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    return product_verify(trial, false, trial_doubles(trial, PRODUCT_W), verdict, err);
}

static enum status verify_back(struct trial *trial, struct verdict *verdict, struct err *err)
{
    return product_verify(trial, true, trial_doubles(trial, PRODUCT_W), verdict, err);
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

const struct bench_operation bench_matmul_bwd_input_f32 = {
    .name = "matmul_bwd_input",
    .dtype = "f32",
    .dimensions = PRODUCT_DIMENSIONS,
    .shapes = product_shapes,
    .refuse = product_refuse,
    .prepare = prepare_back_f32,
    .run = run_back,
    .verify = verify_back,
};

const struct bench_operation bench_matmul_bwd_input_bf16 = {
    .name = "matmul_bwd_input",
    .dtype = "bf16",
    .dimensions = PRODUCT_DIMENSIONS,
    .cuda = true,
    .shapes = product_shapes,
    .refuse = product_refuse,
    .prepare = prepare_back_bf16,
    .run = run_back,
    .verify = verify_back,
};
