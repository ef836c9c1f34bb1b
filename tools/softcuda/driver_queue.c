/* Queues of work: what may run, and when. See driver.h.
 *
 * Each piece holds what it needs: the last of its own stream stands before it, and the legacy
 * stream and blocking streams wait for one another. Numbers only grow along `needs`, so that there
 * is always something that can run. */
#include "tools/softcuda/driver.h"

#include <string.h>
#include "host/base/clock.h"
#include "host/base/memory.h"

/* A real queue is full at about as many: then the call runs the oldest. */
#define MOST_WAITING 1024

/* ---- work ----------------------------------------------------------------------------------- */

struct work *work_create(enum work_kind kind)
{
    struct work *work = mem_alloc_zero(1, sizeof *work);
    if (work) {
        work->kind = kind;
        work->n_holders = 1;
    }
    return work;
}

static void drop_needs(struct work *work)
{
    for (int i = 0; i < work->n_needs; i++)
        work_release(work->needs[i]);
    mem_free(work->needs);
    work->needs = NULL;
    work->n_needs = 0;
}

/* What it carries: gone as soon as it has run, though events may still hold it. */
static void drop_load(struct work *work)
{
    if (work->kind == WORK_KERNEL) {
        mem_free(work->kernel.parameters);
        work->kernel.parameters = NULL;
    } else if (work->kind == WORK_COPY) {
        mem_free(work->copy.staged);
        work->copy.staged = NULL;
    } else if (work->kind == WORK_GRAPH && work->graph) {
        graph_release(work->graph);
        work->graph = NULL;
    }
}

void work_release(struct work *work)
{
    if (!work || --work->n_holders > 0)
        return;
    drop_needs(work);
    drop_load(work);
    mem_free(work);
}

/* ---- streams -------------------------------------------------------------------------------- */

struct stream *stream_open(struct context *context, unsigned flags, int priority)
{
    struct stream *stream = mem_alloc_zero(1, sizeof *stream);
    if (!stream)
        return NULL;
    object_add(&stream->object, OBJECT_STREAM, context);
    stream->flags = flags;
    stream->priority = priority;
    stream->next = context->streams;
    context->streams = stream;
    return stream;
}

static void stream_free(struct stream *stream)
{
    struct stream **at = &stream->object.context->streams;
    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    mem_free(stream);
}

void stream_destroy(struct stream *stream)
{
    capture_leave(stream);
    object_remove(&stream->object);
    stream->destroyed = true;
    if (!stream->first)
        stream_free(stream);
}

static void pop(struct stream *stream)
{
    struct work *work = stream->first;
    stream->first = work->next;
    if (!stream->first)
        stream->last = NULL;
    stream->n_waiting--;
    work->next = NULL;
    work->stream = NULL;
    work->done = true;
    drop_needs(work);
    drop_load(work);
    work_release(work);
}

void streams_close(struct context *context)
{
    while (context->streams) {
        struct stream *stream = context->streams;
        while (stream->first)
            pop(stream);
        if (stream->destroyed)
            stream_free(stream);
        else
            stream_destroy(stream);
    }
}

CUresult stream_find(struct context *context, CUstream handle, struct stream **stream)
{
    *stream = handle == CU_STREAM_PER_THREAD ? context->per_thread : context->null_stream;
    if (!handle || handle == CU_STREAM_LEGACY)
        return CUDA_SUCCESS;
    if (handle == CU_STREAM_PER_THREAD) {
        if (!context->per_thread)
            context->per_thread = stream_open(context, CU_STREAM_DEFAULT, 0);
        *stream = context->per_thread;
        return *stream ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = object_find(handle, OBJECT_STREAM, stream);
    return !result && (*stream)->object.context != context ? CUDA_ERROR_INVALID_HANDLE : result;
}

/* ---- queueing ------------------------------------------------------------------------------- */

static void add_need(struct work *work, struct work *need)
{
    if (need && !need->done) {
        need->n_holders++;
        work->needs[work->n_needs++] = need;
    }
}

static bool find_needs(struct stream *stream, struct work *work, struct work *behind)
{
    struct context *context = stream->object.context;
    size_t n = 2;
    for (const struct stream *at = context->streams; at; at = at->next)
        n++;
    work->needs = mem_alloc(n, sizeof *work->needs);
    if (!work->needs)
        return false;
    add_need(work, behind);
    if (stream != context->null_stream) {
        if (!(stream->flags & CU_STREAM_NON_BLOCKING))
            add_need(work, context->null_stream->last);
        return true;
    }
    for (struct stream *at = context->streams; at; at = at->next)
        if (at != stream && !(at->flags & CU_STREAM_NON_BLOCKING))
            add_need(work, at->last);
    return true;
}

bool stream_waits_for_capture(const struct stream *stream)
{
    const struct context *context = stream->object.context;
    if (stream != context->null_stream)
        return false;
    for (const struct stream *at = context->streams; at; at = at->next)
        if (at->capture && !(at->flags & CU_STREAM_NON_BLOCKING))
            return true;
    return false;
}

CUresult work_submit(struct stream *stream, struct work *work, struct work *behind)
{
    if (stream->capture)
        return capture_add(stream, work);
    if (stream_waits_for_capture(stream)) {
        work_release(work);
        capture_forbids(stream->object.context);
        return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    }
    if (!find_needs(stream, work, behind)) {
        work_release(work);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    work->stream = stream;
    work->number = ++driver.n_works;
    if (stream->last)
        stream->last->next = work;
    else
        stream->first = work;
    stream->last = work;
    if (++stream->n_waiting > MOST_WAITING)
        queue_step(stream->object.context, stream->first);
    return CUDA_SUCCESS;
}

/* ---- running -------------------------------------------------------------------------------- */

static struct work *first_undone(const struct work *work)
{
    for (int i = 0; i < work->n_needs; i++)
        if (!work->needs[i]->done)
            return work->needs[i];
    return NULL;
}

/* What must run first for `work` to come nearer. */
static struct work *first_needed(struct work *work)
{
    for (;;) {
        struct work *head = work->stream->first;
        struct work *need = first_undone(head);
        if (!need)
            return head;
        work = need;
    }
}

/* Of all streams: the one issued first, or any by the seed. NULL: nothing can run now. */
static struct work *pick(struct context *context)
{
    struct work *best = NULL;
    uint64_t n = 0;
    for (struct stream *at = context->streams; at; at = at->next) {
        struct work *head = at->first;
        if (!head || head->running || first_undone(head))
            continue;
        n++;
        if (driver.settings.machine.shuffled ? random_below(n) == 0
                                             : !best || head->number < best->number)
            best = head;
    }
    return best;
}

static void run(struct work *work)
{
    struct stream *stream = work->stream;
    struct context *context = stream->object.context;
    work->running = true;
    CUresult result = context->fault ? CUDA_SUCCESS : work_execute(context, work);
    if (result && !context->fault)
        context->fault = result;
    work->time = seconds_now();
    pop(stream);
    if (stream->destroyed && !stream->first)
        stream_free(stream);
    pthread_cond_broadcast(&driver.turned);
}

/* work NULL: anything of the context. There must be some. */
static void step(struct context *context, struct work *work)
{
    struct work *next = !work || driver.settings.machine.shuffled ? pick(context) : NULL;
    for (struct stream *at = context->streams; !work && !next; at = at->next)
        work = at->first; /* all wait for work of another context */
    if (!next)
        next = first_needed(work);
    if (next->running)
        pthread_cond_wait(&driver.turned, &driver.lock);
    else
        run(next);
}

void queue_step(struct context *context, struct work *work)
{
    if (!work->done)
        step(context, work);
}

CUresult queue_finish_work(struct context *context, struct work *work)
{
    work->n_holders++;
    while (!work->done)
        step(context, work);
    work_release(work);
    return context->fault;
}

CUresult queue_finish_stream(struct stream *stream)
{
    struct context *context = stream->object.context;
    return stream->last ? queue_finish_work(context, stream->last) : context->fault;
}

CUresult queue_finish_all(struct context *context)
{
    for (;;) {
        bool waiting = false;
        for (const struct stream *at = context->streams; at; at = at->next)
            waiting |= at->first != NULL;
        if (!waiting)
            return context->fault;
        step(context, NULL);
    }
}
