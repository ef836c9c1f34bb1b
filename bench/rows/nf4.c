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
    return trial_tensor(trial, TENSOR_ACTIVATIONS, values, n, 0.05, err); /* as files have them */
}

static enum status prepare_quantize(struct trial *trial, struct err *err)
{
    return prepare(trial, TENSOR_WRITTEN, TENSOR_READ, err);
}

static bool is_cuda(const struct trial *trial)
{
    return trial->device->kind == DEVICE_CUDA;
}

static void quantize_on_host(struct trial *trial)
{
    nf4_quantize(trial->device, trial->tensors[CODES].host, trial->tensors[ABSMAX].host,
                 trial->tensors[VALUES].host, trial->size[ROWS] * trial->size[COLUMNS]);
}

static enum status quantize(struct trial *trial, struct err *err)
{
    if (is_cuda(trial))
        return nf4_quantize_cuda(trial->device, trial_at(trial, CODES), trial_at(trial, ABSMAX),
                                 trial_at(trial, VALUES), NF4_FROM_BF16,
                                 trial->size[ROWS] * trial->size[COLUMNS], err);
    quantize_on_host(trial);
    return STATUS_OK;
}

static enum status prepare_dequantize(struct trial *trial, struct err *err)
{
    TRY(prepare(trial, TENSOR_READ, TENSOR_WRITTEN, err));
    quantize_on_host(trial);
    return STATUS_OK;
}

static enum status dequantize(struct trial *trial, struct err *err)
{
    struct nf4_matrix w = matrix_of(trial);
    if (is_cuda(trial))
        return nf4_dequantize_cuda(trial->device, PRECISION_BF16, trial_at(trial, VALUES),
                                   &(struct nf4_cuda_values){.codes = trial_at(trial, CODES),
                                                             .absmax = trial_at(trial, ABSMAX)},
                                   trial->size[ROWS] * trial->size[COLUMNS], err);
    nf4_dequantize(trial->device, trial->tensors[VALUES].host, &w, 0, w.rows);
    return STATUS_OK;
}

/* Both are exact, but for the rounding to a GPU's activations. */
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
    verdict_floats(verdict, trial->tensors[VALUES].host, want, n, 0,
                   is_cuda(trial) ? trial_rounding(trial) : 0);
    return STATUS_OK;
}

/* ---- double quantisation -------------------------------------------------------------------- */

enum { NESTED_CODES, NESTED_ABSMAX, OFFSET, SUMS, SIZES };

static enum status prepare_absmax(struct trial *trial, struct err *err)
{
    int64_t n_blocks = (int64_t)nf4_block_count(trial->size[ROWS] * trial->size[COLUMNS]);
    int64_t n_nested = (int64_t)nf4_nested_block_count(n_blocks);
    TRY(trial_tensor(trial, TENSOR_U8, TENSOR_WRITTEN, n_blocks, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_WRITTEN, n_nested, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_WRITTEN, 1, 0, err));
    TRY(trial_tensor(trial, TENSOR_F64, TENSOR_PARTS, n_nested, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, n_blocks, 0, err));
    float *sizes = trial->tensors[SIZES].host;
    trial_uniform(sizes, n_blocks, SIZES, 0.02);
    for (int64_t i = 0; i < n_blocks; i++)
        sizes[i] += 0.05f;
    return STATUS_OK;
}

static enum status quantize_absmax(struct trial *trial, struct err *err)
{
    int64_t n_blocks = (int64_t)trial->tensors[SIZES].n;
    if (is_cuda(trial))
        return nf4_quantize_absmax_cuda(
            trial->device, trial_at(trial, NESTED_CODES), trial_at(trial, NESTED_ABSMAX),
            trial_at(trial, OFFSET), trial_at(trial, SUMS), trial_at(trial, SIZES), n_blocks, err);
    nf4_quantize_absmax(trial->tensors[NESTED_CODES].host, trial->tensors[NESTED_ABSMAX].host,
                        trial->tensors[OFFSET].host, trial->tensors[SIZES].host, n_blocks);
    return STATUS_OK;
}

/* The offset is a float64 mean, rounded; the rest is exact, given that. */
static enum status verify_absmax(struct trial *trial, struct verdict *verdict, struct err *err)
{
    const struct tensor *codes = &trial->tensors[NESTED_CODES];
    const struct tensor *nested = &trial->tensors[NESTED_ABSMAX];
    const float *sizes = trial->tensors[SIZES].host, *offset = trial->tensors[OFFSET].host;
    uint8_t *want_codes = trial_alloc(trial, (int64_t)codes->n, 1);
    float *want_nested = trial_alloc(trial, (int64_t)nested->n, sizeof *want_nested);
    double sum = 0;
    if (!want_codes || !want_nested)
        return err_no_memory(err, "a reference", 0);
    for (size_t i = 0; i < codes->n; i++)
        sum += (double)sizes[i];
    sum /= (double)codes->n;
    verdict_value(verdict, offset[0], sum, 1.001 * 0x1p-24 * sum);
    nf4_nest_absmax_ref(want_codes, want_nested, sizes, (int64_t)codes->n, offset[0]);
    for (size_t i = 0; i < codes->n; i++)
        verdict_value(verdict, ((const uint8_t *)codes->host)[i], want_codes[i], 0);
    for (size_t i = 0; i < nested->n; i++)
        verdict_value(verdict, ((const float *)nested->host)[i], want_nested[i], 0);
    return STATUS_OK;
}

const struct bench_operation bench_nf4_quantize = {
    .name = "nf4_quantize",
    .dtype = "nf4",
    .dimensions = {"rows", "columns"},
    .cuda = true,
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
    .cuda = true,
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare_dequantize,
    .run = dequantize,
    .verify = verify_dequantize,
};

const struct bench_operation bench_nf4_quantize_absmax = {
    .name = "nf4_quantize_absmax",
    .dtype = "nf4",
    .dimensions = {"rows", "columns"},
    .cuda = true,
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare_absmax,
    .run = quantize_absmax,
    .verify = verify_absmax,
};
