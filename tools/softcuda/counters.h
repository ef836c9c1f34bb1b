/* What a launch's counters hold: for count.c and count_access.c. */
#ifndef SOFTCUDA_COUNTERS_H
#define SOFTCUDA_COUNTERS_H

#include "tools/softcuda/traffic.h"

struct worker_counters {
    struct count_site *sites; /* (program->n_instructions) */
    uint64_t values[COUNTERS];
    int64_t n_counted; /* CTAs */
    struct cta_counters *spare;
    struct counters *launch;
    struct worker_counters *next;
};

struct counters {
    const struct program *program;
    uint8_t *hints; /* (program->n_instructions) enum hint, or-ed */
    int64_t n_ctas, warps_per_cta, sample;
    uint64_t l1_bytes;   /* of a CTA's share of L1 */
    struct cache own_l2; /* where none was lent */
    struct traffic traffic;
    struct worker_counters *workers;
};

#endif
