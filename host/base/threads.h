/* One pool of threads for the whole process.
 *
 * A job is n tasks, numbered from 0, taken by the workers in any order. What a task computes must
 * not depend on which worker takes it or when: results are the same bytes for every pool size. */
#ifndef MIDASHI_BASE_THREADS_H
#define MIDASHI_BASE_THREADS_H

#include <stdint.h>
#include "host/base/status.h"

struct threads;

/* task: 0 .. n_tasks-1. worker: 0 .. size-1, for scratch memory that belongs to a worker. */
typedef void threads_task(void *context, int task, int worker);

/* size counts the calling thread too; 0 means one for each processor this process may use, at most
 * THREADS_LARGEST. STATUS_RESOURCE when a thread cannot be started. */
#define THREADS_LARGEST 1024
enum status threads_create(struct threads **out, int size, struct err *err);
void threads_destroy(struct threads *threads); /* NULL is allowed */
int threads_size(const struct threads *threads);

/* The most tasks of a job: the counter runs on by one for each worker. */
#define THREADS_TASKS_LARGEST (INT32_MAX - THREADS_LARGEST)

/* Runs all tasks and returns when the last is done; n_tasks <= 0 is none, and at most
 * THREADS_TASKS_LARGEST. The caller works too. Not reentrant: a task
 * must not call threads_run on the same pool, and only one thread may call it at a time. */
void threads_run(struct threads *threads, int n_tasks, threads_task *run, void *context);

#endif
