/* The thread pool: every task once, by a worker at a time, for every size; jobs that follow each
 * other closely; lack of memory. */
#include "tests/support.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include "host/base/memory.h"
#include "host/base/threads.h"

#define TASKS_LARGEST 1000

struct job {
    int size, n_tasks;
    bool slow;                      /* tasks take a millisecond */
    atomic_int runs[TASKS_LARGEST]; /* of each task */
    atomic_int busy[8];             /* each worker: 1 while it runs a task */
    atomic_int wrong;               /* a task or a worker out of range, or a worker in two tasks */
    long sum[8];                    /* each worker's own, without atomics: races would show */
};

/* Not ck_assert: Check's are not for other threads. */
static void count_task(void *context, int task, int worker)
{
    struct job *job = context;
    if (task < 0 || task >= job->n_tasks || worker < 0 || worker >= job->size) {
        atomic_fetch_add(&job->wrong, 1);
        return;
    }
    if (atomic_fetch_add(&job->busy[worker], 1) != 0)
        atomic_fetch_add(&job->wrong, 1);
    if (job->slow)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    atomic_fetch_add(&job->runs[task], 1);
    job->sum[worker] += task;
    atomic_fetch_sub(&job->busy[worker], 1);
}

static void check_job(struct threads *threads, int n_tasks, bool slow)
{
    struct job *job = calloc(1, sizeof *job);
    ck_assert_ptr_nonnull(job);
    job->size = threads_size(threads);
    job->n_tasks = n_tasks;
    job->slow = slow;
    threads_run(threads, n_tasks, count_task, job);
    long sum = 0;
    for (int worker = 0; worker < job->size; worker++)
        sum += job->sum[worker];
    ck_assert_int_eq(atomic_load(&job->wrong), 0);
    for (int task = 0; task < n_tasks; task++)
        if (atomic_load(&job->runs[task]) != 1)
            ck_abort_msg("%d tasks on %d threads: task %d ran %d times", n_tasks, job->size, task,
                         atomic_load(&job->runs[task]));
    ck_assert_int_eq(sum, (long)n_tasks * (n_tasks - 1) / 2);
    free(job);
}

START_TEST(every_task_runs_once)
{
    static const int counts[] = {0, 1, 2, 3, 7, 8, 9, TASKS_LARGEST};
    for (int size = 1; size <= 8; size++) {
        struct threads *threads;
        struct err err;
        ck_assert_int_eq(threads_create(&threads, size, &err), STATUS_OK);
        ck_assert_int_eq(threads_size(threads), size);
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
            check_job(threads, counts[i], false);
        threads_destroy(threads);
    }
}
END_TEST

/* Short jobs find the workers awake, asleep, and between the two. */
START_TEST(jobs_follow_each_other)
{
    struct threads *threads;
    struct err err;
    ck_assert_int_eq(threads_create(&threads, 4, &err), STATUS_OK);
    for (int i = 0; i < 500; i++)
        check_job(threads, 2 + i % 9, false);
    threads_destroy(threads);
}
END_TEST

/* The caller finds no task left while others still run theirs. */
START_TEST(the_last_task_is_waited_for)
{
    struct threads *threads;
    struct err err;
    ck_assert_int_eq(threads_create(&threads, 4, &err), STATUS_OK);
    for (int n_tasks = 2; n_tasks <= 12; n_tasks++)
        check_job(threads, n_tasks, true);
    threads_destroy(threads);
}
END_TEST

START_TEST(zero_means_the_processors)
{
    struct threads *threads;
    struct err err;
    ck_assert_int_eq(threads_create(&threads, 0, &err), STATUS_OK);
    ck_assert_int_ge(threads_size(threads), 1);
    ck_assert_int_le(threads_size(threads), THREADS_LARGEST);
    threads_destroy(threads);
    threads_destroy(NULL);
}
END_TEST

START_TEST(lack_of_memory_is_reported)
{
    enum status status = STATUS_RESOURCE;
    int failures = 0;
    for (long at = 1; status != STATUS_OK; at++) {
        struct threads *threads;
        struct err err;
        mem_fail_at(at);
        status = threads_create(&threads, 3, &err);
        mem_fail_at(0);
        if (status == STATUS_OK) {
            check_job(threads, 20, false);
            threads_destroy(threads);
            continue;
        }
        check_error(status, &err, STATUS_RESOURCE, "not enough memory", "threads_create");
        ck_assert_ptr_null(threads);
        failures++;
    }
    ck_assert_int_eq(failures, 4); /* the pool, its handles, two starts */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("threads");
    TCase *tests = tcase_create("threads");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, every_task_runs_once);
    tcase_add_test(tests, jobs_follow_each_other);
    tcase_add_test(tests, the_last_task_is_waited_for);
    tcase_add_test(tests, zero_means_the_processors);
    tcase_add_test(tests, lack_of_memory_is_reported);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
