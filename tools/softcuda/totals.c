/* See totals.h. */
#include "tools/softcuda/totals.h"

#include <stdio.h>
#include <string.h>

#define COUNTER_NAME(NAME, name) [COUNT_##NAME] = name,
const char *const counter_names[COUNTERS] = {COUNTER_TABLE(COUNTER_NAME)};

void totals_add_mma(struct totals *totals, const char *shape, uint64_t warps, uint64_t macs)
{
    int i = 0;
    while (i < totals->n_mma && strcmp(totals->mma[i].shape, shape) != 0)
        i++;
    if (i == MMA_KINDS) /* more kinds than compute_80 has */
        return;
    if (i == totals->n_mma) {
        totals->mma[i] = (struct mma_count){0};
        snprintf(totals->mma[i].shape, sizeof totals->mma[i].shape, "%s", shape);
        totals->n_mma++;
    }
    totals->mma[i].warps += warps;
    totals->mma[i].macs += macs;
}

void totals_add(struct totals *sum, const struct totals *more)
{
    for (int i = 0; i < COUNTERS; i++)
        sum->value[i] += more->value[i];
    for (int i = 0; i < more->n_mma; i++)
        totals_add_mma(sum, more->mma[i].shape, more->mma[i].warps, more->mma[i].macs);
}

static uint64_t scale(uint64_t value, uint64_t of, uint64_t counted)
{
    /* In two parts, so that nothing overflows below 2^64 / counted. */
    return value / counted * of + (value % counted * of + counted / 2) / counted;
}

void totals_scale(struct totals *totals, uint64_t of, uint64_t counted)
{
    if (counted == 0 || of == counted)
        return;
    for (int i = 0; i < COUNTERS; i++)
        totals->value[i] = scale(totals->value[i], of, counted);
    for (int i = 0; i < totals->n_mma; i++) {
        totals->mma[i].warps = scale(totals->mma[i].warps, of, counted);
        totals->mma[i].macs = scale(totals->mma[i].macs, of, counted);
    }
}

uint64_t totals_shared_wavefronts(const struct totals *totals, bool least)
{
    uint64_t sum = 0;
    for (int i = COUNT_SHARED_LOAD_REQUESTS; i <= COUNT_SHARED_ASYNC_REQUESTS;
         i += COUNT_SHARED_STORE_REQUESTS - COUNT_SHARED_LOAD_REQUESTS)
        sum += totals->value[i + (least ? 2 : 1)];
    return sum;
}

uint64_t totals_global_sectors(const struct totals *totals, bool least)
{
    uint64_t sum = 0;
    for (int i = COUNT_GLOBAL_LOAD_REQUESTS; i <= COUNT_GLOBAL_ASYNC_REQUESTS;
         i += COUNT_GLOBAL_STORE_REQUESTS - COUNT_GLOBAL_LOAD_REQUESTS)
        sum += totals->value[i + (least ? 2 : 1)];
    return sum;
}

uint64_t totals_l2_bytes(const struct totals *totals)
{
    return 32 * (totals->value[COUNT_L2_READS] + totals->value[COUNT_L2_WRITES] +
                 totals->value[COUNT_L2_ATOMICS]);
}

uint64_t totals_dram_bytes(const struct totals *totals)
{
    return totals->value[COUNT_DRAM_READ_BYTES] + totals->value[COUNT_DRAM_WRITE_BYTES];
}
