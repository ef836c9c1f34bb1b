/* A projection: how long a launch would take on a card if nothing but what was counted held it up.
 *
 *   waves   = CTAs / (multiprocessors * CTAs that fit one), rounded up
 *   seconds = waves * fill + max(terms) + epilogue + launch
 *
 * Each term is what all waves together need of one resource; docs/softcuda.md says how it comes
 * from the counters and what a projection cannot tell. It is no measurement. */
#ifndef SOFTCUDA_PROJECTION_H
#define SOFTCUDA_PROJECTION_H

#include "tools/softcuda/card.h"
#include "tools/softcuda/totals.h"

enum term {
    TERM_TENSOR,  /* mma, by type */
    TERM_ISSUE,   /* warp instructions, or the fullest pipe of a multiprocessor */
    TERM_SHARED,  /* wavefronts of shared memory and L1 */
    TERM_L2,      /* bytes between L1 and L2 */
    TERM_DRAM,    /* bytes between L2 and memory */
    TERM_LATENCY, /* loads that wait for one another */
    TERMS,
};
extern const char *const term_names[TERMS]; /* "tensor" */

struct projected_launch {
    const struct totals *totals; /* of the whole grid */
    int64_t ctas;
    int threads;   /* of a CTA */
    int registers; /* of a thread */
    size_t shared; /* bytes of a CTA, static and dynamic */
};

struct projection {
    int occupancy; /* CTAs that fit a multiprocessor; 0: not one, all else is 0 */
    enum occupancy_limit limit;
    int64_t waves;
    double filled; /* of the places for CTAs in these waves, 0 to 1 */
    double term_s[TERMS];
    double fill_s, epilogue_s, launch_s; /* of all waves; of the last; of the launch */
    double seconds, serial_seconds;      /* terms overlap; they come one after another */
    const char *pipe;                    /* what TERM_ISSUE is: "issue", "integer", ... */
    /* Of a multiprocessor: what its loads bring at a time, and what DRAM's bandwidth takes. */
    double bytes_in_flight, bytes_needed;
    double operations; /* floating point: two a multiply-add of an mma, those of active lanes */
};

void projection_make(struct projection *projection, const struct card *card,
                     const struct projected_launch *launch);
/* The largest term. */
enum term projection_bound(const struct projection *projection);
/* Adds another launch: seconds and operations; what has no sum is the newer one's. */
void projection_add(struct projection *sum, const struct projection *more);

#endif
