/* The checkers' view of a run: called by the executor where something happens that they must know.
 *
 *   written   each byte of global, shared and local memory is read only after it has been written
 *   races     accesses of two threads to one byte, one of them a write, not both of them strong,
 *             that nothing orders (check_order.h says what does)
 *   copies    what cp.async fills is left alone from its issue to its wait, and races like a write
 *             of its thread from then on
 *
 * They report through report_once and let the kernel go on. All do nothing when launch->checked is
 * false. What bounds and barriers are is for access.c and cta.c to say. */
#ifndef SOFTCUDA_CHECK_H
#define SOFTCUDA_CHECK_H

#include "tools/softcuda/access.h"
#include "tools/softcuda/async.h"

/* false: no memory. concurrent: CTAs run on several threads. */
bool check_open_launch(struct launch *launch, bool concurrent);
void check_close_launch(struct launch *launch);
bool check_open_cta(struct cta *cta);
void check_close_cta(struct cta *cta);

/* An access that lies within bounds, before its data moves. false: no memory, reported. */
bool check_access(struct warp *warp, const struct instruction *instruction,
                  const struct access *access);
/* A strong access, after its data has moved. */
void check_strong_done(struct warp *warp, const struct access *access);
/* cp.async copies, n >= 1, have landed: in the order of their issue. */
void check_landed(struct warp *warp, const struct async_copy *copies, int n);

/* bar.warp.sync of these lanes; their arrival at a barrier; the barrier's end, while those who wait
 * still do; a fence (of the whole device, or of the CTA). */
void check_warp_sync(struct warp *warp, uint32_t lanes);
void check_arrive(struct warp *warp, uint32_t lanes, int barrier);
void check_barrier(struct cta *cta, int barrier);
void check_fence(struct warp *warp, uint32_t lanes, bool device);

#endif
