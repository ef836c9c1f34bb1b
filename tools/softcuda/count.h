/* Counters: what a launch costs.
 *
 * Executed instructions are counted by place in the program, so that a count is two or three
 * additions; what depends on the opcode alone (classes, mma, barriers) is summed up afterwards.
 * Accesses are taken apart where they happen (count_access.c): sectors of global memory, wavefronts
 * of shared memory. What passes L1 goes to a log of its CTA and later, with the other CTAs of its
 * wave, through the model of L2 (traffic.h).
 *
 * What a number depends on. Everything but the cache figures is a sum over warps: the same for any
 * number of workers, order and seed, unless the kernel itself behaves differently. L1 belongs to
 * a CTA: the same holds. L2 sees waves of CTAs in the order in which they began, not in which they
 * ended: with SOFTCUDA_ORDER=fixed the same for any number of workers too; shuffled, it depends on
 * the seed. Only when the logs outgrow their limit (`n_early` of traffic.h) does L2 see part of
 * them early, and then its figures vary a little between runs with several workers. */
#ifndef SOFTCUDA_COUNT_H
#define SOFTCUDA_COUNT_H

#include "tools/softcuda/access.h"
#include "tools/softcuda/cache.h"
#include "tools/softcuda/card.h"
#include "tools/softcuda/totals.h"

/* An instruction of the program. */
struct count_site {
    uint64_t runs;  /* warp instructions */
    uint64_t full;  /* of these with all 32 lanes; the next four are of the others: */
    uint64_t lanes; /* lanes let through by the guard */
    uint64_t held;  /* lanes that were there and held back */
    uint64_t off;   /* warp instructions with no lane let through */
    uint64_t split; /* with some held back and some not */
    uint64_t requests, moved, least; /* accesses; sectors or wavefronts; how many would do */
};

/* A CTA's view, its worker's arrays. */
struct cta_counters {
    struct count_site *sites; /* (program->n_instructions), the worker's */
    const struct instruction *first;
    const uint8_t *hints; /* (program->n_instructions) enum hint, or-ed */
    uint64_t *values;     /* (COUNTERS), the worker's */
    struct cache l1;
    uint64_t *log; /* what goes to L2 (traffic.h) */
    int64_t n_logged, log_capacity;
    struct counters *launch;
    struct cta_counters *next; /* of the worker's spare ones */
};

enum hint {
    HINT_BYPASS_L1 = 1,  /* .cg, .cv, L1::no_allocate */
    HINT_FETCH_LINE = 2, /* L2::128B, L2::256B */
    HINT_FETCH_HALF = 4, /* L2::64B */
    HINT_BATCH = 8,      /* the first of loads that do not wait for one another */
    HINT_BRANCH = 16,
    HINT_LOOP = 32, /* a branch leads back here */
};

/* ---- a launch ------------------------------------------------------------------------------- */

/* Counters of one launch, whose program, grid, block, dynamic_shared, resident and n_sms are set.
 * sample: only every sample-th CTA is counted (1: all). l2: a cache as counters_open_l2 makes it
 * for the same card and sample, lent until the counters are destroyed; NULL: they make one of their
 * own. NULL: no memory. */
struct counters *counters_create(const struct card *card, const struct launch *launch,
                                 int64_t sample, struct cache *l2);
void counters_destroy(struct counters *counters);
/* false: no memory. */
bool counters_open_l2(struct cache *l2, const struct card *card, int64_t sample);

/* What was counted, after the launch, scaled up to the whole grid where only a part was. */
void counters_total(struct counters *counters, struct totals *totals);
/* How many of the grid's CTAs were counted. */
int64_t counters_counted(const struct counters *counters);
/* CTAs whose traffic L2 saw out of order, because the logs had grown too large. */
int64_t counters_early(const struct counters *counters);
/* The model of L2 that it used. */
const struct cache *counters_l2(const struct counters *counters);
/* Adds to sites (program->n_instructions) those of all workers, not scaled. */
void counters_sites(const struct counters *counters, struct count_site *sites);

/* ---- called by grid.c ----------------------------------------------------------------------- */

struct worker_counters;
/* The worker's own set. NULL: no memory. Not from several threads at once. */
struct worker_counters *counters_of_worker(struct counters *counters);
/* A CTA begins: *out is NULL where it is not one of the sample. position: how many CTAs began
 * before. false: no memory. */
bool counters_begin_cta(struct worker_counters *worker, int64_t cta, struct cta_counters **out);
/* It has ended; counters: what begin gave. false: no memory. */
bool counters_end_cta(struct worker_counters *worker, struct cta_counters *counters,
                      int64_t position);

/* ---- called for each instruction and access ------------------------------------------------- */

/* Of an instruction that is run for `lanes` of `active`. */
static inline void count_instruction(struct cta_counters *counters,
                                     const struct instruction *instruction, uint32_t lanes,
                                     uint32_t active)
{
    struct count_site *site = &counters->sites[instruction - counters->first];
    site->runs++;
    if (lanes == ALL_LANES) {
        site->full++;
        return;
    }
    site->lanes += (uint64_t)__builtin_popcount(lanes);
    site->held += (uint64_t)__builtin_popcount(active & ~lanes);
    site->off += lanes == 0;
    site->split += lanes != 0 && lanes != active;
}

/* The lanes of a branch that no guard held back part all the same: brx.idx. */
static inline void count_split(struct cta_counters *counters, const struct instruction *instruction)
{
    counters->sites[instruction - counters->first].split++;
}

/* It could not go on yet and will be run again: not counted this time. */
void count_again(struct cta_counters *counters, const struct instruction *instruction,
                 uint32_t lanes, uint32_t active);

void count_access(struct cta_counters *counters, const struct instruction *instruction,
                  const struct access *access);

#endif
