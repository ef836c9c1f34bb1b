/* Whether a launch will never end: every CTA that runs waits for something that none of them does.
 *
 * Workers look after rounds over their CTAs in which none has ended and none could begin. As long
 * as no store changes memory, a CTA that comes back to a state that it has been in (registers,
 * places, and what atomics have made of memory, such as a lock that is taken and given back) goes
 * in circles. One that does not, but polls memory, or shows nothing at all, is given up after a
 * long time. When all workers find theirs stuck, all look once more from the start: what the last
 * of them did before it was stuck may have freed another. */
#ifndef SOFTCUDA_STUCK_H
#define SOFTCUDA_STUCK_H

#include <pthread.h>
#include "tools/softcuda/machine.h"

struct stuck_worker {
    uint64_t generation; /* that the following is of */
    int rounds;
    uint64_t swaps; /* of the launch, at its start */
    bool stuck, done;
};

struct stuck_watch {
    pthread_mutex_t lock;
    struct stuck_worker *workers;
    int n_workers;
    uint64_t generation; /* goes up with all that happens */
    uint64_t changes;    /* of the launch, at its start */
    bool once_more;      /* all were stuck in the last generation */
};

/* Something happened: one of the worker's CTAs has ended or begun. */
void stuck_happened(struct stuck_watch *watch, int worker);
/* The worker has no CTA left. */
void stuck_done(struct stuck_watch *watch, int worker);
/* After a round without an event. true: nothing will ever happen. */
bool stuck_look(struct stuck_watch *watch, int worker, struct cta *const *ctas, int n_ctas);
/* Whether the worker's last round was one without an event: short rounds do, then. */
bool stuck_suspects(const struct stuck_watch *watch, int worker);

#endif
