/* A low-rank adapter in the harness, forwards and backwards, with the report's dropout of 0.1. The
 * step is one unit of summation for every 176 rows: 4 titles of 44 tokens. */
#include "kernels/lora.h"
#include <math.h>
#include "bench/operations.h"
#include "kernels/weight_gradient.h"

enum { M, ROWS, COLUMNS, RANK };
/* What both ways read, then what they write: y, s; dx, da, db, ds. */
enum { X, A, B, DROPPED, Y, S };
enum { DY = DROPPED + 1, GIVEN_S, DX, DA, DB, DS };
#define UNIT 176

static const struct dropout dropout = {.seed = 1, .step = 2, .stream = 3, .threshold = 6554};

/* Beside q, k and v, gate and up, down. */
static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    int kv = model->kv_heads * model->head_dim;
    const int weights[][2] = {{model->hidden, model->hidden},
                              {kv, model->hidden},
                              {model->intermediate, model->hidden},
                              {model->hidden, model->intermediate}};
    static const int counts[] = {704, 176, 64};
    int n = 0;
    for (int c = 0; c < (full ? 3 : 1); c++)
        for (int w = 0; w < 4; w++) {
            if (w == 1 && kv == model->hidden)
                continue;
            shapes[n][M] = counts[c], shapes[n][RANK] = 32;
            shapes[n][ROWS] = weights[w][0], shapes[n++][COLUMNS] = weights[w][1];
        }
    return n;
}

/* The step's units of summation. */
struct own {
    int n_units;
    int32_t *units;
};

static enum status prepare(struct trial *trial, struct err *err)
{
    const int64_t *size = trial->size;
    struct own *own = trial->own = trial_alloc(trial, 1, sizeof *own);
    if (!own)
        return err_no_memory(err, "a bench row's operands", 0);
    own->n_units = (int)((size[M] + UNIT - 1) / UNIT);
    own->units = trial_alloc(trial, own->n_units + 1, sizeof *own->units);
    if (!own->units)
        return err_no_memory(err, "a bench row's operands", 0);
    for (int u = 0; u <= own->n_units; u++)
        own->units[u] = (int32_t)(u < own->n_units ? u * UNIT : size[M]);
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, size[M] * size[COLUMNS], 1, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, size[RANK] * size[COLUMNS], 0.1, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, size[ROWS] * size[RANK], 0.1, err));
    return trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_PARTS, size[M] * size[COLUMNS], 0, err);
}

static enum status prepare_forward(struct trial *trial, struct err *err)
{
    const int64_t *size = trial->size;
    TRY(prepare(trial, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_UPDATED, size[M] * size[ROWS], 1, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_WRITTEN, size[M] * size[RANK], 0, err));
    trial->operations =
        2.0 * (double)size[M] * (double)size[RANK] * (double)(size[ROWS] + size[COLUMNS]);
    return STATUS_OK;
}

static enum status prepare_backward(struct trial *trial, struct err *err)
{
    const int64_t *size = trial->size;
    TRY(prepare(trial, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, size[M] * size[ROWS], 1, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, size[M] * size[RANK], 1, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_UPDATED, size[M] * size[COLUMNS], 1, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_UPDATED, size[RANK] * size[COLUMNS], 1, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_UPDATED, size[ROWS] * size[RANK], 1, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_PARTS, size[M] * size[RANK], 0, err));
    trial->operations =
        4.0 * (double)size[M] * (double)size[RANK] * (double)(size[ROWS] + size[COLUMNS]);
    return STATUS_OK;
}

static struct lora lora_of(const struct trial *trial)
{
    const int64_t *size = trial->size;
    return (struct lora){(int)size[ROWS],    (int)size[COLUMNS], (int)size[RANK], 0.5f,
                         trial_at(trial, A), trial_at(trial, B)};
}

static enum status run_forward(struct trial *trial, struct err *err)
{
    struct lora lora = lora_of(trial);
    return lora_fwd(trial->device, trial_at(trial, Y), trial_at(trial, S), trial_at(trial, DROPPED),
                    trial_at(trial, X), &lora, &dropout, (int)trial->size[M], err);
}

static enum status run_backward(struct trial *trial, struct err *err)
{
    const struct own *own = trial->own;
    struct lora lora = lora_of(trial);
    return lora_bwd(trial->device, trial_at(trial, DX), trial_at(trial, DA), trial_at(trial, DB),
                    trial_at(trial, DS), trial_at(trial, DROPPED), trial_at(trial, DY),
                    trial_at(trial, X), trial_at(trial, GIVEN_S), &lora, &dropout, own->units,
                    own->n_units, err);
}

/* ---- what is right -------------------------------------------------------------------------- */

/* A tensor as it is and in absolute values, in which the references give the magnitudes. */
struct pair {
    double *values, *sizes;
};

static struct pair pair_of(struct trial *trial, int tensor)
{
    struct pair pair = {trial_doubles(trial, tensor), trial_doubles(trial, tensor)};
    for (size_t i = 0; pair.sizes && i < trial->tensors[tensor].n; i++)
        pair.sizes[i] = fabs(pair.sizes[i]);
    return pair;
}

static void compare(struct trial *trial, int tensor, const struct pair *want, double tolerance,
                    struct verdict *verdict)
{
    const float *got = trial->tensors[tensor].host;
    for (size_t i = 0; i < trial->tensors[tensor].n; i++)
        verdict_value(verdict, got[i], want->values[i], tolerance * want->sizes[i]);
}

static enum status verify(struct trial *trial, bool back, struct verdict *verdict, struct err *err)
{
    const struct own *own = trial->own;
    struct lora lora = lora_of(trial);
    int m = (int)trial->size[M];
    struct pair pairs[TRIAL_TENSORS];
    double *factor = trial_wanted(trial, (int64_t)trial->tensors[X].n);
    for (int i = 0; i < trial->n_tensors; i++) {
        pairs[i] = pair_of(trial, i);
        if (!pairs[i].values || !pairs[i].sizes || !factor)
            return err_no_memory(err, "a reference", 0);
    }
    dropout_factors_ref(factor, &dropout, m, lora.columns);
    struct lora_ref values = {lora.rows,       lora.columns,    lora.rank, (double)lora.scale,
                              pairs[A].values, pairs[B].values, factor};
    struct lora_ref sizes = values;
    sizes.a = pairs[A].sizes, sizes.b = pairs[B].sizes;
    if (!back) {
        lora_fwd_ref(pairs[Y].values, pairs[S].values, pairs[X].values, &values, m);
        lora_fwd_ref(pairs[Y].sizes, pairs[S].sizes, pairs[X].sizes, &sizes, m);
        compare(trial, Y, &pairs[Y], lora_y_tolerance(&lora), verdict);
        compare(trial, S, &pairs[S], lora_s_tolerance(&lora), verdict);
        return STATUS_OK;
    }
    lora_bwd_ref(pairs[DX].values, pairs[DA].values, pairs[DB].values, pairs[DY].values,
                 pairs[X].values, pairs[GIVEN_S].values, &values, m);
    lora_bwd_ref(pairs[DX].sizes, pairs[DA].sizes, pairs[DB].sizes, pairs[DY].sizes, pairs[X].sizes,
                 pairs[GIVEN_S].sizes, &sizes, m);
    compare(trial, DX, &pairs[DX], lora_dx_tolerance(&lora), verdict);
    compare(trial, DA, &pairs[DA], lora_da_tolerance(&lora, own->units, own->n_units), verdict);
    compare(trial, DB, &pairs[DB], weight_gradient_tolerance(own->units, own->n_units), verdict);
    return STATUS_OK;
}

static enum status verify_forward(struct trial *trial, struct verdict *verdict, struct err *err)
{
    return verify(trial, false, verdict, err);
}

static enum status verify_backward(struct trial *trial, struct verdict *verdict, struct err *err)
{
    return verify(trial, true, verdict, err);
}

const struct bench_operation bench_lora = {
    .name = "lora_fwd",
    .dtype = "f32",
    .dimensions = {"m", "rows", "columns", "rank"},
    .shapes = shapes,
    .prepare = prepare_forward,
    .run = run_forward,
    .verify = verify_forward,
};

const struct bench_operation bench_lora_bwd = {
    .name = "lora_bwd",
    .dtype = "f32",
    .dimensions = {"m", "rows", "columns", "rank"},
    .shapes = shapes,
    .prepare = prepare_backward,
    .run = run_backward,
    .verify = verify_backward,
};
