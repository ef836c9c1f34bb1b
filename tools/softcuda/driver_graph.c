/* Captures and graphs: work that is noted down instead of queued, and run again and again. See
 * driver.h.
 *
 * A capture begins in one stream; others join it by waiting for an event that was recorded in it.
 * Each taking part knows the nodes that its next one follows. */
#include "tools/softcuda/driver.h"

#include <string.h>
#include "host/base/memory.h"

struct node {
    struct work *work;
    int *needs; /* nodes that run before, of lower numbers */
    int n_needs;
};

struct graph {
    struct object object;
    int n_holders; /* the program, its executables, work that launches it */
    struct node *nodes;
    int n_nodes, capacity;
};

struct executable {
    struct object object;
    struct graph *graph; /* held */
};

struct capture {
    uint64_t number;
    struct graph *graph; /* held; the program's at the end */
    CUstreamCaptureMode mode;
    struct stream *origin;
    pthread_t thread;
    bool broken;
    int n_streams; /* that take part */
};

/* What the calling thread lets captures of its own forbid: cuThreadExchangeStreamCaptureMode. */
static __thread CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

/* ---- graphs --------------------------------------------------------------------------------- */

void graph_hold(struct graph *graph)
{
    graph->n_holders++;
}

void graph_release(struct graph *graph)
{
    if (--graph->n_holders > 0)
        return;
    for (int i = 0; i < graph->n_nodes; i++) {
        work_release(graph->nodes[i].work);
        mem_free(graph->nodes[i].needs);
    }
    mem_free(graph->nodes);
    mem_free(graph);
}

void graph_close(struct object *graph)
{
    object_remove(graph);
    graph_release((struct graph *)graph);
}

void executable_close(struct object *executable)
{
    object_remove(executable);
    graph_release(((struct executable *)executable)->graph);
    mem_free(executable);
}

/* In the order of capture, or any that the needs allow. */
CUresult graph_execute(struct context *context, struct graph *graph)
{
    bool *done = mem_alloc_zero((size_t)graph->n_nodes + 1, sizeof *done);
    CUresult result = done ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    for (int left = graph->n_nodes; !result && left > 0; left--) {
        int next = -1;
        uint64_t n_ready = 0;
        for (int i = 0; i < graph->n_nodes; i++) {
            bool ready = !done[i];
            for (int j = 0; j < graph->nodes[i].n_needs; j++)
                ready &= done[graph->nodes[i].needs[j]];
            if (!ready)
                continue;
            n_ready++;
            if (next < 0 || (driver.settings.machine.shuffled && random_below(n_ready) == 0))
                next = i;
            if (!driver.settings.machine.shuffled)
                break;
        }
        done[next] = true;
        result = work_execute(context, graph->nodes[next].work);
    }
    mem_free(done);
    return result;
}

/* ---- captures ------------------------------------------------------------------------------- */

/* A copy of n node numbers in *ends. */
static bool set_ends(int **ends, int *n_ends, const int *from, int n)
{
    int *copy = mem_alloc((size_t)n + 1, sizeof *copy);
    if (!copy)
        return false;
    if (n > 0)
        memcpy(copy, from, (size_t)n * sizeof *copy);
    mem_free(*ends);
    *ends = copy;
    *n_ends = n;
    return true;
}

static void leave_capture(struct stream *stream)
{
    struct capture *capture = stream->capture;
    stream->capture = NULL;
    mem_free(stream->ends);
    stream->ends = NULL;
    stream->n_ends = 0;
    if (--capture->n_streams > 0)
        return;
    if (capture->graph)
        graph_release(capture->graph);
    mem_free(capture);
}

void capture_leave(struct stream *stream)
{
    if (!stream->capture)
        return;
    stream->capture->broken = true;
    leave_capture(stream);
}

static CUresult add_node(struct stream *stream, struct work *work)
{
    struct graph *graph = stream->capture->graph;
    if (graph->n_nodes == graph->capacity) {
        int capacity = graph->capacity ? 2 * graph->capacity : 16;
        struct node *nodes = mem_resize(graph->nodes, (size_t)capacity, sizeof *nodes);
        if (!nodes)
            return CUDA_ERROR_OUT_OF_MEMORY;
        graph->nodes = nodes;
        graph->capacity = capacity;
    }
    struct node node = {.work = work};
    int number = graph->n_nodes;
    if (!set_ends(&node.needs, &node.n_needs, stream->ends, stream->n_ends))
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (!set_ends(&stream->ends, &stream->n_ends, &number, 1)) {
        mem_free(node.needs);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    graph->nodes[graph->n_nodes++] = node;
    return CUDA_SUCCESS;
}

CUresult capture_add(struct stream *stream, struct work *work)
{
    CUresult result = CUDA_SUCCESS;
    if (stream->capture->broken)
        result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    else if (work->kind == WORK_FREE) {
        stream->capture->broken = true;
        result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    } else {
        result = add_node(stream, work);
    }
    if (result)
        work_release(work);
    return result;
}

CUresult capture_record(struct stream *stream, struct event *event)
{
    if (stream->capture->broken)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (!set_ends(&event->ends, &event->n_ends, stream->ends, stream->n_ends))
        return CUDA_ERROR_OUT_OF_MEMORY;
    work_release(event->work);
    event->work = NULL;
    event->capture = stream->capture->number;
    return CUDA_SUCCESS;
}

static struct capture *capture_numbered(const struct context *context, uint64_t number)
{
    for (const struct stream *at = context->streams; at; at = at->next)
        if (at->capture && at->capture->number == number)
            return at->capture;
    return NULL;
}

/* The event's nodes join the stream's. */
static CUresult merge_ends(struct stream *stream, const struct event *event)
{
    int n = stream->n_ends;
    int *all = mem_alloc((size_t)(n + event->n_ends) + 1, sizeof *all);
    if (!all)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (int i = 0; i < n; i++)
        all[i] = stream->ends[i];
    for (int i = 0; i < event->n_ends; i++) {
        bool known = false;
        for (int j = 0; j < n; j++)
            known |= all[j] == event->ends[i];
        if (!known)
            all[n++] = event->ends[i];
    }
    mem_free(stream->ends);
    stream->ends = all;
    stream->n_ends = n;
    return CUDA_SUCCESS;
}

CUresult capture_wait(struct stream *stream, struct event *event)
{
    struct context *context = stream->object.context;
    if (!event->capture) { /* recorded outside */
        if (stream->capture->broken)
            return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        if (!event->work) /* never recorded */
            return CUDA_SUCCESS;
        stream->capture->broken = true;
        return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    }
    struct capture *capture = capture_numbered(context, event->capture);
    if (!capture)
        return CUDA_ERROR_CAPTURED_EVENT; /* it has ended since */
    if (capture->broken)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (stream->capture && stream->capture != capture) {
        stream->capture->broken = capture->broken = true;
        return CUDA_ERROR_STREAM_CAPTURE_MERGE;
    }
    if (stream == context->null_stream) {
        capture->broken = true;
        return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    }
    CUresult result = merge_ends(stream, event);
    if (!result && !stream->capture) {
        stream->capture = capture;
        capture->n_streams++;
    }
    return result;
}

CUresult capture_forbids(struct context *context)
{
    CUresult result = CUDA_SUCCESS;
    if (thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_SUCCESS;
    for (struct stream *at = context->streams; at; at = at->next) {
        struct capture *capture = at->capture;
        if (!capture || capture->mode == CU_STREAM_CAPTURE_MODE_RELAXED)
            continue;
        bool own = pthread_equal(capture->thread, pthread_self());
        if (!own && (capture->mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL ||
                     thread_mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
            continue;
        capture->broken = true;
        result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    return result;
}

CUresult capture_forbids_stream(struct stream *stream)
{
    if (!stream->capture)
        return CUDA_SUCCESS;
    if (stream->capture->broken)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    stream->capture->broken = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

static CUresult begin(struct context *context, struct stream *stream, CUstreamCaptureMode mode)
{
    if ((unsigned)mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_ERROR_INVALID_VALUE;
    if (stream == context->null_stream)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture)
        return CUDA_ERROR_ILLEGAL_STATE;
    struct capture *capture = mem_alloc_zero(1, sizeof *capture);
    struct graph *graph = mem_alloc_zero(1, sizeof *graph);
    if (!capture || !graph) {
        mem_free(capture);
        mem_free(graph);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    graph->n_holders = 1;
    *capture = (struct capture){
        .number = ++driver.n_captures,
        .graph = graph,
        .mode = mode,
        .origin = stream,
        .thread = pthread_self(),
        .n_streams = 1,
    };
    stream->capture = capture;
    return CUDA_SUCCESS;
}

/* All that other streams have done comes before where the origin stands. */
static bool is_joined(const struct stream *origin, const struct context *context, bool *joined)
{
    const struct graph *graph = origin->capture->graph;
    bool *before = mem_alloc_zero((size_t)graph->n_nodes + 1, sizeof *before);
    if (!before)
        return false;
    for (int i = 0; i < origin->n_ends; i++)
        before[origin->ends[i]] = true;
    for (int i = graph->n_nodes - 1; i >= 0; i--)
        for (int j = 0; before[i] && j < graph->nodes[i].n_needs; j++)
            before[graph->nodes[i].needs[j]] = true;
    *joined = true;
    for (const struct stream *at = context->streams; at; at = at->next)
        for (int i = 0; at->capture == origin->capture && i < at->n_ends; i++)
            *joined &= before[at->ends[i]];
    mem_free(before);
    return true;
}

static CUresult end(struct context *context, struct stream *stream, CUgraph *out)
{
    struct capture *capture = stream->capture;
    bool joined = false;
    if (!out)
        return CUDA_ERROR_INVALID_VALUE;
    *out = NULL;
    if (!capture)
        return CUDA_ERROR_ILLEGAL_STATE;
    if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED &&
        !pthread_equal(capture->thread, pthread_self()))
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    if (capture->origin != stream)
        return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    CUresult result = capture->broken ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;
    if (!result && !is_joined(stream, context, &joined))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    else if (!result && !joined)
        result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    if (!result) {
        object_add(&capture->graph->object, OBJECT_GRAPH, context);
        *out = (CUgraph)capture->graph;
        capture->graph = NULL;
    }
    for (struct stream *at = context->streams; at; at = at->next)
        if (at != stream && at->capture == capture)
            leave_capture(at);
    leave_capture(stream);
    return result;
}

/* ---- the API -------------------------------------------------------------------------------- */

CUresult cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode mode)
{
    struct context *context;
    struct stream *stream;
    CUresult result = enter_stream(handle, &context, &stream);
    if (!result)
        result = begin(context, stream, mode);
    return leave(result);
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph *graph)
{
    struct context *context;
    struct stream *stream;
    CUresult result = enter_stream(handle, &context, &stream);
    if (!result)
        result = end(context, stream, graph);
    return leave(result);
}

CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *status)
{
    struct context *context;
    struct stream *stream;
    CUresult result = enter_stream(handle, &context, &stream);
    if (!result && !status)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result && stream_waits_for_capture(stream))
        result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    if (!result)
        *status = !stream->capture          ? CU_STREAM_CAPTURE_STATUS_NONE
                  : stream->capture->broken ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                            : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return leave(result);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
    if (!mode || (unsigned)*mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_ERROR_INVALID_VALUE;
    CUstreamCaptureMode old = thread_mode;
    thread_mode = *mode;
    *mode = old;
    return CUDA_SUCCESS;
}

CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode *nodes, size_t *n)
{
    struct graph *graph;
    CUresult result = enter();
    if (!result && object_find(handle, OBJECT_GRAPH, &graph))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result && !n)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result) {
        for (size_t i = 0; nodes && i < *n; i++)
            nodes[i] = i < (size_t)graph->n_nodes ? (CUgraphNode)&graph->nodes[i] : NULL;
        if (!nodes || *n > (size_t)graph->n_nodes)
            *n = (size_t)graph->n_nodes;
    }
    return leave(result);
}

static CUresult instantiate(struct context *context, CUgraphExec *out, CUgraph handle)
{
    struct graph *graph;
    if (!out || object_find(handle, OBJECT_GRAPH, &graph))
        return CUDA_ERROR_INVALID_VALUE;
    struct executable *executable = mem_alloc_zero(1, sizeof *executable);
    if (!executable)
        return CUDA_ERROR_OUT_OF_MEMORY;
    executable->graph = graph;
    graph_hold(graph);
    object_add(&executable->object, OBJECT_EXECUTABLE, context);
    *out = (CUgraphExec)executable;
    return CUDA_SUCCESS;
}

/* Of memory nodes, of which a capture here has none; launches by the device; of priorities. */
#define AUTO_FREE_ON_LAUNCH 1
#define DEVICE_LAUNCH       4
#define USE_NODE_PRIORITY   8

CUresult cuGraphInstantiateWithFlags(CUgraphExec *executable, CUgraph graph,
                                     unsigned long long flags)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result &&
        (flags & ~(unsigned long long)(AUTO_FREE_ON_LAUNCH | DEVICE_LAUNCH | USE_NODE_PRIORITY) ||
         (flags & AUTO_FREE_ON_LAUNCH && flags & DEVICE_LAUNCH)))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result && flags & DEVICE_LAUNCH)
        result = CUDA_ERROR_NOT_SUPPORTED;
    if (!result)
        result = instantiate(context, executable, graph);
    return leave(result);
}

CUresult cuGraphInstantiate(CUgraphExec *executable, CUgraph graph, CUgraphNode *error_node,
                            char *log, size_t size)
{
    if (error_node)
        *error_node = NULL;
    if (log && size > 0)
        *log = '\0';
    return cuGraphInstantiateWithFlags(executable, graph, 0);
}

static CUresult launch(struct context *context, CUgraphExec handle, CUstream stream_handle)
{
    struct executable *executable;
    struct stream *stream;
    if (object_find(handle, OBJECT_EXECUTABLE, &executable))
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = stream_find(context, stream_handle, &stream);
    if (result)
        return result;
    struct work *work = work_create(WORK_GRAPH);
    if (!work)
        return CUDA_ERROR_OUT_OF_MEMORY;
    work->graph = executable->graph;
    graph_hold(work->graph);
    return work_submit(stream, work, NULL);
}

CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result)
        result = launch(context, executable, stream);
    return leave(result);
}

CUresult cuGraphUpload(CUgraphExec handle, CUstream stream)
{
    struct context *context;
    struct executable *executable;
    struct stream *unused;
    CUresult result = enter_context(&context);
    if (!result && object_find(handle, OBJECT_EXECUTABLE, &executable))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        result = stream_find(context, stream, &unused);
    return leave(result);
}

CUresult cuGraphDestroy(CUgraph handle)
{
    struct object *graph;
    CUresult result = enter();
    if (!result && object_find(handle, OBJECT_GRAPH, &graph))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        graph_close(graph);
    return leave(result);
}

CUresult cuGraphExecDestroy(CUgraphExec handle)
{
    struct object *executable;
    CUresult result = enter();
    if (!result && object_find(handle, OBJECT_EXECUTABLE, &executable))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        executable_close(executable);
    return leave(result);
}

ALSO_EXPORTED(cuStreamBeginCapture_v2, cuStreamBeginCapture);
ALSO_EXPORTED(cuGraphInstantiate_v2, cuGraphInstantiate);
