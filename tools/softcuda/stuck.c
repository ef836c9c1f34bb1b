/* The search for deadlocks. See stuck.h. */
#include "tools/softcuda/stuck.h"

#include "tools/softcuda/execute.h"

/* So often must a CTA come back to a state: where warps run in shuffled order, once is no proof,
 * and where a lock is taken and given back it may be that others have always come at the wrong
 * time. */
#define RETURNS         8
#define RETURNS_OF_LOCK 64
/* Rounds of 2,000 instructions a CTA, of CTAs that poll memory, and of any. */
#define POLLING_ROUNDS 12000
#define SILENT_ROUNDS  1200000

static void next_generation(struct stuck_watch *watch, bool once_more)
{
    watch->generation++;
    watch->once_more = once_more;
    for (int i = 0; i < watch->n_workers; i++)
        watch->workers[i].stuck = false;
}

void stuck_happened(struct stuck_watch *watch, int worker)
{
    pthread_mutex_lock(&watch->lock);
    watch->workers[worker].rounds = 0;
    next_generation(watch, false);
    pthread_mutex_unlock(&watch->lock);
}

static bool all_stuck(const struct stuck_watch *watch)
{
    for (int i = 0; i < watch->n_workers; i++)
        if (!watch->workers[i].stuck && !watch->workers[i].done)
            return false;
    return true;
}

void stuck_done(struct stuck_watch *watch, int worker)
{
    pthread_mutex_lock(&watch->lock);
    watch->workers[worker].done = true;
    next_generation(watch, false);
    pthread_mutex_unlock(&watch->lock);
}

bool stuck_suspects(const struct stuck_watch *watch, int worker)
{
    return watch->workers[worker].rounds > 0;
}

/* Is the CTA where it was some rounds ago? The state to compare with is taken anew after 1, 2, 4,
 * ... rounds, so that circles of any length are found. */
static bool goes_in_circles(struct cta *cta, int rounds, int returns)
{
    struct launch *launch = cta->launch;
    if (rounds == 1)
        cta->n_returns = 0;
    uint64_t state = cta_state(cta) + atomic_load(&launch->swapped) * 0x9E3779B97F4A7C15u;
    cta->n_returns += rounds > 1 && state == cta->seen_state;
    if ((rounds & (rounds - 1)) == 0)
        cta->seen_state = state;
    return cta->n_returns >= returns;
}

static bool look_at(struct stuck_worker *own, struct cta *const *ctas, int n_ctas)
{
    bool circles = true, polls = true;
    uint64_t swaps = atomic_load(&ctas[0]->launch->n_swaps);
    if (own->rounds++ == 0)
        own->swaps = swaps;
    int returns = swaps == own->swaps ? RETURNS : RETURNS_OF_LOCK;
    for (int i = 0; i < n_ctas; i++) {
        circles &= goes_in_circles(ctas[i], own->rounds, returns);
        polls &= ctas[i]->n_polls > 0;
        ctas[i]->n_polls = 0;
    }
    return circles || own->rounds > (polls ? POLLING_ROUNDS : SILENT_ROUNDS);
}

bool stuck_look(struct stuck_watch *watch, int worker, struct cta *const *ctas, int n_ctas)
{
    struct stuck_worker *own = &watch->workers[worker];
    struct launch *launch = ctas[0]->launch;
    pthread_mutex_lock(&watch->lock);
    uint64_t changes = atomic_load(&launch->n_changes);
    if (changes != watch->changes) {
        watch->changes = changes;
        next_generation(watch, false);
    }
    if (own->generation != watch->generation) {
        own->generation = watch->generation;
        own->rounds = 0;
    }
    pthread_mutex_unlock(&watch->lock);
    if (!look_at(own, ctas, n_ctas))
        return false;
    bool over = false;
    pthread_mutex_lock(&watch->lock);
    if (own->generation == watch->generation && atomic_load(&launch->n_changes) == watch->changes) {
        own->stuck = true;
        if (all_stuck(watch)) {
            over = watch->once_more;
            next_generation(watch, true);
        }
    }
    pthread_mutex_unlock(&watch->lock);
    return over;
}
