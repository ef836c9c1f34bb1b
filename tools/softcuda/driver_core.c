/* The driver's one state: starting it, its lock, its objects, and the end of the process. See
 * driver.h. */
#define _GNU_SOURCE
#include "tools/softcuda/driver.h"
#include "tools/softcuda/mix.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include "tools/softcuda/check_memory.h"
#include "tools/softcuda/resources.h"

const char softcuda_version[] __attribute__((visibility("default"))) = "softcuda 1";

struct driver driver = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .turned = PTHREAD_COND_INITIALIZER,
};

/* ---- small pieces --------------------------------------------------------------------------- */

void say(const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "softcuda: %s\n", text);
}

uint64_t random_below(uint64_t n)
{
    return next_random(&driver.random) % n;
}

/* ---- objects -------------------------------------------------------------------------------- */

void object_add(struct object *object, enum object_kind kind, struct context *context)
{
    object->kind = kind;
    object->context = context;
    object->number = ++driver.n_objects[kind];
    object->previous = NULL;
    object->next = driver.objects[kind];
    if (object->next)
        object->next->previous = object;
    driver.objects[kind] = object;
}

void object_remove(struct object *object)
{
    if (object->previous)
        object->previous->next = object->next;
    else
        driver.objects[object->kind] = object->next;
    if (object->next)
        object->next->previous = object->previous;
}

/* Programs hold few objects at a time, and mostly use what they made last. */
CUresult object_find(const void *handle, enum object_kind kind, void *object)
{
    for (struct object *at = driver.objects[kind]; at; at = at->next)
        if (at == handle) {
            memcpy(object, &at, sizeof at);
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_INVALID_HANDLE;
}

/* ---- the end of the process ----------------------------------------------------------------- */

#define MOST_LEAKS 20

static int n_leaks;

static bool leak(void)
{
    return ++n_leaks <= MOST_LEAKS;
}

static void report_memory(const struct allocation *allocation, const char *when)
{
    if (!allocation->label && leak())
        say("error: leak: allocation %d of %llu bytes of %s memory was %s %s", allocation->number,
            (unsigned long long)allocation->size, allocation->pinned ? "pinned host" : "device",
            when, allocation->registered ? "unregistered" : "freed");
}

void leaks_of_context(const struct context *context)
{
    for (int i = 0; driver.reporter.checks & CHECK_LEAK && i < driver.memory.count; i++)
        if (driver.memory.table[i]->owner == context)
            report_memory(driver.memory.table[i], "in a context that was destroyed, and never");
}

static void report_leaks(void)
{
    for (int i = 0; i < driver.memory.count; i++)
        report_memory(driver.memory.table[i], "never");
    static const struct {
        enum object_kind kind;
        const char *name, *what;
    } kinds[] = {
        {OBJECT_CONTEXT, "context", "destroyed"},       {OBJECT_MODULE, "module", "unloaded"},
        {OBJECT_STREAM, "stream", "destroyed"},         {OBJECT_EVENT, "event", "destroyed"},
        {OBJECT_EXECUTABLE, "graph exec", "destroyed"}, {OBJECT_GRAPH, "graph", "destroyed"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (const struct object *at = driver.objects[kinds[i].kind]; at; at = at->next) {
            bool own =
                kinds[i].kind == OBJECT_CONTEXT
                    ? ((const struct context *)at)->primary
                    : kinds[i].kind == OBJECT_STREAM &&
                          (at == &at->context->null_stream->object ||
                           (at->context->per_thread && at == &at->context->per_thread->object));
            if (!own && leak())
                say("error: leak: %s %d was never %s", kinds[i].name, at->number, kinds[i].what);
        }
    if (n_leaks > MOST_LEAKS)
        say("error: leak: and %d more", n_leaks - MOST_LEAKS);
}

static void write_report(void)
{
    struct err err;
    if (driver.report && driver.settings.report &&
        count_report_write(driver.report, driver.settings.report, &err))
        say("error: %s", err.text);
}

static void end_now(void)
{
    write_report();
    int n = driver.reporter.n_reports + n_leaks;
    say("%d report%s: the process ends with code 99", n, n == 1 ? "" : "s");
    fflush(NULL);
    _exit(99);
}

/* Behind all of the program's own clean-up: the library is linked to stay loaded till then. */
__attribute__((destructor)) static void process_ends(void)
{
    if (!driver.ready || driver.process != getpid())
        return;
    pthread_mutex_lock(&driver.lock);
    driver.ready = false;
    /* What nobody waited for has not been looked at yet. */
    if (driver.report || driver.reporter.checks & ~(unsigned)CHECK_LEAK)
        for (struct object *at = driver.objects[OBJECT_CONTEXT]; at; at = at->next)
            queue_finish_all((struct context *)at);
    if (driver.reporter.checks & CHECK_LEAK)
        report_leaks();
    if (driver.reporter.n_reports + n_leaks > 0)
        end_now();
    write_report();
    pthread_mutex_unlock(&driver.lock);
}

/* ---- the lock ------------------------------------------------------------------------------- */

CUresult enter(void)
{
    pthread_mutex_lock(&driver.lock);
    return driver.ready ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

CUresult enter_context(struct context **context)
{
    CUresult result = enter();
    *context = NULL;
    if (result)
        return result;
    result = context_current(context);
    return result ? result : (*context)->fault;
}

CUresult enter_device(CUdevice device)
{
    CUresult result = enter();
    return !result && device != 0 ? CUDA_ERROR_INVALID_DEVICE : result;
}

CUresult enter_stream(CUstream handle, struct context **context, struct stream **stream)
{
    CUresult result = enter_context(context);
    return result ? result : stream_find(*context, handle, stream);
}

CUresult leave(CUresult result)
{
    if (driver.ready && driver.reporter.n_reports > 0)
        end_now();
    pthread_mutex_unlock(&driver.lock);
    return result;
}

/* ---- starting ------------------------------------------------------------------------------- */

static CUresult start(void)
{
    struct err err;
    if (settings_read(&driver.settings, &err) != STATUS_OK) {
        say("%s", err.text);
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (resources_open(driver.settings.resources, &err) != STATUS_OK) {
        say("%s", err.text);
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (driver.settings.report && report_can_be_written(driver.settings.report, &err)) {
        err_prefix(&err, "SOFTCUDA_REPORT");
        say("%s", err.text);
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (memory_open(&driver.memory, driver.settings.card->memory_bytes, &err) != STATUS_OK) {
        say("%s", err.text);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (driver.settings.checks & (CHECK_INIT | CHECK_RACE))
        check_attach(&driver.memory);
    if (driver.settings.report) {
        driver.report = count_report_open(driver.settings.card, driver.settings.sample);
        if (!driver.report)
            return CUDA_ERROR_OUT_OF_MEMORY;
    }
    driver.reporter = (struct reporter){.out = stderr, .checks = driver.settings.checks};
    driver.random = driver.settings.machine.seed;
    driver.process = getpid();
    driver.ready = true;
    return CUDA_SUCCESS;
}

CUresult cuInit(unsigned flags)
{
    if (flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&driver.lock);
    CUresult result = driver.ready ? CUDA_SUCCESS : start();
    pthread_mutex_unlock(&driver.lock);
    return result;
}
