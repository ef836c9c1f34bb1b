/* A launch at run time: the grid, its CTAs, their warps. execute.c runs a warp, cta.c a CTA,
 * grid.c spreads the CTAs over the processors. */
#ifndef SOFTCUDA_MACHINE_H
#define SOFTCUDA_MACHINE_H

#include <stdatomic.h>
#include "tools/softcuda/memory.h"
#include "tools/softcuda/program.h"

/* Lanes of a warp that stand at the same instruction. Lanes part at a branch and meet again where
 * their instructions are the same: of several fragments the one whose block comes first in the
 * program's order runs, so that the others catch up before the code behind them is run twice. */
enum fragment_state {
    FRAGMENT_READY,
    FRAGMENT_SYNC,    /* at a .sync instruction: waits for the other lanes of its mask */
    FRAGMENT_BARRIER, /* has arrived at the CTA's barrier `barrier` */
    FRAGMENT_REDUCED, /* ready: comes back to a bar.red whose barrier has let it go */
};

struct fragment {
    int32_t at; /* the next instruction */
    uint32_t lanes;
    enum fragment_state state;
    uint32_t mask; /* SYNC: the lanes that must come together */
    int barrier;
    bool reduces;    /* waits in a bar.red */
    bool apart;      /* has another mask than others at the same .sync: until it has run */
    uint64_t ran_at; /* the warp's age when it ran last */
};

struct warp {
    unsigned char *registers; /* 64-byte aligned */
    uint32_t *predicates;
    struct cta *cta;
    struct fragment fragments[WARP_LANES];
    int n_fragments, current;    /* the one that runs */
    uint32_t lanes;              /* that exist: the last warp of a CTA may have fewer */
    uint32_t live;               /* that have not exited */
    uint32_t taken;              /* a branch's answer */
    int index;                   /* in the CTA */
    unsigned char *local;        /* (lanes, local_bytes): a thread's local memory in one piece */
    struct async_copies *copies; /* cp.async: what is under way (async.h) */
    uint64_t n_run;              /* instructions so far: %clock */
    uint64_t n_polls;            /* strong reads and atomics so far */
    const struct allocation *last_allocation; /* the next access is likely to meet it again */
    struct warp_checks *checks;               /* NULL: not checked */
};

/* One barrier of the 16 of a CTA. */
struct barrier {
    int expected; /* threads, where a count was given */
    bool whole;   /* all threads that live */
    int arrived;
    int n_true, n_false;             /* bar.red: predicates of those who have come */
    int reduced_true, reduced_false; /* of the last time that all had come */
};
#define BARRIERS 16

struct cta {
    struct launch *launch;
    unsigned char *shared; /* static, then dynamic */
    size_t shared_bytes;
    struct warp *warps;
    int n_warps, n_threads;
    int n_live; /* threads */
    uint32_t x, y, z;
    int64_t number; /* x + y * grid.x + ... */
    int sm;         /* the multiprocessor that it counts as resident on */
    struct barrier barriers[BARRIERS];
    int64_t position;              /* how many CTAs of the grid began before */
    struct cta_counters *counters; /* NULL: not counted */
    struct cta_checks *checks;     /* NULL: not checked */
    int turn;                      /* the warp that ran last */
    uint32_t n_turns;
    uint64_t random; /* state, when shuffled */
    /* Signs of progress and of waiting (stuck.h), of the slice that runs. */
    uint64_t n_changes; /* stores that gave memory a new value */
    uint64_t swapped;   /* a sum over the new values of atomics, less the old ones */
    uint64_t n_swaps;   /* of these atomics */
    uint64_t n_polls;   /* strong reads and atomics */
    bool only_polls;    /* in its last slice: memory stayed as it was */
    uint64_t seen_state;
    int n_returns;
};

enum mma_model {
    MMA_IEEE,       /* one chain of fused multiply-adds in ascending k, rounded at each step */
    MMA_TRUNCATING, /* sums of 8 (bf16, f16) or 4 (tf32) products aligned to the largest, truncated
                     */
};

enum async_model {
    ASYNC_LATE,  /* copies land at the wait */
    ASYNC_EARLY, /* copies land at once */
};

struct machine_settings {
    uint64_t seed;
    bool shuffled; /* warps and CTAs in an order by seed */
    enum mma_model mma;
    enum async_model async;
    int n_workers; /* 0: one a processor */
    bool portable; /* the portable handlers, though the processor has AVX2 */
};

struct launch {
    const struct program *program;
    struct memory *memory;
    const struct machine_settings *settings;
    uint32_t grid[3], block[3];
    size_t dynamic_shared;
    const unsigned char *parameters; /* (program->parameter_bytes) */
    int resident;                    /* CTAs that run at a time on the card */
    bool cooperative;
    /* Of a cooperative launch, for cooperative groups: the address of 8 bytes of device memory,
     * their size and what the CTAs count at. 0: none. */
    uint64_t grid_barrier;
    int n_sms;           /* of the card */
    atomic_bool stopped; /* a fault, or the user */
    /* What stores and atomics have changed in memory (stuck.h). */
    _Atomic uint64_t n_changes, n_swaps, swapped;
    struct reporter *reporter;    /* where faults go (faults.h) */
    bool checked;                 /* any checker looks at accesses */
    struct launch_checks *checks; /* theirs; NULL: not checked */
    struct counters *counters;    /* NULL: not counted */
};

/* Registers of an operand. */
#define DESTINATION(warp, instruction, i)                                                          \
    ((void *)((warp)->registers + (instruction)->destinations[i]))
#define SOURCE(warp, instruction, i) ((const void *)((warp)->registers + (instruction)->sources[i]))

#endif
