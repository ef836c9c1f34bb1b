/* From CTAs to L2: what passes their L1 caches is logged, and replayed through one model of the
 * card's L2, wave by wave.
 *
 * A wave is as many CTAs as the card holds at a time, in the order in which they began. Its logs
 * are replayed in turn, a line of each, as if all of its CTAs went on at the same pace: CTAs that
 * read the same panel meet in L2, as they do on the card and would not if each ran to its end
 * before the next. L2 starts empty; what it holds dirty at the end counts as written to memory,
 * since somebody pays for it. */
#ifndef SOFTCUDA_TRAFFIC_H
#define SOFTCUDA_TRAFFIC_H

#include <pthread.h>
#include <stdatomic.h>
#include "tools/softcuda/count.h"

/* An entry of a log: line number << 8 | hint << 6 | kind << 4 | sectors. */
enum traffic_kind {
    TRAFFIC_READ,
    TRAFFIC_WRITE,
    TRAFFIC_ATOMIC,
};

struct wave {
    uint64_t **logs; /* (n_ctas); NULL: not counted, or not ended */
    int64_t *counts; /* (n_ctas) */
    int64_t n_ctas, n_left;
};

struct traffic {
    struct cache *l2;         /* borrowed */
    uint64_t value[COUNTERS]; /* L2 and DRAM only */
    pthread_mutex_t lock;     /* of the waves below */
    pthread_mutex_t replay;   /* of l2 and value */
    struct wave *waves; /* those that began and are not replayed, waves[0] is number `first` */
    int64_t n_waves, capacity, first;
    int64_t n_ctas, per_wave;
    bool replaying;
    int64_t logged_most;
    _Atomic int64_t logged; /* entries that have room in logs */
    _Atomic int64_t n_early;
};

/* l2: the model, emptied. n_ctas: of the grid; per_wave: as many as the card holds. */
void traffic_open(struct traffic *traffic, struct cache *l2, int64_t n_ctas, int64_t per_wave);
void traffic_close(struct traffic *traffic);

/* An empty log for a CTA that begins. false: no memory. */
bool traffic_begin_cta(struct traffic *traffic, struct cta_counters *counters);
/* More room in a CTA's log, or the log replayed at once where all logs together have grown too
 * large. Without memory the log is replayed too: nothing is lost. */
void traffic_make_room(struct traffic *traffic, struct cta_counters *counters);
static inline void traffic_log(struct traffic *traffic, struct cta_counters *counters,
                               uint64_t line, uint32_t hint, enum traffic_kind kind,
                               uint32_t sectors)
{
    if (counters->n_logged == counters->log_capacity)
        traffic_make_room(traffic, counters);
    counters->log[counters->n_logged++] =
        line << 8 | hint << 6 | (uint64_t)kind << 4 | (uint64_t)sectors;
}
/* The CTA that began as number `position` has ended; takes its log (counters may be NULL). Replays
 * waves that are complete. false: no memory. */
bool traffic_end_cta(struct traffic *traffic, struct cta_counters *counters, int64_t position);
/* Whatever is left, of a launch that was stopped; then writes what is dirty. */
void traffic_finish(struct traffic *traffic);

#endif
