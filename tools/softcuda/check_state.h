/* What the checkers keep of a launch, a CTA and a warp: for check.c and check_*.c. */
#ifndef SOFTCUDA_CHECK_STATE_H
#define SOFTCUDA_CHECK_STATE_H

#include "tools/softcuda/check_memory.h"

struct launch_checks {
    uint32_t serial; /* from 1 */
    bool concurrent;
    bool writes, races; /* which checkers are on */
    bool tells;         /* the kernel has fences or releases: flags in memory order something */
    bool copies;        /* it has cp.async */
    struct places places;
    struct stripe stripes[SHADOW_STRIPES];
};

struct cta_checks {
    struct order order;
    struct places places;  /* in its shared memory */
    uint8_t serial;        /* of accesses */
    uint16_t *written;     /* (granules of shared memory) a bit a byte */
    struct touch *touches; /* (granules) */
    uint8_t *in_flight;    /* (words) copies on their way; NULL: the kernel has none */
    struct touch_pool pool;
};

struct warp_checks {
    size_t granules;    /* of a thread's local memory */
    uint16_t written[]; /* (lanes, granules) */
};

/* An access whose touches are to be recorded. */
struct toucher toucher_of(struct warp *warp, const struct instruction *instruction,
                          const struct access *access);

/* An access of one space, before its data moves. false: no memory. */
bool check_shared(struct warp *warp, const struct instruction *instruction,
                  const struct access *access);
bool check_global(struct warp *warp, const struct instruction *instruction,
                  const struct access *access);

#endif
