/* See cluster_totals.h. */
#include "host/cluster_totals.h"

#include <string.h>
#include "host/base/memory.h"
#include "kernels/cluster_sums.h"

size_t cluster_totals_bytes(int k, int d)
{
    return 2 * (size_t)k * (size_t)d * sizeof(double) +
           (size_t)k * (sizeof(int64_t) + sizeof(bool));
}

enum status cluster_totals_open(struct cluster_totals *totals, struct device *device, int k, int d,
                                struct err *err)
{
    size_t size = (size_t)k * (size_t)d;
    *totals = (struct cluster_totals){.device = device, .k = k, .d = d};
    totals->sums = mem_alloc(size, sizeof *totals->sums);
    totals->counts = mem_alloc((size_t)k, sizeof *totals->counts);
    totals->partial = mem_alloc_zero(size, sizeof *totals->partial);
    totals->touched = mem_alloc_zero((size_t)k, sizeof *totals->touched);
    if (!totals->sums || !totals->counts || !totals->partial || !totals->touched)
        return err_no_memory(err, "sums of clusters", cluster_totals_bytes(k, d));
    return STATUS_OK;
}

void cluster_totals_close(struct cluster_totals *totals)
{
    mem_free(totals->sums);
    mem_free(totals->counts);
    mem_free(totals->partial);
    mem_free(totals->touched);
    *totals = (struct cluster_totals){0};
}

void cluster_totals_begin(struct cluster_totals *totals, bool empty)
{
    totals->block_rows = 0;
    if (empty) {
        memset(totals->sums, 0, (size_t)totals->k * (size_t)totals->d * sizeof *totals->sums);
        memset(totals->counts, 0, (size_t)totals->k * sizeof *totals->counts);
    }
}

static void end_block_task(void *context, int cluster, int worker)
{
    (void)worker;
    struct cluster_totals *totals = context;
    size_t d = (size_t)totals->d;
    double *sum = totals->sums + (size_t)cluster * d,
           *partial = totals->partial + (size_t)cluster * d;
    if (!totals->touched[cluster])
        return;
    for (size_t j = 0; j < d; j++) {
        sum[j] += partial[j];
        partial[j] = 0;
    }
    totals->touched[cluster] = false;
}

static void end_block(struct cluster_totals *totals)
{
    threads_run(totals->device->threads, totals->k, end_block_task, totals);
    totals->block_rows = 0;
}

static void count(struct cluster_totals *totals, const int32_t *from, const int32_t *to, int n)
{
    for (int i = 0; i < n; i++) {
        if (from && from[i] == to[i])
            continue;
        if (from) {
            totals->counts[from[i]]--;
            totals->touched[from[i]] = true;
        }
        totals->counts[to[i]]++;
        totals->touched[to[i]] = true;
    }
}

enum status cluster_totals_add(struct cluster_totals *totals, const float *x, const int32_t *from,
                               const int32_t *to, int n, struct err *err)
{
    while (n > 0) {
        int left = CLUSTER_BLOCK_ROWS - totals->block_rows, size = n < left ? n : left;
        TRY(cluster_sums_add(totals->device, totals->partial, x, from, to, size, totals->k,
                             totals->d, err));
        count(totals, from, to, size);
        totals->block_rows += size;
        if (totals->block_rows == CLUSTER_BLOCK_ROWS)
            end_block(totals);
        x += (size_t)size * (size_t)totals->d;
        from = from ? from + size : NULL;
        to += size;
        n -= size;
    }
    return STATUS_OK;
}

void cluster_totals_end(struct cluster_totals *totals)
{
    end_block(totals);
}
