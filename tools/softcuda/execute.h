/* Running warps, CTAs and grids. */
#ifndef SOFTCUDA_EXECUTE_H
#define SOFTCUDA_EXECUTE_H

#include "tools/softcuda/machine.h"

/* ---- a warp (execute.c) --------------------------------------------------------------------- */

enum warp_state {
    WARP_READY,   /* its slice is over, or it lets others run first */
    WARP_WAITING, /* all of its lanes wait for something outside the warp */
    WARP_DONE,    /* all lanes have exited */
    WARP_STOPPED, /* the launch ends */
};

/* What a fragment that others go ahead of waits by: instructions, and more for those that may be
 * waiting in a loop for what it does. */
static inline uint64_t warp_age(const struct warp *warp)
{
    return warp->n_run + 256 * warp->n_polls;
}

/* Runs at most `slice` instructions. *ran: how many. */
enum warp_state warp_run(struct warp *warp, int slice, int *ran);

/* For handlers of .sync instructions with a mask of lanes that take part (a value a lane, `masks`):
 * true: go on with *lanes, all of which have one mask and are here: where lanes with several masks
 * have come together, some of them; the others come on their own. false: *next is what the handler
 * returns. A lane that is not in its own mask is reported. */
bool warp_gather(struct warp *warp, const struct instruction *instruction, uint32_t *lanes,
                 const uint32_t *masks, enum next *next);
/* The same for instructions of the whole warp (.aligned). */
bool warp_gather_all(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                     enum next *next);

/* ---- a CTA (cta.c) -------------------------------------------------------------------------- */

/* NULL: no memory. */
struct cta *cta_create(struct launch *launch, int64_t number);
void cta_destroy(struct cta *cta);

enum cta_state {
    CTA_READY, /* its slice is over */
    CTA_DONE,
    CTA_STOPPED,
};

/* Runs about `slice` instructions of its warps in turn. */
enum cta_state cta_run(struct cta *cta, int64_t slice);

/* A hash of what its threads hold and where they are. */
uint64_t cta_state(const struct cta *cta);

/* bar.sync and its like. expected: threads, 0 for all that live. arrive_only: bar.arrive. */
enum next cta_barrier(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                      int barrier, int expected, bool arrive_only);
/* bar.red: arrives with the predicates `yes` at the first call (false: return NEXT_WAIT); true at
 * the second, when the barrier's reduced_true and reduced_false are the answer. */
bool cta_reduce(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                int barrier, int expected, uint32_t yes);
/* Threads have exited: barriers that waited for all may be complete. */
void cta_threads_left(struct cta *cta);

/* ---- a grid (grid.c) ------------------------------------------------------------------------ */

/* Runs a launch to its end. STATUS_RESOURCE: no memory. STATUS_FAILED: it was stopped by a report.
 */
enum status grid_run(struct launch *launch, struct err *err);

/* ---- reports (report.h has the rest) -------------------------------------------------------- */

#endif
