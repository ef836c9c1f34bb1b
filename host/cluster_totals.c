/* See cluster_totals.h. What a block costs beside its rows is in proportion to the clusters that it
 * touches: the others' partial sums are zeros already. */
#include "host/cluster_totals.h"

#include <string.h>
#include "host/base/memory.h"
#include "kernels/cluster_sums.h"

size_t cluster_totals_bytes(int k, int d)
{
    size_t clusters = (size_t)k, sums, bytes;
    if (__builtin_mul_overflow(clusters * (size_t)d, 2 * sizeof(double), &sums) ||
        __builtin_add_overflow(sums, clusters * (sizeof(int64_t) + sizeof(bool)), &bytes))
        return SIZE_MAX;
    return bytes + cluster_sums_bytes(CLUSTER_BLOCK_ROWS);
}

enum status cluster_totals_open(struct cluster_totals *totals, struct device *device, int k, int d,
                                struct err *err)
{
    size_t clusters = (size_t)k, size = clusters * (size_t)d;
    *totals = (struct cluster_totals){.device = device, .k = k, .d = d};
    totals->sums = mem_alloc_zero(size, sizeof *totals->sums);
    totals->counts = mem_alloc_zero(clusters, sizeof *totals->counts);
    totals->partial = mem_alloc_zero(size, sizeof *totals->partial);
    totals->touched = mem_alloc_zero(clusters, sizeof *totals->touched);
    totals->scratch = mem_alloc(cluster_sums_bytes(CLUSTER_BLOCK_ROWS), 1);
    if (!totals->sums || !totals->counts || !totals->partial || !totals->touched ||
        !totals->scratch)
        return err_no_memory(err, "sums of clusters", cluster_totals_bytes(k, d));
    return STATUS_OK;
}

void cluster_totals_close(struct cluster_totals *totals)
{
    mem_free(totals->sums);
    mem_free(totals->counts);
    mem_free(totals->partial);
    mem_free(totals->touched);
    mem_free(totals->scratch);
    *totals = (struct cluster_totals){.device = NULL};
}

/* ---- blocks --------------------------------------------------------------------------------- */

#define CLUSTERS_PER_TASK 8

static void end_task(void *context, int task, int worker)
{
    (void)worker;
    struct cluster_totals *totals = context;
    int first = task * CLUSTERS_PER_TASK, left = totals->k - first;
    for (int c = first; c < first + (left < CLUSTERS_PER_TASK ? left : CLUSTERS_PER_TASK); c++) {
        double *sum = totals->sums + (size_t)c * (size_t)totals->d;
        double *partial = totals->partial + (size_t)c * (size_t)totals->d;
        if (!totals->touched[c])
            continue;
        for (int j = 0; j < totals->d; j++)
            sum[j] += partial[j];
        memset(partial, 0, (size_t)totals->d * sizeof *partial);
        totals->touched[c] = false;
    }
}

static void end_block(struct cluster_totals *totals)
{
    int n_tasks = totals->k / CLUSTERS_PER_TASK + (totals->k % CLUSTERS_PER_TASK != 0);
    if (totals->block_rows > 0)
        threads_run(totals->device->threads, n_tasks, end_task, totals);
    totals->block_rows = 0;
}

void cluster_totals_begin(struct cluster_totals *totals, bool empty)
{
    end_block(totals); /* of a walk that was broken off */
    if (!empty)
        return;
    memset(totals->sums, 0, (size_t)totals->k * (size_t)totals->d * sizeof *totals->sums);
    memset(totals->counts, 0, (size_t)totals->k * sizeof *totals->counts);
}

enum status cluster_totals_add(struct cluster_totals *totals, const float *x, const int32_t *from,
                               const int32_t *to, int n, struct err *err)
{
    for (int row = 0, rows; row < n; row += rows) {
        int left = CLUSTER_BLOCK_ROWS - totals->block_rows;
        rows = n - row < left ? n - row : left;
        TRY(cluster_sums_add(totals->device, totals->partial, totals->counts, totals->touched,
                             x + (size_t)row * (size_t)totals->d, from ? from + row : NULL,
                             to + row, rows, totals->k, totals->d, totals->scratch, err));
        totals->block_rows += rows;
        if (rows == left)
            end_block(totals);
    }
    return STATUS_OK;
}

void cluster_totals_end(struct cluster_totals *totals)
{
    end_block(totals);
}
