/* A GPU's sums of clusters in the harness, for several runs of k-means over the same rows: the
 * first iteration, when all rows come, and a later one, when one row in fifty changes its cluster.
 */
#include "kernels/cluster_sums_cuda.h"
#include <string.h>
#include "bench/operations.h"
#include "host/base/cuda_memory.h"
#include "kernels/cluster_sums.h"

enum { N, K, D, RUNS };
enum { SUMS, COUNTS, N_MOVED, X, WAS, LABEL, NEXT, SCRATCH };

#define BLOCK      65536 /* cluster_sums_cuda.h */
#define MOVES_EACH 50    /* of as many rows one moves */

static int shapes(int64_t out[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    static const int own[][4] = {{5894, 20, 4096, 1}, {5894, 20, 4096, 10}, {1000000, 1000, 64, 1}};
    (void)model;
    int n = full ? 3 : 1;
    for (int i = 0; i < n; i++)
        for (int e = 0; e < 4; e++)
            out[i][e] = own[i][e];
    return n;
}

static const char *refuse(const int64_t *size)
{
    if (size[RUNS] > RUNS_LARGEST)
        return "there are at most 16 runs";
    return size[D] >= 32768 ? "there are at most 32,767 columns" : NULL;
}

static int32_t drawn(int64_t i, uint64_t which, int64_t k)
{
    return (int32_t)((((uint64_t)i + which) * 0x9E3779B97F4A7C15 >> 24) % (uint64_t)k);
}

static enum status prepare(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], k = trial->size[K], d = trial->size[D], runs = trial->size[RUNS];
    int64_t scratch = (int64_t)cluster_sums_cuda_bytes((int)n, (int)k, (int)d, (int)runs);
    bool *moving = trial->own = trial_alloc(trial, 1, sizeof *moving);
    if (!moving)
        return err_no_memory(err, "a bench row's operands", 0);
    *moving = false;
    TRY(trial_tensor(trial, TENSOR_F64, TENSOR_UPDATED, runs * k * d, 0, err));
    TRY(trial_tensor(trial, TENSOR_I64, TENSOR_UPDATED, runs * k, 0, err));
    TRY(trial_tensor(trial, TENSOR_I64, TENSOR_UPDATED, runs, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_PARTS, n * d, 1, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_PARTS, runs * n, 0, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_WRITTEN, runs * n, 0, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_READ, runs * n, 0, err));
    TRY(trial_tensor(trial, TENSOR_U8, TENSOR_PARTS, scratch, 0, err));
    int32_t *was = trial->tensors[WAS].host, *next = trial->tensors[NEXT].host;
    for (int64_t i = 0; i < runs * n; i++) {
        was[i] = drawn(i, 1, k);
        next[i] = drawn(i, 1, MOVES_EACH) == 0 ? drawn(i, 2, k) : was[i];
    }
    /* All runs read the same rows. */
    trial->operations = (double)runs * (double)n * (double)d;
    trial->bytes_read += 4.0 * (double)n * (double)d;
    return STATUS_OK;
}

/* Rows that any run moves are read. */
static enum status prepare_moving(struct trial *trial, struct err *err)
{
    TRY(prepare(trial, err));
    int64_t n = trial->size[N], runs = trial->size[RUNS], moves = 0, rows = 0;
    double d = (double)trial->size[D];
    const int32_t *was = trial->tensors[WAS].host, *next = trial->tensors[NEXT].host;
    for (int64_t i = 0; i < n; i++) {
        bool moved = false;
        for (int64_t r = 0; r < runs; r++)
            if (was[r * n + i] != next[r * n + i])
                moves++, moved = true;
        rows += moved;
    }
    *(bool *)trial->own = true;
    trial->operations = 2.0 * (double)moves * d;
    trial->bytes_read += 4.0 * (double)(runs * n) - 4.0 * (double)(n - rows) * d;
    return STATUS_OK;
}

/* Labels become what they are next: before a run that moves some they are made what they were. */
static enum status run(struct trial *trial, struct err *err)
{
    int n = (int)trial->size[N], runs = (int)trial->size[RUNS];
    bool moving = *(const bool *)trial->own;
    struct run_list list = {.n = runs};
    for (int r = 0; r < runs; r++)
        list.of[r] = r;
    if (moving)
        TRY(cuda_copy_within(trial->device->cuda, trial_at(trial, LABEL), trial_at(trial, WAS),
                             (size_t)runs * (size_t)n * sizeof(int32_t), err));
    return cluster_sums_add_cuda(
        trial->device, trial_at(trial, SUMS), trial_at(trial, COUNTS), trial_at(trial, N_MOVED),
        trial_at(trial, X), trial_at(trial, LABEL), trial_at(trial, NEXT), n, !moving, n,
        (int)trial->size[K], (int)trial->size[D], &list, trial_at(trial, SCRATCH), err);
}

/* The first run of all and the last one, bit for bit. */
static enum status verify_run(struct trial *trial, struct verdict *verdict, int64_t run, double *x,
                              struct err *err)
{
    int64_t n = trial->size[N], k = trial->size[K], d = trial->size[D], moved = 0;
    bool moving = *(const bool *)trial->own;
    double *want = trial_wanted(trial, k * d), *block = trial_wanted(trial, k * d);
    int64_t *counts = trial_alloc(trial, k, sizeof *counts);
    if (!want || !block || !counts)
        return err_no_memory(err, "a reference", 0);
    const int32_t *was = (int32_t *)trial->tensors[WAS].host + run * n;
    const int32_t *next = (int32_t *)trial->tensors[NEXT].host + run * n;
    const int32_t *label = (int32_t *)trial->tensors[LABEL].host + run * n;
    const double *got = (double *)trial->tensors[SUMS].host + run * k * d;
    memset(want, 0, (size_t)(k * d) * sizeof *want);
    memset(counts, 0, (size_t)k * sizeof *counts);
    for (int64_t i = 0; i < n; i += BLOCK) {
        memset(block, 0, (size_t)(k * d) * sizeof *block);
        cluster_sums_add_ref(block, counts, x + i * d, moving ? was + i : NULL, next + i,
                             (int)(n - i < BLOCK ? n - i : BLOCK), (int)d);
        for (int64_t e = 0; e < k * d; e++)
            want[e] += block[e];
    }
    for (int64_t e = 0; e < k * d; e++)
        verdict_value(verdict, got[e], want[e], 0);
    for (int64_t c = 0; c < k; c++)
        verdict_value(verdict, (double)((int64_t *)trial->tensors[COUNTS].host)[run * k + c],
                      (double)counts[c], 0);
    for (int64_t i = 0; i < n; i++) {
        moved += !moving || was[i] != next[i];
        verdict_value(verdict, label[i], next[i], 0);
    }
    verdict_value(verdict, (double)((int64_t *)trial->tensors[N_MOVED].host)[run], (double)moved,
                  0);
    return STATUS_OK;
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int64_t last = trial->size[RUNS] - 1;
    double *x = trial_doubles(trial, X);
    if (!x)
        return err_no_memory(err, "a reference", 0);
    TRY(verify_run(trial, verdict, 0, x, err));
    return last > 0 ? verify_run(trial, verdict, last, x, err) : STATUS_OK;
}

#define CLUSTER_SUMS_ROW(symbol, what, how)                                                        \
    const struct bench_operation bench_##symbol = {                                                \
        .name = "cluster_sums_add_cuda",                                                           \
        .dtype = what,                                                                             \
        .dimensions = {"n", "k", "d", "runs"},                                                     \
        .cuda = true,                                                                              \
        .not_cpu = true,                                                                           \
        .no_activations = true,                                                                    \
        .shapes = shapes,                                                                          \
        .refuse = refuse,                                                                          \
        .prepare = how,                                                                            \
        .run = run,                                                                                \
        .verify = verify,                                                                          \
    }
CLUSTER_SUMS_ROW(cluster_sums_cuda, "f32", prepare);
CLUSTER_SUMS_ROW(cluster_moves_cuda, "f32 2% move", prepare_moving);
