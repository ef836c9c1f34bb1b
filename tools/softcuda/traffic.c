/* See traffic.h. */
#include "tools/softcuda/traffic.h"

#include <string.h>
#include "host/base/memory.h"

#define LOG_FIRST 256
/* Of all logs together: 128 MB. */
#define LOGGED_MOST ((int64_t)1 << 24)

void traffic_open(struct traffic *traffic, struct cache *l2, int64_t n_ctas, int64_t per_wave)
{
    *traffic = (struct traffic){
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .replay = PTHREAD_MUTEX_INITIALIZER,
        .l2 = l2,
        .n_ctas = n_ctas,
        .logged_most = LOGGED_MOST,
        .per_wave = per_wave < n_ctas ? per_wave : n_ctas,
    };
    cache_clear(l2);
}

static void free_wave(struct wave *wave)
{
    for (int64_t i = 0; wave->logs && i < wave->n_ctas; i++)
        mem_free(wave->logs[i]);
    mem_free(wave->logs);
    mem_free(wave->counts);
}

void traffic_close(struct traffic *traffic)
{
    for (int64_t i = 0; i < traffic->n_waves; i++)
        free_wave(&traffic->waves[i]);
    mem_free(traffic->waves);
    pthread_mutex_destroy(&traffic->lock);
    pthread_mutex_destroy(&traffic->replay);
}

/* ---- replaying ------------------------------------------------------------------------------ */

static uint32_t fetched_by(uint32_t hint, uint32_t sectors)
{
    if (hint & 1) /* the whole line */
        return 15;
    if (hint & 2) /* halves of it */
        return (sectors & 3 ? 3u : 0) | (sectors & 12 ? 12u : 0);
    return 0;
}

static void replay_one(struct traffic *traffic, uint64_t entry)
{
    uint64_t *value = traffic->value, line = entry >> 8;
    uint32_t sectors = (uint32_t)entry & 15, hint = (uint32_t)(entry >> 6) & 3, missing = 0;
    uint64_t n = sectors_in(sectors), hit;
    switch ((enum traffic_kind)(entry >> 4 & 3)) {
    case TRAFFIC_READ:
        hit =
            sectors_in(cache_read(traffic->l2, line, sectors, fetched_by(hint, sectors), &missing));
        value[COUNT_L2_READS] += n;
        value[COUNT_L2_READ_HITS] += hit;
        break;
    case TRAFFIC_WRITE:
        cache_write(traffic->l2, line, sectors);
        value[COUNT_L2_WRITES] += n;
        break;
    case TRAFFIC_ATOMIC:
        hit = sectors_in(cache_read(traffic->l2, line, sectors, 0, &missing));
        cache_write(traffic->l2, line, sectors);
        value[COUNT_L2_ATOMICS] += n;
        value[COUNT_L2_ATOMIC_HITS] += hit;
        break;
    }
    value[COUNT_DRAM_READ_BYTES] += CACHE_SECTOR * sectors_in(missing);
}

/* Entries of one CTA before the next one's turn: a cache line of its log, so that reading the logs
 * costs this processor no more than it must. It is told of a log some turns ahead, and of the sets
 * that an entry falls into one turn ahead. */
#define TURN  8
#define AHEAD 4

static void replay_wave(struct traffic *traffic, const struct wave *wave)
{
    bool more = true;
    int64_t n = wave->n_ctas;
    pthread_mutex_lock(&traffic->replay);
    for (int64_t at = 0; more; at += TURN) {
        more = false;
        for (int64_t i = 0; i < n; i++) {
            int64_t later = i + AHEAD < n ? i + AHEAD : i, after = i + 1 < n ? i + 1 : i;
            if (at < wave->counts[later])
                __builtin_prefetch(&wave->logs[later][at]);
            for (int64_t j = at; j < at + TURN && j < wave->counts[after]; j++)
                cache_prefetch(traffic->l2, wave->logs[after][j] >> 8);
            for (int64_t j = at; j < at + TURN && j < wave->counts[i]; j++)
                replay_one(traffic, wave->logs[i][j]);
            more |= wave->counts[i] > at + TURN;
        }
    }
    pthread_mutex_unlock(&traffic->replay);
}

static void replay_early(struct traffic *traffic, struct cta_counters *counters)
{
    pthread_mutex_lock(&traffic->replay);
    for (int64_t i = 0; i < counters->n_logged; i++)
        replay_one(traffic, counters->log[i]);
    pthread_mutex_unlock(&traffic->replay);
    counters->n_logged = 0;
    atomic_fetch_add(&traffic->n_early, 1);
}

/* ---- logs ----------------------------------------------------------------------------------- */

bool traffic_begin_cta(struct traffic *traffic, struct cta_counters *counters)
{
    counters->n_logged = 0;
    if (counters->log)
        return true;
    counters->log = mem_alloc(LOG_FIRST, sizeof *counters->log);
    counters->log_capacity = counters->log ? LOG_FIRST : 0;
    atomic_fetch_add(&traffic->logged, counters->log_capacity);
    return counters->log != NULL;
}

void traffic_make_room(struct traffic *traffic, struct cta_counters *counters)
{
    int64_t more = counters->log_capacity; /* twice as much */
    void *larger = NULL;
    if (atomic_fetch_add(&traffic->logged, more) + more <= traffic->logged_most)
        larger =
            mem_resize(counters->log, (size_t)(2 * counters->log_capacity), sizeof *counters->log);
    if (!larger) {
        atomic_fetch_sub(&traffic->logged, more);
        replay_early(traffic, counters);
        return;
    }
    counters->log = larger;
    counters->log_capacity += more;
}

static int64_t ctas_in(const struct traffic *traffic, int64_t wave)
{
    int64_t left = traffic->n_ctas - wave * traffic->per_wave;
    return left < traffic->per_wave ? left : traffic->per_wave;
}

/* The wave with that number, made if it is not there. NULL: no memory. */
static struct wave *wave_at(struct traffic *traffic, int64_t number)
{
    int64_t at = number - traffic->first;
    if (at >= traffic->capacity) {
        int64_t capacity = 2 * at + 4;
        void *larger = mem_resize(traffic->waves, (size_t)capacity, sizeof *traffic->waves);
        if (!larger)
            return NULL;
        traffic->waves = larger;
        traffic->capacity = capacity;
    }
    for (; traffic->n_waves <= at; traffic->n_waves++) {
        struct wave *wave = &traffic->waves[traffic->n_waves];
        *wave = (struct wave){0};
        wave->n_ctas = wave->n_left = ctas_in(traffic, traffic->first + traffic->n_waves);
        wave->logs = mem_alloc_zero((size_t)wave->n_ctas, sizeof *wave->logs);
        wave->counts = mem_alloc_zero((size_t)wave->n_ctas, sizeof *wave->counts);
        if (!wave->logs || !wave->counts) {
            free_wave(wave);
            return NULL;
        }
    }
    return &traffic->waves[at];
}

static void give_back_logs(struct traffic *traffic, struct wave *wave)
{
    for (int64_t i = 0; i < wave->n_ctas; i++)
        atomic_fetch_sub(&traffic->logged, wave->counts[i]);
    free_wave(wave);
}

/* With the lock held: replays complete waves from the first on, the lock let go meanwhile. */
static void replay_complete(struct traffic *traffic)
{
    if (traffic->replaying)
        return; /* whoever does it will look again */
    traffic->replaying = true;
    while (traffic->n_waves > 0 && traffic->waves[0].n_left == 0) {
        struct wave wave = traffic->waves[0];
        traffic->n_waves--;
        traffic->first++;
        memmove(traffic->waves, traffic->waves + 1,
                (size_t)traffic->n_waves * sizeof *traffic->waves);
        pthread_mutex_unlock(&traffic->lock);
        replay_wave(traffic, &wave);
        give_back_logs(traffic, &wave);
        pthread_mutex_lock(&traffic->lock);
    }
    traffic->replaying = false;
}

bool traffic_end_cta(struct traffic *traffic, struct cta_counters *counters, int64_t position)
{
    pthread_mutex_lock(&traffic->lock);
    struct wave *wave = wave_at(traffic, position / traffic->per_wave);
    if (wave) {
        int64_t i = position % traffic->per_wave;
        if (counters && counters->n_logged > 0) {
            /* The log keeps its entries only; what was room is given back. */
            void *exact =
                mem_resize(counters->log, (size_t)counters->n_logged, sizeof *counters->log);
            wave->logs[i] = exact ? exact : counters->log;
            wave->counts[i] = counters->n_logged;
            atomic_fetch_add(&traffic->logged, counters->n_logged - counters->log_capacity);
            counters->log = NULL;
            counters->n_logged = counters->log_capacity = 0;
        }
        wave->n_left--;
        replay_complete(traffic);
    }
    pthread_mutex_unlock(&traffic->lock);
    return wave != NULL;
}

void traffic_finish(struct traffic *traffic)
{
    for (int64_t i = 0; i < traffic->n_waves; i++) {
        replay_wave(traffic, &traffic->waves[i]);
        free_wave(&traffic->waves[i]);
    }
    traffic->n_waves = 0;
    traffic->value[COUNT_DRAM_WRITE_BYTES] =
        CACHE_SECTOR * (traffic->l2->dirty + traffic->l2->evicted);
}
