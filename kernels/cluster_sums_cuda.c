/* Sums of clusters on a GPU: launches, and how many blocks go into one. See cluster_sums_cuda.h. */
#include "kernels/cluster_sums_cuda.h"

#include <assert.h>
#include "host/base/cuda_memory.h"
#include "host/base/divide_up.h"
#include "kernels/cluster_sums_job.h"

/* Of scratch; more units at once would not be faster. */
#define ENOUGH_BYTES ((size_t)64 << 20)
/* Blocks of a warp that go round until a unit's pieces are done: enough for any card, few enough to
 * begin and end where there is little to do. */
#define MOST_WARPS 8192

static int at_most(int64_t n, int limit)
{
    return n < limit ? (int)n : limit;
}

static int passes_of(int k)
{
    int bits = 1;
    while (bits < 31 && (k - 1) >> bits)
        bits++;
    return (int)divide_up(bits, CLUSTER_SUMS_BITS);
}

/* n_units of them; partial: of launches with several blocks of a run. */
static void carve(struct cluster_sums_job *job, struct cuda_arena *arena, int n_units, bool partial)
{
    size_t units = (size_t)n_units, k = (size_t)job->k, moves = units * (size_t)job->most_moves;
    job->moves[0] = cuda_arena_take(arena, moves, sizeof(struct cluster_move));
    job->moves[1] =
        job->n_passes > 1 ? cuda_arena_take(arena, moves, sizeof(struct cluster_move)) : NULL;
    job->range = cuda_arena_take(arena, units * k, sizeof(struct cluster_range));
    job->touched = cuda_arena_take(arena, units * k, sizeof(int32_t));
    job->n_touched = cuda_arena_take(arena, units, sizeof(int32_t));
    job->partial =
        partial ? cuda_arena_take(arena, units * k * (size_t)job->d, sizeof(double)) : NULL;
}

static struct cluster_sums_job job_of(int n, int k, int d)
{
    struct cluster_sums_job job = {.n = n, .k = k, .d = d, .n_passes = passes_of(k)};
    job.most_moves = 2 * at_most(n, CLUSTER_SUMS_BLOCK);
    return job;
}

static size_t bytes_of(struct cluster_sums_job job, int n_units, bool partial)
{
    struct cuda_arena arena = {0};
    carve(&job, &arena, n_units, partial);
    return arena.used;
}

/* Units with partial sums that have enough memory. */
static int units_of(const struct cluster_sums_job *job)
{
    size_t each = bytes_of(*job, 1, true);
    return each < ENOUGH_BYTES ? (int)(ENOUGH_BYTES / each) : 1;
}

/* Of each run, in a launch. */
static int blocks_of(const struct cluster_sums_job *job, int n_runs)
{
    int n_blocks = (int)divide_up(job->n, CLUSTER_SUMS_BLOCK), blocks = units_of(job) / n_runs;
    return blocks < 1 ? 1 : at_most(blocks, n_blocks);
}

/* What the call with the most needs, of fewer runs too, which may have more blocks in a launch. */
size_t cluster_sums_cuda_bytes(int n, int k, int d, int n_runs)
{
    const struct cluster_sums_job job = job_of(n, k, d);
    size_t most = 0;
    for (int runs = 1; runs <= n_runs; runs++) {
        int blocks = blocks_of(&job, runs);
        size_t bytes = bytes_of(job, blocks * runs, blocks > 1);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static enum status launch(struct device *device, const char *name, int64_t blocks, unsigned threads,
                          struct cluster_sums_job *job, struct err *err)
{
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "cluster_sums",
                           .name = name,
                           .grid = {(unsigned)blocks, 1, 1},
                           .block = {threads, 1, 1},
                           .values = (void *[]){job},
                       },
                       err);
}

static enum status add_blocks(struct device *device, struct cluster_sums_job *job, struct err *err)
{
    static const char *const sums[] = {"cluster_sums_by_elements", "cluster_sums_by_fours"};
    static const char *const folds[] = {"cluster_fold_by_elements", "cluster_fold_by_fours"};
    bool fours = job->d % 4 == 0;
    int n_units = job->n_blocks * job->runs.n;
    int64_t pieces = fours ? job->d / 4 : job->d;
    int64_t warps = divide_up(at_most(job->k, job->most_moves) * pieces, 32);
    int of_unit = at_most(warps, MOST_WARPS / n_units > 1 ? MOST_WARPS / n_units : 1);
    TRY(launch(device, "cluster_moves", n_units, CLUSTER_SUMS_THREADS, job, err));
    TRY(launch(device, sums[fours], (int64_t)of_unit * n_units, 32, job, err));
    if (!job->partial)
        return STATUS_OK;
    return launch(device, folds[fours], divide_up(job->k * pieces, CLUSTER_SUMS_FOLD) * job->runs.n,
                  CLUSTER_SUMS_FOLD, job, err);
}

enum status cluster_sums_add_cuda(struct device *device, double *sums, int64_t *counts,
                                  int64_t *n_moved, const float *x, int32_t *label,
                                  const int32_t *next, int64_t stride, bool none_before, int n,
                                  int k, int d, const struct run_list *runs, void *scratch,
                                  struct err *err)
{
    struct cuda_arena arena = {.base = (CUdeviceptr)(uintptr_t)scratch};
    struct cluster_sums_job job = job_of(n, k, d);
    assert(n >= 0 && n <= stride && k >= 1 && d >= 1 && (int64_t)k * d <= INT32_MAX);
    assert(runs->n >= 0 && runs->n <= RUNS_LARGEST);
    if (n == 0 || runs->n == 0)
        return STATUS_OK;
    int n_blocks = (int)divide_up(n, CLUSTER_SUMS_BLOCK), blocks = blocks_of(&job, runs->n);
    carve(&job, &arena, blocks * runs->n, blocks > 1);
    double *partial = job.partial;
    job.sums = sums, job.counts = counts, job.n_moved = n_moved;
    job.x = x, job.label = label, job.next = next, job.stride = stride;
    job.none_before = none_before;
    job.runs = *runs;
    for (; job.first_block < n_blocks; job.first_block += blocks) {
        job.n_blocks = at_most(n_blocks - job.first_block, blocks);
        job.partial = job.n_blocks > 1 ? partial : NULL;
        TRY(add_blocks(device, &job, err));
    }
    return STATUS_OK;
}
