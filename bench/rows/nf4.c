/* Quantising to NF4 and back in the harness. */
#include "kernels/nf4.h"
#include <string.h>
#include "bench/operations.h"

enum { ROWS, COLUMNS };
enum { CODES, ABSMAX, VALUES };

static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    (void)full;
    shapes[0][ROWS] = model->intermediate, shapes[0][COLUMNS] = model->hidden;
    return 1;
}

static const char *refuse(const int64_t *size)
{
    return size[ROWS] * size[COLUMNS] > INT32_MAX ? "rows times columns is below 2^31" : NULL;
}

static struct nf4_matrix matrix_of(const struct trial *trial)
{
    return (struct nf4_matrix){
        .rows = (int)trial->size[ROWS],
        .columns = (int)trial->size[COLUMNS],
        .codes = trial->tensors[CODES].host,
        .absmax = trial->tensors[ABSMAX].host,
    };
}

static enum status prepare(struct trial *trial, enum tensor_role packed, enum tensor_role values,
                           struct err *err)
{
    int64_t n = trial->size[ROWS] * trial->size[COLUMNS];
    TRY(trial_tensor(trial, TENSOR_U8, packed, (int64_t)nf4_code_bytes(n), 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, packed, (int64_t)nf4_block_count(n), 0, err));
    return trial_tensor(trial, TENSOR_F32, values, n, 0.05, err);
}

static enum status prepare_quantize(struct trial *trial, struct err *err)
{
    return prepare(trial, TENSOR_WRITTEN, TENSOR_READ, err);
}

static enum status quantize(struct trial *trial, struct err *err)
{
    (void)err;
    nf4_quantize(trial->device, trial->tensors[CODES].host, trial->tensors[ABSMAX].host,
                 trial->tensors[VALUES].host, trial->size[ROWS] * trial->size[COLUMNS]);
    return STATUS_OK;
}

static enum status prepare_dequantize(struct trial *trial, struct err *err)
{
    TRY(prepare(trial, TENSOR_READ, TENSOR_WRITTEN, err));
    return quantize(trial, err);
}

static enum status dequantize(struct trial *trial, struct err *err)
{
    struct nf4_matrix w = matrix_of(trial);
    (void)err;
    nf4_dequantize(trial->device, trial->tensors[VALUES].host, &w, 0, w.rows);
    return STATUS_OK;
}

/* Both are exact. */
static enum status verify_quantize(struct trial *trial, struct verdict *verdict, struct err *err)
{
    const struct tensor *codes = &trial->tensors[CODES], *absmax = &trial->tensors[ABSMAX];
    uint8_t *want_codes = trial_alloc(trial, (int64_t)codes->n, 1);
    float *want_absmax = trial_alloc(trial, (int64_t)absmax->n, sizeof *want_absmax);
    if (!want_codes || !want_absmax)
        return err_no_memory(err, "a reference", 0);
    nf4_quantize_ref(want_codes, want_absmax, trial->tensors[VALUES].host,
                     trial->size[ROWS] * trial->size[COLUMNS]);
    for (size_t i = 0; i < codes->n; i++)
        verdict_value(verdict, ((const uint8_t *)codes->host)[i], want_codes[i], 0);
    for (size_t i = 0; i < absmax->n; i++)
        verdict_value(verdict, ((const float *)absmax->host)[i], want_absmax[i], 0);
    return STATUS_OK;
}

static enum status verify_dequantize(struct trial *trial, struct verdict *verdict, struct err *err)
{
    struct nf4_matrix w = matrix_of(trial);
    int64_t n = trial->size[ROWS] * trial->size[COLUMNS];
    double *want = trial_wanted(trial, n);
    if (!want)
        return err_no_memory(err, "a reference", 0);
    nf4_dequantize_ref(want, &w);
    verdict_floats(verdict, trial->tensors[VALUES].host, want, n, 0, 0);
    return STATUS_OK;
}

const struct bench_operation bench_nf4_quantize = {
    .name = "nf4_quantize",
    .dtype = "nf4",
    .dimensions = {"rows", "columns"},
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare_quantize,
    .run = quantize,
    .verify = verify_quantize,
};

const struct bench_operation bench_nf4_dequantize = {
    .name = "nf4_dequantize",
    .dtype = "nf4",
    .dimensions = {"rows", "columns"},
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare_dequantize,
    .run = dequantize,
    .verify = verify_dequantize,
};
