/* Matrix products with a weight in NF4, double-quantised as models are, in the harness. */
#include "kernels/nf4_matmul.h"
#include "bench/operations.h"
#include "bench/rows/product.h"

enum { CODES = PRODUCT_W, ABSMAX_CODES, NESTED_ABSMAX };

static enum status quantize(struct trial *trial, int64_t n, struct err *err)
{
    struct arena scratch = {0};
    size_t n_blocks = nf4_block_count(n);
    float *absmax = arena_alloc(&scratch, n_blocks, sizeof *absmax);
    float *values = arena_alloc(&scratch, (size_t)n, sizeof *values);
    if (!absmax || !values) {
        arena_free(&scratch);
        return err_no_memory(err, "a bench row's weight", (size_t)n * sizeof *values);
    }
    trial_uniform(values, n, PRODUCT_W, 0.05);
    nf4_quantize(trial->device, trial->tensors[CODES].host, absmax, values, n);
    nf4_quantize_absmax(trial->tensors[ABSMAX_CODES].host, trial->tensors[NESTED_ABSMAX].host,
                        trial->own, absmax, (int64_t)n_blocks);
    arena_free(&scratch);
    return STATUS_OK;
}

static enum status prepare(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[PRODUCT_N] * trial->size[PRODUCT_K];
    int64_t n_blocks = (int64_t)nf4_block_count(n);
    TRY(product_prepare(trial, err));
    TRY(trial_tensor(trial, TENSOR_U8, TENSOR_READ, (int64_t)nf4_code_bytes(n), 0, err));
    TRY(trial_tensor(trial, TENSOR_U8, TENSOR_READ, n_blocks, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, (int64_t)nf4_nested_block_count(n_blocks), 0,
                     err));
    trial->own = trial_alloc(trial, 1, sizeof(float)); /* the offset of absmax */
    if (!trial->own)
        return err_no_memory(err, "a bench row's operands", 0);
    return quantize(trial, n, err);
}

static struct nf4_matrix matrix_of(const struct trial *trial, const void *codes,
                                   const void *absmax_codes, const void *nested_absmax)
{
    return (struct nf4_matrix){
        .rows = (int)trial->size[PRODUCT_N],
        .columns = (int)trial->size[PRODUCT_K],
        .codes = codes,
        .absmax_codes = absmax_codes,
        .nested_absmax = nested_absmax,
        .offset = *(const float *)trial->own,
    };
}

static enum status run(struct trial *trial, struct err *err)
{
    struct nf4_matrix w = matrix_of(trial, trial_at(trial, CODES), trial_at(trial, ABSMAX_CODES),
                                    trial_at(trial, NESTED_ABSMAX));
    return nf4_matmul_fwd(trial->device, trial_at(trial, PRODUCT_Y), trial_at(trial, PRODUCT_X), &w,
                          (int)trial->size[PRODUCT_M], false, err);
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    struct nf4_matrix w =
        matrix_of(trial, trial->tensors[CODES].host, trial->tensors[ABSMAX_CODES].host,
                  trial->tensors[NESTED_ABSMAX].host);
    double *values = trial_wanted(trial, trial->size[PRODUCT_N] * trial->size[PRODUCT_K]);
    if (values)
        nf4_dequantize_ref(values, &w);
    return product_verify(trial, values, verdict, err);
}

const struct bench_operation bench_nf4_matmul = {
    .name = "nf4_matmul_fwd",
    .dtype = "nf4",
    .dimensions = PRODUCT_DIMENSIONS,
    .shapes = product_shapes,
    .refuse = product_refuse,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};
