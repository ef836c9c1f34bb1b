/* The driver: what stands between the API (host/base/cuda_api.h) and the machine (execute.h).
 *
 * The API has no handle of the library, so that its state is one global variable, under one lock:
 * any thread may call. Every exported function is `enter`, work, `leave`.
 *
 * Work on streams waits in queues until something needs it: a call that waits, a copy that blocks,
 * a query (which runs one piece), a free. So a program that forgets to wait reads old data, always.
 * Of the pieces that may run, the one issued first runs first; under SOFTCUDA_ORDER=shuffled any
 * one, of any stream, by the seed. */
#ifndef SOFTCUDA_DRIVER_H
#define SOFTCUDA_DRIVER_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>
#include "host/base/cuda_api.h"
#include "tools/softcuda/faults.h"
#include "tools/softcuda/memory.h"
#include "tools/softcuda/report.h"
#include "tools/softcuda/settings.h"

/* ---- exports -------------------------------------------------------------------------------- */

/* The library's other names of a function: those with _v2. They differ from the first versions, of
 * 32-bit addresses, which no program of today calls: here both are the same. */
#define ALSO_EXPORTED(name, function)                                                              \
    extern __typeof__(function) name __attribute__((alias(#function), visibility("default")))

/* "softcuda 1". No other libcuda.so.1 exports it: how a program knows a software device. */
extern const char softcuda_version[];

/* ---- objects -------------------------------------------------------------------------------- */

enum object_kind {
    OBJECT_CONTEXT,
    OBJECT_MODULE,
    OBJECT_FUNCTION,
    OBJECT_STREAM,
    OBJECT_EVENT,
    OBJECT_GRAPH,
    OBJECT_EXECUTABLE, /* an instantiated graph */
    OBJECT_KINDS,
};

/* First member of everything that the API hands out a pointer to. */
struct object {
    enum object_kind kind;
    int number; /* the n-th of its kind, from 1: for reports */
    struct context *context;
    struct object *previous, *next; /* in the list of its kind and all contexts */
};

struct context {
    struct object object;
    bool primary;
    int n_retained; /* of the primary one; 0: not active */
    unsigned flags;
    CUresult fault;             /* a launch has failed: every call says so from then on */
    struct stream *null_stream; /* the legacy default stream */
    struct stream *per_thread;  /* CU_STREAM_PER_THREAD: one for all threads here */
    struct stream *streams;     /* all, those that are destroyed but not yet empty too */
};

struct module;
struct graph;

struct function {
    struct object object;
    struct module *module;
    const struct program *program;
    int registers;      /* a thread, from SOFTCUDA_RESOURCES or guessed (resources.h) */
    int dynamic_shared; /* what launches may ask for: CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_... */
    int carveout;
};

/* ---- streams and work (driver_queue.c) ------------------------------------------------------ */

enum work_kind {
    WORK_KERNEL,
    WORK_COPY,
    WORK_FILL,
    WORK_RECORD, /* of an event: notes the time */
    WORK_WAIT,   /* for an event: nothing but what it depends on */
    WORK_HOST,   /* a function of the program's */
    WORK_FREE,
    WORK_GRAPH,
};

struct kernel_work {
    struct function *function;
    uint32_t grid[3], block[3];
    unsigned shared;
    bool cooperative;
    unsigned char *parameters; /* owned */
};

struct copy_work {
    uint64_t to, from; /* device addresses, or the host's own */
    size_t bytes;
    unsigned char *staged; /* owned: a copy of pageable host memory; NULL: read it when it runs */
};

struct fill_work {
    uint64_t to;
    size_t n;
    int width; /* 1, 2, 4 */
    uint32_t value;
};

/* A piece of work. It is held by its queue, by events and by what depends on it. */
struct work {
    enum work_kind kind;
    int n_holders;
    uint64_t number; /* in order of issue */
    struct stream *stream;
    struct work *next;   /* in the stream */
    struct work **needs; /* held: they must be done before */
    int n_needs;
    bool running, done;
    double time; /* seconds, when done: of WORK_RECORD */
    union {
        struct kernel_work kernel;
        struct copy_work copy;
        struct fill_work fill;
        struct {
            CUhostFn *call;
            void *data;
        } host;
        uint64_t free_address;
        struct graph *graph; /* held */
    };
};

struct stream {
    struct object object;
    struct stream *next; /* in the context */
    unsigned flags;
    int priority;
    bool destroyed;            /* goes when it is empty */
    struct work *first, *last; /* not yet done */
    int n_waiting;
    struct capture *capture; /* NULL: none (driver_graph.c) */
    int *ends;               /* capture: nodes that the next one follows; owned */
    int n_ends;
};

struct event {
    struct object object;
    unsigned flags;
    struct work *work; /* the last record, held; NULL: never recorded */
    uint64_t capture;  /* the number of the one that it was recorded in, at these nodes; 0: none */
    int *ends;
    int n_ends;
};

/* A new piece of work, all else zero; NULL: no memory. */
struct work *work_create(enum work_kind kind);
void work_release(struct work *work); /* NULL is allowed */
/* Queues it, takes it over, and says so to a capture if there is one. Orders it behind what the
 * stream, the legacy stream and `behind` (may be NULL) say. On failure it has been released. */
CUresult work_submit(struct stream *stream, struct work *work, struct work *behind);
/* Does what a piece says (driver_run.c): the context's fault, or 0. */
CUresult work_execute(struct context *context, struct work *work);
/* Runs until the piece is done; until the stream is empty; until all streams are. The context's
 * fault, or 0. */
CUresult queue_finish_work(struct context *context, struct work *work);
CUresult queue_finish_stream(struct stream *stream);
CUresult queue_finish_all(struct context *context);
/* Runs one piece that brings `work` nearer. */
void queue_step(struct context *context, struct work *work);
/* Streams: NULL is the legacy one. INVALID_HANDLE, or that of another context. */
CUresult stream_find(struct context *context, CUstream handle, struct stream **stream);
struct stream *stream_open(struct context *context, unsigned flags, int priority);
/* Goes when what waits in it has run. */
void stream_destroy(struct stream *stream);
void streams_close(struct context *context); /* all of a context's, waiting work dropped */

/* ---- captures (driver_graph.c) -------------------------------------------------------------- */

/* Takes the work over as a node. */
CUresult capture_add(struct stream *stream, struct work *work);
CUresult capture_record(struct stream *stream, struct event *event);
CUresult capture_wait(struct stream *stream, struct event *event);
/* A call that a capture forbids, as cuMemAlloc in global mode: the error, and the captures of this
 * thread (in global mode of all) are broken. 0: none is under way. */
CUresult capture_forbids(struct context *context);
/* A call on a stream that captures, as cuStreamSynchronize: the same. */
CUresult capture_forbids_stream(struct stream *stream);
/* The legacy stream would have to wait for work that is only being recorded. */
bool stream_waits_for_capture(const struct stream *stream);
/* Runs a graph's nodes. */
CUresult graph_execute(struct context *context, struct graph *graph);
void graph_release(struct graph *graph);
void graph_hold(struct graph *graph);
/* The stream takes no more part in its capture, which is broken by that. */
void capture_leave(struct stream *stream);

/* ---- the one state (driver_core.c) ---------------------------------------------------------- */

struct driver {
    pthread_mutex_t lock;
    pthread_cond_t turned; /* a piece of work that ran without the lock is done */
    bool ready;
    pid_t process; /* that called cuInit: a fork has nothing to clean up */
    struct settings settings;
    struct memory memory; /* of the card; all contexts share it */
    struct reporter reporter;
    struct count_report *report; /* NULL: nothing is counted */
    struct context *primary;
    unsigned primary_flags;
    struct object *objects[OBJECT_KINDS];
    int n_objects[OBJECT_KINDS]; /* ever made */
    uint64_t n_works, n_captures;
    long n_allocations; /* for SOFTCUDA_FAIL_ALLOC */
    uint64_t random;
};
extern struct driver driver;

/* Locks. NOT_INITIALIZED before cuInit. */
CUresult enter(void);
/* The same, and the thread's current context: INVALID_CONTEXT, or its fault. */
CUresult enter_context(struct context **context);
/* The same, and a stream of it. */
CUresult enter_stream(CUstream handle, struct context **context, struct stream **stream);
/* As enter, for calls of a device: INVALID_DEVICE for another than 0. */
CUresult enter_device(CUdevice device);
/* Unlocks, and ends the process with code 99 where a checker has reported. */
CUresult leave(CUresult result);
/* The thread's current context. INVALID_CONTEXT: none; CONTEXT_IS_DESTROYED. */
CUresult context_current(struct context **context);

/* Puts an object into its list, with a number. */
void object_add(struct object *object, enum object_kind kind, struct context *context);
void object_remove(struct object *object);
/* INVALID_HANDLE where the pointer is no living object of that kind. */
CUresult object_find(const void *handle, enum object_kind kind, void *object);

/* The context's own: modules, graphs, ... (driver_context.c). */
void context_close(struct context *context);
void module_close(struct module *module);         /* driver_module.c */
void executable_close(struct object *executable); /* driver_graph.c */
void graph_close(struct object *graph);
void event_close(struct event *event); /* driver_stream.c */
/* Device memory under SOFTCUDA_FAIL_ALLOC; NULL: none left. (driver_memory.c) */
struct allocation *device_allocate(struct context *context, uint64_t bytes, const char *label);
bool device_free(uint64_t address);
void memory_free_owned(struct context *context); /* all that it has left */

uint64_t random_below(uint64_t n); /* by SOFTCUDA_SEED */
/* Says which memory of a context that goes was never freed. The process goes on till its end. */
void leaks_of_context(const struct context *context);
/* "softcuda: TEXT" on standard error. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
