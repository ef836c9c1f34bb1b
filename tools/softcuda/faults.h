/* What goes wrong in a kernel, said once, with the place: kernel, source file and line, block,
 * thread, address. Reports come from all workers and are written one at a time. */
#ifndef SOFTCUDA_FAULTS_H
#define SOFTCUDA_FAULTS_H

#include <stdio.h>
#include "tools/softcuda/access.h"
#include "tools/softcuda/execute.h"

enum fault {
    FAULT_BOUNDS,
    FAULT_ALIGNMENT,
    FAULT_READ_ONLY,
};

/* Which checkers are on: SOFTCUDA_CHECK. */
enum check {
    CHECK_MEMORY = 1, /* bounds, alignment */
    CHECK_INIT = 2,   /* reads of memory that was never written */
    CHECK_RACE = 4,
    CHECK_SYNC = 8, /* barriers and masks */
    CHECK_LEAK = 16,
    CHECK_ALL = 31,
};

/* How a launch ended, for the driver's error. */
enum outcome {
    OUTCOME_GOOD,
    OUTCOME_ILLEGAL_ADDRESS,
    OUTCOME_MISALIGNED,
    OUTCOME_TRAP,
    OUTCOME_ASSERT,
    OUTCOME_SYNC, /* a barrier or a mask that cannot work */
    OUTCOME_DEADLOCK,
    OUTCOME_NO_MEMORY,
};

/* A report of a checker that has been made, and how often it came again. */
struct finding {
    uint64_t key; /* kernel, kind, places */
    int64_t count;
    const struct program *program; /* of the launch that it was new in; NULL since its end */
    const struct ptx_place *place, *other; /* other: of its other party; NULL: none */
    enum check check;
};

/* The caller's; lives as long as the device. Zeroed, with the first three set, it is ready. */
struct reporter {
    FILE *out;       /* NULL: silent */
    unsigned checks; /* enum check, or-ed */
    int most;        /* reports of a run that are written: 0 is 20 */
    /* Written under a lock of the reporter's own. */
    int n_reports;        /* of checkers that are on: the process ends with code 99 */
    enum outcome outcome; /* of the last launch */
    struct finding *findings;
    int n_findings, capacity;
};
void reporter_close(struct reporter *reporter); /* out stays the caller's */

/* A line "softcuda: error: KERNEL at FILE:LINE, block (x, y, z), thread (x, y, z): WHAT" and, with
 * a second place, one that says "with ...". lane -1: the whole warp. Counts for code 99 if `check`
 * is on. */
void report(struct warp *warp, const struct instruction *instruction, int lane, enum check check,
            const char *format, ...) __attribute__((format(printf, 5, 6)));
/* The other party of a race: a line of its own below the report. */
void report_other(struct launch *launch, const struct ptx_place *place, int64_t cta, int thread,
                  const char *what);

/* The other party of a finding: "WHAT KERNEL at FILE:LINE, block, thread". */
struct party {
    const struct ptx_place *place;
    int64_t cta;
    int thread;
    const char *what;
};

/* For checkers that let the kernel go on: one report for each kernel, kind (of the caller's, below
 * 16) and pair of source lines; later ones are counted. other: NULL: none. Nothing happens where
 * the check is off. */
void report_once(struct warp *warp, const struct instruction *instruction, int lane,
                 enum check check, int kind, const struct party *other, const char *format, ...)
    __attribute__((format(printf, 7, 8)));
/* At a launch's end: how often its new findings came again. */
void report_repeats(struct launch *launch);

/* How a global address lies to the nearest allocation: "byte 12 of allocation 3, which has 64". */
void fault_describe(char *text, size_t size, const struct launch *launch, uint64_t address);

/* Each reports, marks the launch's outcome and stops it. */
void fault_access(struct warp *warp, const struct instruction *instruction,
                  const struct access *access, int lane, enum fault fault);
enum next fault_trap(struct warp *warp, const struct instruction *instruction, uint32_t lanes);
/* A brx.idx beyond its list. */
enum next fault_branch(struct warp *warp, const struct instruction *instruction, int lane,
                       uint32_t index);
/* assert(message) in function of file:line. */
enum next fault_assert(struct warp *warp, const struct instruction *instruction, int lane,
                       const char *file, int line, const char *function, const char *message);
enum next fault_no_memory(struct warp *warp, const struct instruction *instruction);
/* A lane at a .sync instruction that is not in its own mask. */
enum next fault_mask(struct warp *warp, const struct instruction *instruction, int lane,
                     uint32_t mask);
/* Lanes that wait at a .sync or an aligned barrier for others that are elsewhere. */
void fault_divergent(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                     uint32_t mask);
enum next fault_barrier_count(struct warp *warp, const struct instruction *instruction,
                              uint32_t lanes, int barrier, int expected);
/* A shuffle from a lane that does not take part gives an undefined value: reported; true: go on. */
bool fault_inactive_source(struct warp *warp, const struct instruction *instruction, int lane,
                           int source);
/* Lanes that others wait for at a .sync have left the kernel; threads that a barrier of the whole
 * block should have had had left it. Both go on. */
void fault_left(struct warp *warp, const struct instruction *instruction, uint32_t lanes,
                uint32_t left);
void fault_missing(struct cta *cta, int barrier);
/* All threads that live wait at barriers that cannot be complete. */
enum cta_state fault_deadlock(struct cta *cta);
/* A CTA waits, and nothing that runs will write what it waits for. */
void fault_starved(struct cta *cta);

#endif
