/* A grid: CTAs over the processors, as many at a time as the card would hold. See execute.h. */
#include "tools/softcuda/execute.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "host/base/memory.h"
#include "tools/softcuda/check.h"
#include "tools/softcuda/count.h"
#include "tools/softcuda/faults.h"
#include "tools/softcuda/mix.h"
#include "tools/softcuda/stuck.h"

/* A CTA that runs this long without an end may be waiting for another: the next one is started. */
#define SLICE ((int64_t)1 << 17)
/* Once nothing seems to go on. */
#define SUSPECT_SLICE ((int64_t)1 << 11)

struct grid {
    struct launch *launch;
    int64_t n_ctas;
    int64_t *order; /* NULL: ascending */
    pthread_mutex_t lock;
    int64_t next; /* in order */
    int n_resident, n_workers;
    struct stuck_watch watch;
    enum status status; /* of the first worker that failed */
};

struct worker {
    struct grid *grid;
    struct cta **ctas; /* those that it has begun */
    int n_ctas;
    struct worker_counters *counters; /* NULL: not counted */
    int index;
};

static void shuffle(int64_t *order, int64_t n, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j =
            (int64_t)(mix_bits(seed + (uint64_t)i * 0x9E3779B97F4A7C15u) % (uint64_t)(i + 1));
        int64_t swap = order[i];
        order[i] = order[j], order[j] = swap;
    }
}

/* The next CTA to begin, -1: none, or the card is full. *position: how many have begun before. */
static int64_t take(struct grid *grid, int64_t *position)
{
    int64_t number = -1;
    pthread_mutex_lock(&grid->lock);
    if (grid->next < grid->n_ctas && grid->n_resident < grid->launch->resident) {
        *position = grid->next++;
        number = grid->order ? grid->order[*position] : *position;
        grid->n_resident++;
    }
    pthread_mutex_unlock(&grid->lock);
    return number;
}

static void give_back(struct grid *grid)
{
    pthread_mutex_lock(&grid->lock);
    grid->n_resident--;
    pthread_mutex_unlock(&grid->lock);
}

static void fail(struct grid *grid, enum status status)
{
    pthread_mutex_lock(&grid->lock);
    if (grid->status == STATUS_OK)
        grid->status = status;
    pthread_mutex_unlock(&grid->lock);
    atomic_store(&grid->launch->stopped, true);
}

static bool begin_one(struct worker *worker)
{
    struct grid *grid = worker->grid;
    int64_t position, number = take(grid, &position);
    if (number < 0)
        return false;
    struct cta *cta = cta_create(grid->launch, number);
    if (cta && worker->counters && !counters_begin_cta(worker->counters, number, &cta->counters)) {
        cta_destroy(cta);
        cta = NULL;
    }
    if (!cta) {
        give_back(grid);
        fail(grid, STATUS_RESOURCE);
        return false;
    }
    cta->random = mix_bits(grid->launch->settings->seed ^ mix_bits((uint64_t)number + 1));
    cta->sm = (int)(number % grid->launch->n_sms);
    cta->position = position;
    worker->ctas[worker->n_ctas++] = cta;
    return true;
}

static void end_one(struct worker *worker, int i)
{
    struct cta *cta = worker->ctas[i];
    if (worker->counters && !counters_end_cta(worker->counters, cta->counters, cta->position))
        fail(worker->grid, STATUS_RESOURCE);
    cta_destroy(cta);
    worker->ctas[i] = worker->ctas[--worker->n_ctas];
    give_back(worker->grid);
}

static void *work(void *context)
{
    struct worker *worker = context;
    struct grid *grid = worker->grid;
    while (!atomic_load(&grid->launch->stopped) && (worker->n_ctas > 0 || begin_one(worker))) {
        bool ended = false;
        bool suspects = stuck_suspects(&grid->watch, worker->index);
        for (int i = 0; i < worker->n_ctas; i++) {
            struct cta *cta = worker->ctas[i];
            bool waits = suspects || cta->only_polls;
            /* Of changing length, for the same reason as a warp's turns (cta.c). */
            int64_t slice = waits ? SUSPECT_SLICE + (int64_t)(cta->n_turns * 29 % 512) : SLICE;
            enum cta_state state = cta_run(cta, slice);
            if (state == CTA_STOPPED)
                fail(grid, STATUS_FAILED);
            if (state == CTA_READY)
                continue;
            end_one(worker, i--);
            ended = true;
        }
        if (ended || begin_one(worker))
            stuck_happened(&grid->watch, worker->index);
        else if (worker->n_ctas > 0 &&
                 stuck_look(&grid->watch, worker->index, worker->ctas, worker->n_ctas)) {
            fault_starved(worker->ctas[0]);
            fail(grid, STATUS_FAILED);
        }
    }
    while (worker->n_ctas > 0)
        end_one(worker, worker->n_ctas - 1);
    stuck_done(&grid->watch, worker->index);
    return NULL;
}

static int count_workers(const struct launch *launch, int64_t n_ctas)
{
    int64_t n = launch->settings->n_workers;
    if (n == 0)
        n = sysconf(_SC_NPROCESSORS_ONLN);
    n = n < 1 ? 1 : n;
    return (int)(n < n_ctas ? n : n_ctas);
}

static enum status run_workers(struct grid *grid, struct worker *workers, struct err *err)
{
    pthread_t *threads = mem_alloc((size_t)grid->n_workers, sizeof *threads);
    int n = 0;
    if (!threads)
        return err_no_memory(err, "a launch", 0);
    for (; n + 1 < grid->n_workers; n++) /* the caller is the last worker */
        if (pthread_create(&threads[n], NULL, work, &workers[n]) != 0)
            break;
    for (int i = n + 1; i < grid->n_workers; i++) /* there is no thread for them */
        stuck_done(&grid->watch, i);
    work(&workers[n]);
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    mem_free(threads);
    if (grid->status == STATUS_RESOURCE)
        return err_no_memory(err, "a CTA", 0);
    return grid->status == STATUS_OK
               ? STATUS_OK
               : err_set(err, STATUS_FAILED, "%s: stopped", grid->launch->program->name);
}

enum status grid_run(struct launch *launch, struct err *err)
{
    struct grid grid = {
        .launch = launch,
        .n_ctas = (int64_t)launch->grid[0] * launch->grid[1] * launch->grid[2],
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .watch.lock = PTHREAD_MUTEX_INITIALIZER,
    };
    struct arena arena = {0};
    grid.n_workers = count_workers(launch, grid.n_ctas);
    struct worker *workers = arena_alloc(&arena, (size_t)grid.n_workers, sizeof *workers);
    grid.watch.workers = arena_alloc(&arena, (size_t)grid.n_workers, sizeof *grid.watch.workers);
    grid.watch.n_workers = grid.n_workers;
    if (launch->settings->shuffled)
        grid.order = arena_alloc(&arena, (size_t)grid.n_ctas, sizeof *grid.order);
    bool good = workers && grid.watch.workers && (!launch->settings->shuffled || grid.order);
    for (int i = 0; good && i < grid.n_workers; i++) {
        workers[i] = (struct worker){.grid = &grid, .index = i};
        grid.watch.workers[i] = (struct stuck_worker){0};
        workers[i].ctas = arena_alloc(&arena, (size_t)launch->resident, sizeof *workers[i].ctas);
        good = workers[i].ctas != NULL;
        if (good && launch->counters) {
            workers[i].counters = counters_of_worker(launch->counters);
            good = workers[i].counters != NULL;
        }
    }
    if (grid.order)
        shuffle(grid.order, grid.n_ctas, launch->settings->seed);
    good = good && check_open_launch(launch, grid.n_workers > 1);
    enum status status =
        good ? run_workers(&grid, workers, err) : err_no_memory(err, "a launch", arena.total);
    check_close_launch(launch);
    arena_free(&arena);
    return status;
}
