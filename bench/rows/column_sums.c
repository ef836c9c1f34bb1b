/* A GPU's sums over rows in the harness: k-means' mean. */
#include "kernels/column_sums.h"
#include <math.h>
#include <string.h>
#include "bench/operations.h"

enum { N, D };
enum { TOTAL, X, SCRATCH };

static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    shapes[0][N] = 5894, shapes[0][D] = 4096;
    shapes[1][N] = 20000, shapes[1][D] = model->hidden;
    return full ? 2 : 1;
}

static enum status prepare(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], d = trial->size[D];
    size_t scratch = column_sums_cuda_scratch_bytes((int)n, (int)d);
    TRY(trial_tensor(trial, TENSOR_F64, TENSOR_UPDATED, d, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, n * d, 1, err));
    return trial_tensor(trial, TENSOR_U8, TENSOR_PARTS, (int64_t)scratch, 0, err);
}

static enum status run(struct trial *trial, struct err *err)
{
    return column_sums_add_cuda(trial->device, trial_at(trial, TOTAL), trial_at(trial, X),
                                (int)trial->size[N], (int)trial->size[D], trial_at(trial, SCRATCH),
                                err);
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int n = (int)trial->size[N], d = (int)trial->size[D];
    const double *got = trial->tensors[TOTAL].host;
    double *x = trial_doubles(trial, X), *want = trial_doubles(trial, TOTAL);
    double *size = trial_wanted(trial, d);
    if (!x || !want || !size)
        return err_no_memory(err, "a reference", 0);
    for (int j = 0; j < d; j++)
        size[j] = fabs(want[j]);
    column_sums_add_ref(want, size, x, n, d);
    for (int j = 0; j < d; j++)
        verdict_value(verdict, got[j], want[j], column_sums_tolerance(n) * size[j]);
    return STATUS_OK;
}

const struct bench_operation bench_column_sums = {
    .name = "column_sums_add_cuda",
    .dtype = "f32",
    .dimensions = {"n", "d"},
    .cuda = true,
    .not_cpu = true,
    .no_activations = true,
    .shapes = shapes,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};
