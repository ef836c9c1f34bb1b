/* What a report holds in memory: for report.c, which gathers it, and report_write.c. */
#ifndef SOFTCUDA_RECORDS_H
#define SOFTCUDA_RECORDS_H

#include <pthread.h>
#include "host/base/memory.h"
#include "tools/softcuda/projection.h"
#include "tools/softcuda/report.h"
#include "tools/softcuda/resources.h"

#define CARDS_MOST 8

/* An instruction, by what outlives its program. */
struct site_name {
    const char *opcode;
    const char *file; /* "": not known */
    int line;
};

struct kernel_record {
    const char *name;
    int n_sites;
    struct site_name *names;  /* (n_sites) */
    struct count_site *sites; /* (n_sites) sums over launches, not scaled */
    struct totals totals;
    int64_t launches, ctas, counted, early;
    uint32_t block[3]; /* of the last launch */
    size_t dynamic_shared;
    int static_shared, local;
    struct resources resources[CARDS_MOST]; /* by card_list */
    struct projection projections[CARDS_MOST];
    int index;
    struct kernel_record *next;
};

struct launch_record {
    const struct kernel_record *kernel;
    uint32_t grid[3], block[3];
    size_t dynamic_shared;
    int64_t counted;
    struct totals totals;
    struct projection projection; /* for the report's card */
    struct launch_record *next;
};

struct count_report {
    pthread_mutex_t lock;
    struct arena arena;
    const struct card *card;
    int64_t sample;
    struct cache l2; /* of one launch after another */
    bool l2_in_use;
    struct kernel_record *kernels, *last_kernel; /* in order of their first launch */
    struct launch_record *launches, *last_launch;
    int64_t n_launches;
};

#endif
