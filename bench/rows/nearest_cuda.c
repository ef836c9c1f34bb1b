/* A GPU's assignment of rows to the nearest centre, by one product and split, in the harness: an
 * iteration's rows are prepared beforehand, its centres too. Of several runs each has centres of
 * its own. */
#include "kernels/nearest_cuda.h"
#include <string.h>
#include "bench/operations.h"
#include "kernels/nearest.h"
#include "kernels/squared_distance.h"

enum { RUNS, N, K, D };
enum { X, CENTRES, ROWS, PACKED, SCRATCH, COUNT, LABEL };
#define ROWS_VERIFIED 64

struct own {
    bool split, prepared;
    /* By turns. */
    struct nearest_rows_cuda rows[2];
    struct nearest_centres_cuda centres[2];
};

/* The report's titles by a 7B model, alone and in ten restarts; embeddings of SmolLM2. */
static int shapes(int64_t out[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    static const int own[][4] = {{1, 5894, 20, 4096},
                                 {10, 5894, 20, 4096},
                                 {1, 5894, 256, 4096},
                                 {1, 16384, 256, 576},
                                 {1, 16384, 1000, 576}};
    (void)model;
    int n = full ? 5 : 2;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < 4; j++)
            out[i][j] = own[i][j];
    return n;
}

static const char *refuse(const int64_t *size)
{
    return size[RUNS] > RUNS_LARGEST ? "at most 16 runs" : NULL;
}

/* Rows round the first run's centres, so that few are near ties: how many are is the data's affair.
 * The other runs' are the same in another order. */
static void put_rows_near_centres(struct trial *trial)
{
    float *x = trial->tensors[X].host;
    float *centres = trial->tensors[CENTRES].host;
    int64_t k = trial->size[K], d = trial->size[D];
    for (int64_t i = 0; i < trial->size[N]; i++)
        for (int64_t j = 0; j < d; j++)
            x[i * d + j] += centres[i * 7 % k * d + j];
    for (int64_t run = 1; run < trial->size[RUNS]; run++)
        for (int64_t c = 0; c < k; c++)
            memcpy(centres + (run * k + c) * d, centres + (c + run) % k * d,
                   (size_t)d * sizeof *centres);
}

static enum status prepare_way(struct trial *trial, bool split, struct err *err)
{
    int64_t n = trial->size[N], k = trial->size[K], d = trial->size[D], runs = trial->size[RUNS];
    struct own *own = trial->own = trial_alloc(trial, 1, sizeof *own);
    if (!own)
        return err_no_memory(err, "a bench row's operands", 0);
    *own = (struct own){.split = split};
    size_t rows = nearest_rows_cuda_bytes((int)n, (int)d, split);
    size_t packed = nearest_centres_cuda_bytes((int)runs, (int)k, (int)d, split);
    size_t scratch = nearest_cuda_scratch_bytes((int)n, (int)runs);
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_PARTS, n * d, 0.5, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_PARTS, runs * k * d, 1, err));
    TRY(trial_tensor(trial, TENSOR_U8, TENSOR_PARTS, (int64_t)rows, 0, err));
    TRY(trial_tensor(trial, TENSOR_U8, TENSOR_PARTS, (int64_t)packed, 0, err));
    TRY(trial_tensor(trial, TENSOR_U8, TENSOR_PARTS, (int64_t)scratch, 0, err));
    TRY(trial_tensor(trial, TENSOR_I64, TENSOR_PARTS, runs, 0, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_WRITTEN, runs * n, 0, err));
    put_rows_near_centres(trial);
    trial->operations = 2.0 * (double)(runs * n) * (double)k * (double)d * (split ? 3 : 1);
    /* The halves and the two lengths of each row, the halves of each centre. */
    trial->bytes_read += (double)n * ((double)d * 2 * (split ? 2 : 1) + 8) +
                         (double)(runs * k) * (double)d * 2 * (split ? 2 : 1);
    return STATUS_OK;
}

static enum status prepare(struct trial *trial, struct err *err)
{
    return prepare_way(trial, false, err);
}

static enum status prepare_split(struct trial *trial, struct err *err)
{
    return prepare_way(trial, true, err);
}

static void *place(const struct trial *trial, int tensor, int turn)
{
    return (void *)(uintptr_t)trial->tensors[tensor].device[turn];
}

/* The first run, which is verified and not timed, makes what the others use. */
static enum status prepare_operands(struct trial *trial, struct err *err)
{
    struct own *own = trial->own;
    int n = (int)trial->size[N], k = (int)trial->size[K], d = (int)trial->size[D];
    int runs = (int)trial->size[RUNS];
    for (int turn = 0; turn < 2; turn++) {
        TRY(nearest_rows_cuda_prepare(trial->device, &own->rows[turn], place(trial, ROWS, turn),
                                      place(trial, X, turn), NEAREST_ROWS_F32, NULL, n, d,
                                      own->split, err));
        TRY(nearest_centres_cuda_pack(trial->device, &own->centres[turn],
                                      place(trial, PACKED, turn), place(trial, CENTRES, turn), NULL,
                                      runs, k, d, own->split, err));
    }
    own->prepared = true;
    return STATUS_OK;
}

static enum status run(struct trial *trial, struct err *err)
{
    struct own *own = trial->own;
    if (!own->prepared)
        TRY(prepare_operands(trial, err));
    struct run_list list = {.n = (int)trial->size[RUNS]};
    for (int r = 0; r < list.n; r++)
        list.of[r] = r;
    return nearest_fwd_cuda(trial->device, trial_at(trial, LABEL), trial->size[N],
                            &own->rows[trial->turn], &own->centres[trial->turn], &list,
                            trial_at(trial, SCRATCH), trial_at(trial, COUNT), err);
}

/* A sample of the rows, evenly, of each run. Where two centres are as near as rounding, either is
 * right. */
static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int n = (int)trial->size[N], k = (int)trial->size[K], d = (int)trial->size[D];
    double tolerance = squared_distance_fwd_tolerance(d), distance, second;
    double *x = trial_wanted(trial, d), *centres = trial_doubles(trial, CENTRES);
    const int32_t *got = trial->tensors[LABEL].host;
    int32_t want;
    if (!x || !centres)
        return err_no_memory(err, "a reference", 0);
    for (int r = 0; r < ROWS_VERIFIED; r++) {
        int64_t i = (int64_t)n * r / ROWS_VERIFIED;
        for (int j = 0; j < d; j++)
            x[j] = (double)((const float *)trial->tensors[X].host)[i * d + j];
        for (int64_t of = 0; of < trial->size[RUNS]; of++) {
            nearest_fwd_ref(&want, &distance, &second, x, centres + of * k * d, 1, k, d);
            if (k == 1 || second - distance > 2 * tolerance * second)
                verdict_value(verdict, got[of * n + i], want, 0);
        }
    }
    return STATUS_OK;
}

#define NEAREST_ROW(symbol, text, how)                                                             \
    const struct bench_operation bench_##symbol = {                                                \
        .name = text,                                                                              \
        .dtype = "bf16",                                                                           \
        .dimensions = {"runs", "n", "k", "d"},                                                     \
        .cuda = true,                                                                              \
        .not_cpu = true,                                                                           \
        .no_activations = true,                                                                    \
        .shapes = shapes,                                                                          \
        .refuse = refuse,                                                                          \
        .prepare = how,                                                                            \
        .run = run,                                                                                \
        .verify = verify,                                                                          \
    }
NEAREST_ROW(nearest_cuda, "nearest_fwd_cuda", prepare);
NEAREST_ROW(nearest_split_cuda, "nearest_split_fwd_cuda", prepare_split);
