/* The thread pool. See threads.h. Workers sleep on a condition between jobs: jobs here last from
 * tens of microseconds to seconds, and a spinning worker would steal a laptop's battery. They spin
 * for a moment first, since the operations of one layer follow each other closely. */
#define _GNU_SOURCE
#include "host/base/threads.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include "host/base/memory.h"

struct threads {
    int size;
    pthread_t *handles; /* size - 1 of them */
    pthread_mutex_t mutex;
    pthread_cond_t job_arrived;
    pthread_cond_t job_finished;

    /* The job at hand. Written by threads_run before `job` changes. */
    threads_task *run;
    void *context;
    int n_tasks;
    atomic_int next_task;
    atomic_int n_working; /* workers other than the caller that have not finished the job */
    atomic_ulong job;     /* number of the job, from 1 */
    int stop;             /* under mutex */
};

struct worker_start {
    struct threads *threads;
    int worker;
};

static void take_tasks(struct threads *threads, int worker)
{
    for (;;) {
        int task = atomic_fetch_add_explicit(&threads->next_task, 1, memory_order_relaxed);
        if (task >= threads->n_tasks)
            return;
        threads->run(threads->context, task, worker);
    }
}

#define SPINS 2000 /* about 20 to 80 microseconds */

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("" ::: "memory");
#endif
}

static void *worker_main(void *argument)
{
    struct worker_start start = *(struct worker_start *)argument;
    struct threads *threads = start.threads;
    mem_free(argument);
    unsigned long done = 0;
    for (;;) {
        for (int i = 0; i < SPINS; i++) {
            if (atomic_load_explicit(&threads->job, memory_order_acquire) != done)
                break;
            relax();
        }
        pthread_mutex_lock(&threads->mutex);
        while (atomic_load(&threads->job) == done && !threads->stop)
            pthread_cond_wait(&threads->job_arrived, &threads->mutex);
        int stop = threads->stop;
        done = atomic_load(&threads->job);
        pthread_mutex_unlock(&threads->mutex);
        if (stop)
            return NULL;
        take_tasks(threads, start.worker);
        pthread_mutex_lock(&threads->mutex);
        if (atomic_fetch_sub(&threads->n_working, 1) == 1)
            pthread_cond_signal(&threads->job_finished);
        pthread_mutex_unlock(&threads->mutex);
    }
}

static int processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > THREADS_LARGEST ? THREADS_LARGEST : n;
}

/* Starts one worker with every signal blocked, so that the main thread is the one interrupted. */
static enum status start_worker(struct threads *threads, int worker, struct err *err)
{
    struct worker_start *start = mem_alloc(1, sizeof *start);
    if (!start)
        return err_no_memory(err, "a thread", sizeof *start);
    *start = (struct worker_start){.threads = threads, .worker = worker};
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&threads->handles[worker - 1], NULL, worker_main, start);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed) {
        mem_free(start);
        return err_set(err, STATUS_RESOURCE, "cannot start thread %d: %s; try --threads %d",
                       worker + 1, strerror(failed), worker);
    }
    return STATUS_OK;
}

enum status threads_create(struct threads **out, int size, struct err *err)
{
    assert(size >= 0 && size <= THREADS_LARGEST);
    *out = NULL;
    if (size == 0)
        size = processors();
    struct threads *threads = mem_alloc_zero(1, sizeof *threads);
    if (!threads)
        return err_no_memory(err, "the thread pool", sizeof *threads);
    pthread_mutex_init(&threads->mutex, NULL);
    pthread_cond_init(&threads->job_arrived, NULL);
    pthread_cond_init(&threads->job_finished, NULL);
    threads->size = 1;
    threads->handles = mem_alloc((size_t)size, sizeof *threads->handles);
    if (!threads->handles) {
        threads_destroy(threads);
        return err_no_memory(err, "the thread pool", (size_t)size * sizeof *threads->handles);
    }
    while (threads->size < size) {
        enum status status = start_worker(threads, threads->size, err);
        if (status != STATUS_OK) {
            threads_destroy(threads);
            return status;
        }
        threads->size++;
    }
    *out = threads;
    return STATUS_OK;
}

void threads_destroy(struct threads *threads)
{
    if (!threads)
        return;
    pthread_mutex_lock(&threads->mutex);
    threads->stop = 1;
    pthread_cond_broadcast(&threads->job_arrived);
    pthread_mutex_unlock(&threads->mutex);
    for (int i = 0; i + 1 < threads->size; i++)
        pthread_join(threads->handles[i], NULL);
    pthread_cond_destroy(&threads->job_finished);
    pthread_cond_destroy(&threads->job_arrived);
    pthread_mutex_destroy(&threads->mutex);
    mem_free(threads->handles);
    mem_free(threads);
}

int threads_size(const struct threads *threads)
{
    return threads->size;
}

void threads_run(struct threads *threads, int n_tasks, threads_task *run, void *context)
{
    assert(n_tasks <= THREADS_TASKS_LARGEST);
    if (threads->size == 1 || n_tasks <= 1) {
        for (int task = 0; task < n_tasks; task++)
            run(context, task, 0);
        return;
    }
    pthread_mutex_lock(&threads->mutex);
    threads->run = run;
    threads->context = context;
    threads->n_tasks = n_tasks;
    atomic_store(&threads->next_task, 0);
    atomic_store(&threads->n_working, threads->size - 1);
    atomic_fetch_add(&threads->job, 1);
    pthread_cond_broadcast(&threads->job_arrived);
    pthread_mutex_unlock(&threads->mutex);

    take_tasks(threads, 0);

    for (int i = 0; i < SPINS && atomic_load(&threads->n_working) > 0; i++)
        relax();
    pthread_mutex_lock(&threads->mutex);
    while (atomic_load(&threads->n_working) > 0)
        pthread_cond_wait(&threads->job_finished, &threads->mutex);
    pthread_mutex_unlock(&threads->mutex);
}
