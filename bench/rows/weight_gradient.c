/* The gradient by a weight in the harness: an adapter's A and B, and a classifier's head. */
#include "kernels/weight_gradient.h"
#include <math.h>
#include "bench/operations.h"

enum { UNITS, TOKENS, ROWS, COLUMNS };
enum { DW, DY, X };
#define RANK 32

/* B of q and down, A of gate and down; a unit is 4 titles of 44 tokens, shorter or longer ones. */
static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    const int weights[][2] = {{model->hidden, RANK},
                              {model->intermediate, RANK},
                              {RANK, model->hidden},
                              {RANK, model->intermediate},
                              {77, model->hidden}};
    static const int tokens[] = {176, 48, 200};
    int n = 0;
    for (int t = 0; t < (full ? 3 : 1); t++)
        for (int w = 0; w < 5; w++, n++) {
            shapes[n][UNITS] = 4, shapes[n][TOKENS] = tokens[t];
            shapes[n][ROWS] = weights[w][0], shapes[n][COLUMNS] = weights[w][1];
        }
    return n;
}

static const char *refuse(const int64_t *size)
{
    return size[UNITS] * size[TOKENS] > INT32_MAX ? "units times tokens is below 2^31" : NULL;
}

static enum status prepare(struct trial *trial, struct err *err)
{
    const int64_t *size = trial->size;
    int64_t m = size[UNITS] * size[TOKENS];
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_UPDATED, size[ROWS] * size[COLUMNS], 1, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, m * size[ROWS], 1, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, m * size[COLUMNS], 1, err));
    int32_t *units = trial->own = trial_alloc(trial, size[UNITS] + 1, sizeof *units);
    if (!units)
        return err_no_memory(err, "a bench row's operands", 0);
    for (int64_t u = 0; u <= size[UNITS]; u++)
        units[u] = (int32_t)(u * size[TOKENS]);
    trial->operations = 2.0 * (double)m * (double)size[ROWS] * (double)size[COLUMNS];
    return STATUS_OK;
}

static enum status run(struct trial *trial, struct err *err)
{
    const int64_t *size = trial->size;
    return weight_gradient(trial->device, trial_at(trial, DW), trial_at(trial, DY),
                           trial_at(trial, X), trial->own, (int)size[UNITS], (int)size[ROWS],
                           (int)size[COLUMNS], err);
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    const int64_t *size = trial->size;
    int64_t n = size[ROWS] * size[COLUMNS];
    const float *got = trial->tensors[DW].host;
    double *before = trial_doubles(trial, DW), *want = trial_doubles(trial, DW);
    double *dy = trial_doubles(trial, DY), *x = trial_doubles(trial, X);
    double *magnitude = trial_wanted(trial, n);
    if (!before || !want || !dy || !x || !magnitude)
        return err_no_memory(err, "a reference", 0);
    weight_gradient_ref(want, magnitude, dy, x, trial->own, (int)size[UNITS], (int)size[ROWS],
                        (int)size[COLUMNS]);
    double tolerance = weight_gradient_tolerance(trial->own, (int)size[UNITS]);
    for (int64_t i = 0; i < n; i++)
        verdict_value(verdict, got[i], want[i], tolerance * (magnitude[i] + fabs(before[i])));
    return STATUS_OK;
}

const struct bench_operation bench_weight_gradient = {
    .name = "weight_gradient",
    .dtype = "f32",
    .dimensions = {"units", "tokens", "rows", "columns"},
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};
