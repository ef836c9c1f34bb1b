/* Streams and events of the API. Their queues are driver_queue.c's. */
#include "tools/softcuda/driver.h"

#include <string.h>
#include "host/base/memory.h"

/* ---- streams -------------------------------------------------------------------------------- */

#define GREATEST_PRIORITY (-5) /* as cards of today have it; 0 is the least */

static CUresult create_stream(struct context *context, CUstream *out, unsigned flags, int priority)
{
    if (!out || flags & ~(unsigned)CU_STREAM_NON_BLOCKING)
        return CUDA_ERROR_INVALID_VALUE;
    priority = priority > 0 ? 0 : priority < GREATEST_PRIORITY ? GREATEST_PRIORITY : priority;
    struct stream *stream = stream_open(context, flags, priority);
    *out = (CUstream)stream;
    return stream ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result)
        result = create_stream(context, stream, flags, priority);
    return leave(result);
}

CUresult cuStreamCreate(CUstream *stream, unsigned flags)
{
    return cuStreamCreateWithPriority(stream, flags, 0);
}

CUresult cuStreamDestroy(CUstream handle)
{
    struct context *context;
    struct stream *stream;
    CUresult result = enter_stream(handle, &context, &stream);
    if (!result && (stream == context->null_stream || stream == context->per_thread))
        result = CUDA_ERROR_INVALID_HANDLE;
    if (!result)
        stream_destroy(stream);
    return leave(result);
}

CUresult cuStreamGetPriority(CUstream handle, int *priority)
{
    struct context *context;
    struct stream *stream;
    CUresult result = enter_stream(handle, &context, &stream);
    if (!result && !priority)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *priority = stream->priority;
    return leave(result);
}

CUresult cuStreamGetFlags(CUstream handle, unsigned *flags)
{
    struct context *context;
    struct stream *stream;
    CUresult result = enter_stream(handle, &context, &stream);
    if (!result && !flags)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *flags = stream->flags;
    return leave(result);
}

CUresult cuStreamGetCtx(CUstream handle, CUcontext *out)
{
    struct context *context;
    struct stream *stream;
    CUresult result = enter_stream(handle, &context, &stream);
    if (!result && !out)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *out = (CUcontext)context;
    return leave(result);
}

CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result && least)
        *least = 0;
    if (!result && greatest)
        *greatest = GREATEST_PRIORITY;
    return leave(result);
}

CUresult cuStreamSynchronize(CUstream handle)
{
    struct context *context;
    struct stream *stream;
    CUresult result = enter_stream(handle, &context, &stream);
    if (!result)
        result = capture_forbids_stream(stream);
    if (!result && stream == context->null_stream) {
        /* It waits for what blocking streams had before it, as any work in it does. */
        struct work *work = work_create(WORK_WAIT);
        result = work ? work_submit(stream, work, NULL) : CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (!result)
        result = queue_finish_stream(stream);
    return leave(result);
}

CUresult cuStreamQuery(CUstream handle)
{
    struct context *context;
    struct stream *stream;
    CUresult result = enter_stream(handle, &context, &stream);
    if (!result)
        result = capture_forbids_stream(stream);
    if (!result && stream->first) {
        queue_step(context, stream->first);
        result = context->fault ? context->fault : CUDA_ERROR_NOT_READY;
    }
    return leave(result);
}

CUresult cuCtxSynchronize(void)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result)
        result = capture_forbids(context);
    if (!result)
        result = queue_finish_all(context);
    return leave(result);
}

CUresult cuLaunchHostFunc(CUstream handle, CUhostFn *function, void *data)
{
    struct context *context;
    struct stream *stream;
    CUresult result = enter_stream(handle, &context, &stream);
    if (!result && !function)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result) {
        struct work *work = work_create(WORK_HOST);
        if (work) {
            work->host.call = function;
            work->host.data = data;
        }
        result = work ? work_submit(stream, work, NULL) : CUDA_ERROR_OUT_OF_MEMORY;
    }
    return leave(result);
}

/* ---- events --------------------------------------------------------------------------------- */

#define EVENT_FLAGS (CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS)

static CUresult create_event(struct context *context, CUevent *out, unsigned flags)
{
    if (!out || flags & ~(unsigned)EVENT_FLAGS ||
        (flags & CU_EVENT_INTERPROCESS && !(flags & CU_EVENT_DISABLE_TIMING)))
        return CUDA_ERROR_INVALID_VALUE;
    struct event *event = mem_alloc_zero(1, sizeof *event);
    if (!event)
        return CUDA_ERROR_OUT_OF_MEMORY;
    event->flags = flags;
    object_add(&event->object, OBJECT_EVENT, context);
    *out = (CUevent)event;
    return CUDA_SUCCESS;
}

void event_close(struct event *event)
{
    object_remove(&event->object);
    work_release(event->work);
    mem_free(event->ends);
    mem_free(event);
}

CUresult cuEventCreate(CUevent *event, unsigned flags)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result)
        result = create_event(context, event, flags);
    return leave(result);
}

static CUresult enter_event(CUevent handle, struct context **context, struct event **event)
{
    CUresult result = enter_context(context);
    return result ? result : object_find(handle, OBJECT_EVENT, event);
}

CUresult cuEventDestroy(CUevent handle)
{
    struct context *context;
    struct event *event;
    CUresult result = enter_event(handle, &context, &event);
    if (!result)
        event_close(event);
    return leave(result);
}

/* CU_EVENT_RECORD_EXTERNAL and CU_EVENT_WAIT_EXTERNAL make a node of the event, and are "invalid
 * outside of stream capture"; here there are no such nodes. */
static CUresult check_flags(const struct stream *stream, unsigned flags)
{
    if (flags == 0)
        return CUDA_SUCCESS;
    return flags == 1 && stream->capture ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
}

static CUresult record(struct stream *stream, struct event *event)
{
    if (event->object.context != stream->object.context)
        return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture)
        return capture_record(stream, event);
    struct work *work = work_create(WORK_RECORD);
    if (!work)
        return CUDA_ERROR_OUT_OF_MEMORY;
    work->n_holders++;
    CUresult result = work_submit(stream, work, NULL);
    if (result) {
        work_release(work);
        return result;
    }
    work_release(event->work);
    event->work = work;
    event->capture = 0;
    return CUDA_SUCCESS;
}

CUresult cuEventRecordWithFlags(CUevent handle, CUstream stream_handle, unsigned flags)
{
    struct context *context;
    struct event *event;
    struct stream *stream;
    CUresult result = enter_event(handle, &context, &event);
    if (!result)
        result = stream_find(context, stream_handle, &stream);
    if (!result)
        result = check_flags(stream, flags);
    if (!result)
        result = record(stream, event);
    return leave(result);
}

CUresult cuEventRecord(CUevent event, CUstream stream)
{
    return cuEventRecordWithFlags(event, stream, 0);
}

CUresult cuEventQuery(CUevent handle)
{
    struct context *context;
    struct event *event;
    CUresult result = enter_event(handle, &context, &event);
    if (!result && event->capture)
        result = CUDA_ERROR_CAPTURED_EVENT;
    if (!result && event->work && !event->work->done) {
        queue_step(event->object.context, event->work);
        result = context->fault ? context->fault : CUDA_ERROR_NOT_READY;
    }
    return leave(result);
}

CUresult cuEventSynchronize(CUevent handle)
{
    struct context *context;
    struct event *event;
    CUresult result = enter_event(handle, &context, &event);
    if (!result && event->capture)
        result = CUDA_ERROR_CAPTURED_EVENT;
    if (!result && event->work)
        result = queue_finish_work(event->object.context, event->work);
    return leave(result);
}

static CUresult elapsed(float *milliseconds, const struct event *start, const struct event *end)
{
    if (!milliseconds)
        return CUDA_ERROR_INVALID_VALUE;
    if (start->capture || end->capture)
        return CUDA_ERROR_CAPTURED_EVENT;
    if (!start->work || !end->work || (start->flags | end->flags) & CU_EVENT_DISABLE_TIMING)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!start->work->done || !end->work->done)
        return CUDA_ERROR_NOT_READY;
    *milliseconds = (float)(1e3 * (end->work->time - start->work->time));
    return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end)
{
    struct context *context;
    struct event *first, *last;
    CUresult result = enter_event(start, &context, &first);
    if (!result)
        result = object_find(end, OBJECT_EVENT, &last);
    if (!result)
        result = elapsed(milliseconds, first, last);
    return leave(result);
}

static CUresult wait_for(struct stream *stream, struct event *event)
{
    if (event->capture || stream->capture)
        return capture_wait(stream, event);
    if (!event->work || event->work->done)
        return CUDA_SUCCESS;
    struct work *work = work_create(WORK_WAIT);
    return work ? work_submit(stream, work, event->work) : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned flags)
{
    struct context *context;
    struct stream *stream;
    struct event *event;
    CUresult result = enter_stream(handle, &context, &stream);
    if (!result)
        result = object_find(event_handle, OBJECT_EVENT, &event);
    if (!result)
        result = check_flags(stream, flags);
    if (!result)
        result = wait_for(stream, event);
    return leave(result);
}

ALSO_EXPORTED(cuStreamDestroy_v2, cuStreamDestroy);
ALSO_EXPORTED(cuEventDestroy_v2, cuEventDestroy);
ALSO_EXPORTED(cuEventElapsedTime_v2, cuEventElapsedTime);
