/* Matrix products with a dense weight in the harness, float32 and bfloat16. */
#include "kernels/matmul.h"
#include "bench/operations.h"
#include "bench/rows/product.h"

static enum status prepare(struct trial *trial, enum product_way way, enum tensor_type type,
                           struct err *err)
{
    TRY(product_prepare(trial, way, err));
    return trial_tensor(trial, type, TENSOR_READ, trial->size[PRODUCT_N] * trial->size[PRODUCT_K],
                        0.05, err);
}

static enum status prepare_f32(struct trial *trial, struct err *err)
{
    return prepare(trial, PRODUCT_FORWARD, TENSOR_F32, err);
}

static enum status prepare_bf16(struct trial *trial, struct err *err)
{
    return prepare(trial, PRODUCT_FORWARD, TENSOR_BF16, err);
}

static enum status prepare_back_f32(struct trial *trial, struct err *err)
{
    return prepare(trial, PRODUCT_BACK, TENSOR_F32, err);
}

static enum status prepare_back_bf16(struct trial *trial, struct err *err)
{
    return prepare(trial, PRODUCT_BACK, TENSOR_BF16, err);
}

static enum status prepare_adapted(struct trial *trial, struct err *err)
{
    TRY(prepare(trial, PRODUCT_ADAPTED, TENSOR_BF16, err));
    return product_prepare_adapters(trial, err);
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

static enum status run_adapted(struct trial *trial, struct err *err)
{
    struct dense_matrix w = matrix_of(trial);
    struct lora_parts adapters = product_adapters(trial);
    return matmul_lora_fwd_cuda(trial->device, trial_at(trial, PRODUCT_Y),
                                trial_at(trial, PRODUCT_X), &w, NULL, (int)trial->size[PRODUCT_M],
                                false, &adapters, product_adapters_s(trial), err);
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    return product_verify(trial, PRODUCT_FORWARD, trial_doubles(trial, PRODUCT_W), verdict, err);
}

static enum status verify_back(struct trial *trial, struct verdict *verdict, struct err *err)
{
    return product_verify(trial, PRODUCT_BACK, trial_doubles(trial, PRODUCT_W), verdict, err);
}

static enum status verify_adapted(struct trial *trial, struct verdict *verdict, struct err *err)
{
    return product_verify(trial, PRODUCT_ADAPTED, trial_doubles(trial, PRODUCT_W), verdict, err);
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

/* The product with the low-rank term of adapters, given s, in its epilogue. */
const struct bench_operation bench_matmul_lora = {
    .name = "matmul_lora_fwd",
    .dtype = "bf16",
    .dimensions = PRODUCT_ADAPTED_DIMENSIONS,
    .cuda = true,
    .not_cpu = true,
    .shapes = product_adapted_shapes,
    .refuse = product_adapted_refuse,
    .prepare = prepare_adapted,
    .run = run_adapted,
    .verify = verify_adapted,
};
