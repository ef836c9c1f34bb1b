/* The gradients by weights in the harness: an adapter's A and B, and a classifier's head; and on a
 * GPU those of all adapters of a joined matrix at once. */
#include "kernels/weight_gradient.h"
#include <math.h>
#include "bench/operations.h"
#include "bench/rows/adapters.h"
#include "host/base/float16.h"
#include "kernels/lora.h"

/* Those of the joined matrix: rows are a part's. */
enum { UNITS, TOKENS, ROWS, COLUMNS, JOINED_RANK, PARTS };
enum { DW, DY, X, BOUNDS };
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

/* Their boundaries. */
static enum status prepare_units(struct trial *trial, struct err *err)
{
    const int64_t *size = trial->size;
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_READ, size[UNITS] + 1, 0, err));
    int32_t *units = trial->tensors[trial->n_tensors - 1].host;
    for (int64_t u = 0; u <= size[UNITS]; u++)
        units[u] = (int32_t)(u * size[TOKENS]);
    return STATUS_OK;
}

static double tolerance_of(const struct trial *trial, int bounds)
{
    const int32_t *units = trial->tensors[bounds].host;
    int n_units = (int)trial->size[UNITS];
    return trial->device->kind == DEVICE_CUDA ? weight_gradient_cuda_tolerance(units, n_units)
                                              : weight_gradient_tolerance(units, n_units);
}

static enum status prepare(struct trial *trial, struct err *err)
{
    const int64_t *size = trial->size;
    int64_t m = size[UNITS] * size[TOKENS];
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_UPDATED, size[ROWS] * size[COLUMNS], 1, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, m * size[ROWS], 1, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, m * size[COLUMNS], 1, err));
    TRY(prepare_units(trial, err));
    trial->operations = 2.0 * (double)m * (double)size[ROWS] * (double)size[COLUMNS];
    return STATUS_OK;
}

static enum status run(struct trial *trial, struct err *err)
{
    const int64_t *size = trial->size;
    return weight_gradient(trial->device, trial_at(trial, DW), trial_at(trial, DY),
                           trial_at(trial, X), trial_at(trial, BOUNDS), (int)size[UNITS],
                           (int)size[ROWS], (int)size[COLUMNS], err);
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
    weight_gradient_ref(want, magnitude, dy, x, trial->tensors[BOUNDS].host, (int)size[UNITS],
                        (int)size[ROWS], (int)size[COLUMNS]);
    double tolerance = tolerance_of(trial, BOUNDS);
    for (int64_t i = 0; i < n; i++)
        verdict_value(verdict, got[i], want[i], tolerance * (magnitude[i] + fabs(before[i])));
    return STATUS_OK;
}

const struct bench_operation bench_weight_gradient = {
    .name = "weight_gradient",
    .dtype = "f32",
    .dimensions = {"units", "tokens", "rows", "columns"},
    .cuda = true,
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};

/* ---- the adapters of a joined matrix -------------------------------------------------------- */

/* A and B: the parts' gradients one behind the other. */
enum { JOINED_A, JOINED_B, JOINED_DY, JOINED_X, JOINED_S, JOINED_DS, JOINED_BOUNDS };

static const struct dropout dropout = {.seed = 1, .step = 2, .first_row = 3, .threshold = 6554};

/* q, k and v where they are alike, o, gate and up, down. */
static int joined_shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model,
                         bool full)
{
    int kv = model->kv_heads * model->head_dim, hidden = model->hidden;
    const int matrices[][3] = {{hidden, hidden, kv == hidden ? 3 : 1},
                               {hidden, hidden, 1},
                               {model->intermediate, hidden, 2},
                               {hidden, model->intermediate, 1}};
    static const int tokens[] = {176, 48, 200};
    int n = 0;
    for (int t = 0; t < (full ? 3 : 1); t++)
        for (int w = kv == hidden ? 0 : 1; w < 4; w++, n++) {
            shapes[n][UNITS] = 4, shapes[n][TOKENS] = tokens[t];
            shapes[n][ROWS] = matrices[w][0], shapes[n][COLUMNS] = matrices[w][1];
            shapes[n][JOINED_RANK] = RANK, shapes[n][PARTS] = matrices[w][2];
        }
    return n;
}

static const char *joined_refuse(const int64_t *size)
{
    const char *reason = adapters_refuse(size[PARTS]);
    return reason ? reason : refuse(size);
}

static struct lora_parts parts_of(const struct trial *trial)
{
    const int64_t *size = trial->size;
    return adapters_table(size[PARTS], size[PARTS] * size[ROWS], size[COLUMNS], size[JOINED_RANK]);
}

static enum status prepare_joined(struct trial *trial, struct err *err)
{
    const int64_t *size = trial->size;
    struct lora_parts parts = parts_of(trial);
    int64_t m = size[UNITS] * size[TOKENS], ranks = size[PARTS] * size[JOINED_RANK];
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_UPDATED, ranks * size[COLUMNS], 1, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_UPDATED, ranks * size[ROWS], 1, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, m * parts.rows, 1, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, m * parts.columns, 1, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, m * parts.padded, 1, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, m * parts.padded, 1, err));
    adapters_clear(&trial->tensors[JOINED_S], &parts);
    adapters_clear(&trial->tensors[JOINED_DS], &parts);
    TRY(prepare_units(trial, err));
    trial->operations = 2.0 * (double)m * (double)ranks * (double)(size[ROWS] + size[COLUMNS]);
    return STATUS_OK;
}

static enum status run_joined(struct trial *trial, struct err *err)
{
    const int64_t *size = trial->size;
    struct lora_parts parts = parts_of(trial);
    float *a[LORA_PARTS], *b[LORA_PARTS];
    for (int p = 0; p < parts.n_parts; p++) {
        a[p] = (float *)trial_at(trial, JOINED_A) + p * size[JOINED_RANK] * size[COLUMNS];
        b[p] = (float *)trial_at(trial, JOINED_B) + p * size[JOINED_RANK] * size[ROWS];
    }
    return lora_gradients_cuda(trial->device, a, b, &parts, trial_at(trial, JOINED_DY),
                               trial_at(trial, JOINED_X), parts.columns, trial_at(trial, JOINED_S),
                               trial_at(trial, JOINED_DS), &dropout, trial_at(trial, JOINED_BOUNDS),
                               (int)size[UNITS], err);
}

/* Some columns of a matrix by themselves: n rows of `width` from `first` on. */
static double *columns_of(struct trial *trial, int tensor, int64_t n, int stride, int first,
                          int width)
{
    double *values = trial_wanted(trial, n * width);
    const float *from = trial->tensors[tensor].host;
    for (int64_t i = 0; values && i < n * width; i++)
        values[i] = (double)from[i / width * stride + first + i % width];
    return values;
}

/* One gradient (rows, columns), `at` floats behind the tensor's first. */
static enum status verify_one(struct trial *trial, int tensor, int64_t at, const double *dy,
                              const double *x, int rows, int columns, struct verdict *verdict,
                              struct err *err)
{
    int64_t n = (int64_t)rows * columns;
    const float *got = (const float *)trial->tensors[tensor].host + at;
    double *before = trial_doubles(trial, tensor), *want = trial_wanted(trial, n);
    double *magnitude = trial_wanted(trial, n), tolerance = tolerance_of(trial, JOINED_BOUNDS);
    if (!dy || !x || !before || !want || !magnitude)
        return err_no_memory(err, "a reference", 0);
    for (int64_t i = 0; i < n; i++)
        want[i] = before[at + i];
    weight_gradient_ref(want, magnitude, dy, x, trial->tensors[JOINED_BOUNDS].host,
                        (int)trial->size[UNITS], rows, columns);
    for (int64_t i = 0; i < n; i++)
        verdict_value(verdict, (double)got[i], want[i],
                      tolerance * (magnitude[i] + fabs(before[at + i])));
    return STATUS_OK;
}

/* What a part's adapter sees of x, as a GPU rounds it. */
static double *dropped_of(struct trial *trial, const struct lora_part *part, int64_t m, int columns)
{
    struct dropout of = dropout;
    double *values = trial_doubles(trial, JOINED_X), *factor = trial_wanted(trial, m * columns);
    if (!values || !factor)
        return NULL;
    of.stream = part->stream;
    dropout_factors_ref(factor, &of, (int)m, columns);
    float scale = dropout_scale(of.threshold);
    for (int64_t i = 0; i < m * columns; i++) {
        float kept = factor[i] == 0 ? 0 : (float)values[i] * scale;
        values[i] = bf16_to_float(bf16_from_float(kept));
    }
    return values;
}

static enum status verify_joined(struct trial *trial, struct verdict *verdict, struct err *err)
{
    struct lora_parts parts = parts_of(trial);
    int64_t m = trial->size[UNITS] * trial->size[TOKENS];
    for (int p = 0; p < parts.n_parts; p++) {
        const struct lora_part *part = &parts.parts[p];
        int rank = part->rank, first = part->first_rank;
        TRY(verify_one(trial, JOINED_A, (int64_t)p * rank * parts.columns,
                       columns_of(trial, JOINED_DS, m, parts.padded, first, rank),
                       dropped_of(trial, part, m, parts.columns), rank, parts.columns, verdict,
                       err));
        TRY(verify_one(trial, JOINED_B, (int64_t)p * rank * part->rows,
                       columns_of(trial, JOINED_DY, m, parts.rows, part->first_row, part->rows),
                       columns_of(trial, JOINED_S, m, parts.padded, first, rank), part->rows, rank,
                       verdict, err));
    }
    return STATUS_OK;
}

/* A GPU's: dA and dB of all parts in one launch. */
const struct bench_operation bench_lora_gradients = {
    .name = "lora_gradients",
    .dtype = "f32",
    .dimensions = {"units", "tokens", "rows", "columns", "rank", "parts"},
    .cuda = true,
    .not_cpu = true,
    .shapes = joined_shapes,
    .refuse = joined_refuse,
    .prepare = prepare_joined,
    .run = run_joined,
    .verify = verify_joined,
};
