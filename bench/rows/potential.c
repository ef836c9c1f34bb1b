/* What k-means' seeding does with distances to candidates, in the harness: for one run, and for
 * several over the same rows. */
#include "kernels/potential.h"
#include <math.h>
#include "bench/operations.h"

enum { N, TRIALS, RUNS };
enum { SUMS, DISTANCE, TRIAL };

/* Trials of 20, 100 and 1,000 clusters. */
static int shapes(int64_t out[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    static const int own[][3] = {{20000, 4, 1}, {5894, 5, 10}, {100000, 6, 1}, {1000000, 8, 1}};
    (void)model;
    int n = full ? 4 : 1;
    for (int i = 0; i < n; i++)
        out[i][N] = own[i][0], out[i][TRIALS] = own[i][1], out[i][RUNS] = own[i][2];
    return n;
}

static const char *refuse(const int64_t *size)
{
    if (size[RUNS] > RUNS_LARGEST)
        return "runs: at most 16";
    return size[N] * size[TRIALS] * size[RUNS] > INT32_MAX ? "below 2^31 numbers" : NULL;
}

static void make_positive(const struct trial *trial, int tensor)
{
    float *x = trial->tensors[tensor].host;
    for (size_t i = 0; i < trial->tensors[tensor].n; i++)
        x[i] = fabsf(x[i]);
}

static enum status prepare(struct trial *trial, enum tensor_role role, struct err *err)
{
    int64_t n_distances = trial->size[N] * trial->size[RUNS];
    TRY(trial_tensor(trial, TENSOR_F32, role, n_distances, 1, err));
    TRY(trial_tensor(trial, TENSOR_F32, role == TENSOR_READ ? TENSOR_READ : TENSOR_PARTS,
                     n_distances * trial->size[TRIALS], 1, err));
    make_positive(trial, trial->n_tensors - 2);
    make_positive(trial, trial->n_tensors - 1);
    return STATUS_OK;
}

/* ---- sums ------------------------------------------------------------------------------------ */

static int64_t n_sums(const struct trial *trial)
{
    return (int64_t)potential_blocks((int)trial->size[N]) * trial->size[RUNS] * trial->size[TRIALS];
}

static enum status prepare_sums(struct trial *trial, struct err *err)
{
    TRY(trial_tensor(trial, TENSOR_F64, TENSOR_WRITTEN, n_sums(trial), 0, err));
    return prepare(trial, TENSOR_READ, err);
}

static enum status run_sums(struct trial *trial, struct err *err)
{
    return potential_fwd(trial->device, trial_at(trial, SUMS), trial_at(trial, DISTANCE),
                         trial_at(trial, TRIAL), (int)trial->size[N], (int)trial->size[RUNS],
                         (int)trial->size[TRIALS], err);
}

static enum status verify_sums(struct trial *trial, struct verdict *verdict, struct err *err)
{
    const double *got = trial->tensors[SUMS].host;
    double *distance = trial_doubles(trial, DISTANCE), *trials = trial_doubles(trial, TRIAL);
    double *want = trial_wanted(trial, n_sums(trial));
    if (!distance || !trials || !want)
        return err_no_memory(err, "a reference", 0);
    potential_fwd_ref(want, distance, trials, (int)trial->size[N], (int)trial->size[RUNS],
                      (int)trial->size[TRIALS]);
    for (int64_t i = 0; i < n_sums(trial); i++)
        verdict_value(verdict, got[i], want[i], potential_fwd_tolerance() * want[i]);
    return STATUS_OK;
}

/* ---- what is kept ---------------------------------------------------------------------------- */

enum { KEPT, OF_TRIALS };

static int best_of(const struct trial *trial, int64_t run)
{
    return (int)((run * 3 + 1) % trial->size[TRIALS]);
}

/* Of a run's trials one number a row. */
static enum status prepare_keep(struct trial *trial, struct err *err)
{
    trial->bytes_read += 4.0 * (double)trial->size[N] * (double)trial->size[RUNS];
    return prepare(trial, TENSOR_UPDATED, err);
}

static enum status run_keep(struct trial *trial, struct err *err)
{
    int best[RUNS_LARGEST];
    for (int64_t run = 0; run < trial->size[RUNS]; run++)
        best[run] = best_of(trial, run);
    return potential_keep(trial->device, trial_at(trial, KEPT), trial_at(trial, OF_TRIALS), best,
                          (int)trial->size[N], (int)trial->size[RUNS], (int)trial->size[TRIALS],
                          err);
}

static enum status verify_keep(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int64_t n = trial->size[N], runs = trial->size[RUNS], trials = trial->size[TRIALS];
    double *distance = trial_doubles(trial, KEPT), *of_trials = trial_doubles(trial, OF_TRIALS);
    const float *got = trial->tensors[KEPT].host;
    if (!distance || !of_trials)
        return err_no_memory(err, "a reference", 0);
    for (int64_t run = 0; run < runs; run++)
        for (int64_t i = 0; i < n; i++) {
            double other = of_trials[(i * runs + run) * trials + best_of(trial, run)];
            verdict_value(verdict, (double)got[run * n + i], fmin(distance[run * n + i], other), 0);
        }
    return STATUS_OK;
}

/* ---- draws ----------------------------------------------------------------------------------- */

/* Every row has a share of 1, so that a place tells its row. */
enum { DRAW_N, DRAW_D, DRAW_TRIALS, DRAW_RUNS };
enum { CANDIDATES, X, SHARES };
#define DRAWS_LARGEST POTENTIAL_DRAWS /* what a GPU does in one launch */

static int draw_shapes(int64_t out[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    int n = full ? 2 : 1;
    for (int i = 0; i < n; i++) {
        out[i][DRAW_N] = 20000, out[i][DRAW_D] = model->hidden;
        out[i][DRAW_TRIALS] = 5, out[i][DRAW_RUNS] = i == 0 ? 1 : 10;
    }
    return n;
}

static const char *refuse_draws(const int64_t *size)
{
    if (size[DRAW_RUNS] > RUNS_LARGEST || size[DRAW_TRIALS] * size[DRAW_RUNS] > DRAWS_LARGEST)
        return "at most 16 runs, 128 draws";
    return size[DRAW_N] * size[DRAW_D] > INT32_MAX ? "below 2^31 numbers" : NULL;
}

static int64_t n_draws(const struct trial *trial)
{
    return trial->size[DRAW_TRIALS] * trial->size[DRAW_RUNS];
}

static int drawn_row(const struct trial *trial, int64_t c)
{
    return (int)((uint64_t)c * 2654435761u % (uint64_t)trial->size[DRAW_N]);
}

static enum status prepare_draw(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[DRAW_N], d = trial->size[DRAW_D];
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_WRITTEN, n_draws(trial) * d, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_PARTS, n * d, 1, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_PARTS, n * trial->size[DRAW_RUNS], 0, err));
    float *shares = trial->tensors[SHARES].host;
    for (size_t i = 0; i < trial->tensors[SHARES].n; i++)
        shares[i] = 1;
    for (int64_t c = 0; c < n_draws(trial); c++)
        trial->bytes_read += 4.0 * ((double)d + 1 + (double)(drawn_row(trial, c) % POTENTIAL_ROWS));
    return STATUS_OK;
}

static enum status run_draw(struct trial *trial, struct err *err)
{
    struct potential_draw draws[DRAWS_LARGEST];
    for (int64_t c = 0; c < n_draws(trial); c++) {
        int row = drawn_row(trial, c), block = row / POTENTIAL_ROWS;
        draws[c] = (struct potential_draw){(double)block * POTENTIAL_ROWS, row + 0.5, block};
    }
    return potential_draw(trial->device, trial_at(trial, CANDIDATES), trial_at(trial, X),
                          trial_at(trial, SHARES), draws, (int)trial->size[DRAW_N],
                          (int)trial->size[DRAW_RUNS], (int)trial->size[DRAW_TRIALS],
                          (int)trial->size[DRAW_D], err);
}

static enum status verify_draw(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int64_t d = trial->size[DRAW_D];
    const float *got = trial->tensors[CANDIDATES].host, *x = trial->tensors[X].host;
    (void)err;
    for (int64_t c = 0; c < n_draws(trial); c++)
        for (int64_t j = 0; j < d; j++)
            verdict_value(verdict, (double)got[c * d + j], (double)x[drawn_row(trial, c) * d + j],
                          0);
    return STATUS_OK;
}

#define POTENTIAL_ROW(symbol, ...)                                                                 \
    const struct bench_operation bench_##symbol = {                                                \
        .name = #symbol, .dtype = "f32", .cuda = true, .no_activations = true, __VA_ARGS__}
POTENTIAL_ROW(potential_fwd, .dimensions = {"n", "trials", "runs"}, .shapes = shapes,
              .refuse = refuse, .prepare = prepare_sums, .run = run_sums, .verify = verify_sums);
POTENTIAL_ROW(potential_keep, .dimensions = {"n", "trials", "runs"}, .shapes = shapes,
              .refuse = refuse, .prepare = prepare_keep, .run = run_keep, .verify = verify_keep);
POTENTIAL_ROW(potential_draw, .dimensions = {"n", "d", "trials", "runs"}, .shapes = draw_shapes,
              .refuse = refuse_draws, .prepare = prepare_draw, .run = run_draw,
              .verify = verify_draw);
