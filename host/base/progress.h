/* How long work tells how far it is. The library only calls; the command line draws. */
#ifndef MIDASHI_BASE_PROGRESS_H
#define MIDASHI_BASE_PROGRESS_H

#include <stddef.h>

/* A zeroed struct, or NULL where one is asked for, is silent. */
struct progress {
    /* stage: what is being done ("embed"); done and total in `unit`s ("texts"). The first call of
     * a stage has done 0, the last one done == total. Called from the main thread only. */
    void (*report)(void *context, const char *stage, const char *unit, size_t done, size_t total);
    void *context;
};

static inline void progress_report(const struct progress *progress, const char *stage,
                                   const char *unit, size_t done, size_t total)
{
    if (progress && progress->report)
        progress->report(progress->context, stage, unit, done, total);
}

#endif
