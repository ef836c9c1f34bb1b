/* k-means' update over centres in the harness, and the gain that an iteration's inertia is of. */
#include "kernels/centre_update.h"
#include "bench/operations.h"

enum { K, D };
enum { SUMS, COUNTS, CENTRES, MEAN, UPDATED, MOVED };
enum { GAIN = UPDATED };

static int shapes(int64_t out[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    static const int own[][2] = {{20, 4096}, {1000, 64}, {10000, 64}};
    (void)model;
    int n = full ? 3 : 1;
    for (int i = 0; i < n; i++)
        out[i][K] = own[i][0], out[i][D] = own[i][1];
    return n;
}

/* Clusters of 100 to 199 rows round their centres. */
static enum status prepare_inputs(struct trial *trial, struct err *err)
{
    int64_t k = trial->size[K], d = trial->size[D];
    TRY(trial_tensor(trial, TENSOR_F64, TENSOR_READ, k * d, 1, err));
    TRY(trial_tensor(trial, TENSOR_I64, TENSOR_READ, k, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, k * d, 1, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, d, 0.1, err));
    double *sums = trial->tensors[SUMS].host;
    int64_t *counts = trial->tensors[COUNTS].host;
    const float *centres = trial->tensors[CENTRES].host;
    for (int64_t c = 0; c < k; c++) {
        counts[c] = 100 + c % 100;
        for (int64_t e = c * d; e < (c + 1) * d; e++)
            sums[e] = (double)counts[c] * ((double)centres[e] + 0.1 * sums[e]);
    }
    return STATUS_OK;
}

static enum status prepare_update(struct trial *trial, struct err *err)
{
    int64_t k = trial->size[K], d = trial->size[D];
    TRY(prepare_inputs(trial, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_WRITTEN, k * d, 0, err));
    return trial_tensor(trial, TENSOR_F64, TENSOR_WRITTEN, k, 0, err);
}

static enum status prepare_gain(struct trial *trial, struct err *err)
{
    TRY(prepare_inputs(trial, err));
    return trial_tensor(trial, TENSOR_F64, TENSOR_WRITTEN, trial->size[K], 0, err);
}

static const struct run_list one_run = {.n = 1};

static const struct run_list *runs_of(const struct trial *trial)
{
    return trial->device->kind == DEVICE_CPU ? NULL : &one_run;
}

static enum status run_update(struct trial *trial, struct err *err)
{
    return centre_update(trial->device, trial_at(trial, UPDATED), trial_at(trial, MOVED),
                         trial_at(trial, SUMS), trial_at(trial, COUNTS), trial_at(trial, CENTRES),
                         (int)trial->size[K], (int)trial->size[D], false, runs_of(trial), err);
}

static enum status run_gain(struct trial *trial, struct err *err)
{
    return centre_gain(trial->device, trial_at(trial, GAIN), trial_at(trial, SUMS),
                       trial_at(trial, COUNTS), trial_at(trial, CENTRES), trial_at(trial, MEAN),
                       (int)trial->size[K], (int)trial->size[D], runs_of(trial), err);
}

static enum status verify_update(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int64_t k = trial->size[K], d = trial->size[D];
    double *centres = trial_doubles(trial, CENTRES), *updated = trial_doubles(trial, UPDATED);
    double *want = trial_wanted(trial, k * d), *moved = trial_wanted(trial, k);
    if (!centres || !updated || !want || !moved)
        return err_no_memory(err, "a reference", 0);
    centre_update_ref(want, trial->tensors[SUMS].host, trial->tensors[COUNTS].host, centres, (int)k,
                      (int)d, false);
    verdict_floats(verdict, trial->tensors[UPDATED].host, want, k * d, 0,
                   centre_update_tolerance((int)d));
    centre_moved_ref(moved, updated, centres, (int)k, (int)d);
    for (int64_t c = 0; c < k; c++)
        verdict_value(verdict, ((const double *)trial->tensors[MOVED].host)[c], moved[c],
                      centre_moved_tolerance((int)d) * moved[c]);
    return STATUS_OK;
}

static enum status verify_gain(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int64_t k = trial->size[K], d = trial->size[D];
    double *centres = trial_doubles(trial, CENTRES), *mean = trial_doubles(trial, MEAN);
    double *want = trial_wanted(trial, k), *magnitude = trial_wanted(trial, k);
    if (!centres || !mean || !want || !magnitude)
        return err_no_memory(err, "a reference", 0);
    centre_gain_ref(want, magnitude, trial->tensors[SUMS].host, trial->tensors[COUNTS].host,
                    centres, mean, (int)k, (int)d);
    for (int64_t c = 0; c < k; c++)
        verdict_value(verdict, ((const double *)trial->tensors[GAIN].host)[c], want[c],
                      centre_gain_tolerance((int)d) * magnitude[c]);
    return STATUS_OK;
}

#define CENTRE_ROW(what)                                                                           \
    const struct bench_operation bench_centre_##what = {                                           \
        .name = "centre_" #what,                                                                   \
        .dtype = "f32",                                                                            \
        .dimensions = {"k", "d"},                                                                  \
        .cuda = true,                                                                              \
        .no_activations = true,                                                                    \
        .shapes = shapes,                                                                          \
        .prepare = prepare_##what,                                                                 \
        .run = run_##what,                                                                         \
        .verify = verify_##what,                                                                   \
    }
CENTRE_ROW(update);
CENTRE_ROW(gain);
