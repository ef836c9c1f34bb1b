/* Contexts: the primary one and the program's own, and which one a thread works in. */
#include "tools/softcuda/driver.h"

#include "host/base/memory.h"

/* ---- the thread's stack --------------------------------------------------------------------- */

#define STACK_LARGEST 64

static __thread CUcontext stack[STACK_LARGEST];
static __thread int depth;

/* A context that another thread has destroyed stays on the stack, and is found to be gone; so is
 * the primary one after its last release. */
CUresult context_current(struct context **context)
{
    if (depth == 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    return object_find(stack[depth - 1], OBJECT_CONTEXT, context) ? CUDA_ERROR_CONTEXT_IS_DESTROYED
                                                                  : CUDA_SUCCESS;
}

/* ---- opening and closing -------------------------------------------------------------------- */

static CUresult open_context(struct context **out, bool primary, unsigned flags)
{
    struct context *context = mem_alloc_zero(1, sizeof *context);
    if (!context)
        return CUDA_ERROR_OUT_OF_MEMORY;
    object_add(&context->object, OBJECT_CONTEXT, NULL);
    context->primary = primary;
    context->flags = flags;
    context->null_stream = stream_open(context, CU_STREAM_DEFAULT, 0);
    if (!context->null_stream) {
        object_remove(&context->object);
        mem_free(context);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *out = context;
    return CUDA_SUCCESS;
}

/* Everything but the context itself. */
static void empty(struct context *context)
{
    if (!context->fault)
        queue_finish_all(context);
    streams_close(context);
    for (int kind = 0; kind < OBJECT_KINDS; kind++)
        for (struct object *at = driver.objects[kind], *next; at; at = next) {
            next = at->next;
            if (at->context != context)
                continue;
            if (kind == OBJECT_MODULE) {
                module_close((struct module *)at);
                next = driver.objects[kind];
            } else if (kind == OBJECT_EVENT) {
                event_close((struct event *)at);
            } else if (kind == OBJECT_GRAPH) {
                graph_close(at);
            } else if (kind == OBJECT_EXECUTABLE) {
                executable_close(at);
            }
        }
    memory_free_owned(context);
}

void context_close(struct context *context)
{
    if (!context->fault)
        queue_finish_all(context); /* frees that still wait */
    leaks_of_context(context);
    empty(context);
    object_remove(&context->object);
    mem_free(context);
}

/* ---- the primary context -------------------------------------------------------------------- */

CUresult cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice device)
{
    CUresult result = enter_device(device);
    if (!result && !out)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result && !driver.primary)
        result = open_context(&driver.primary, true, driver.primary_flags);
    if (!result) {
        driver.primary->n_retained++;
        *out = (CUcontext)driver.primary;
    }
    return leave(result);
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
    CUresult result = enter_device(device);
    if (!result && !driver.primary)
        result = CUDA_ERROR_INVALID_CONTEXT;
    if (!result && --driver.primary->n_retained == 0) {
        context_close(driver.primary);
        driver.primary = NULL;
    }
    return leave(result);
}

CUresult cuDevicePrimaryCtxReset(CUdevice device)
{
    CUresult result = enter_device(device);
    if (!result && driver.primary) {
        int n = driver.primary->n_retained;
        empty(driver.primary);
        driver.primary->fault = CUDA_SUCCESS;
        driver.primary->n_retained = n;
        driver.primary->per_thread = NULL;
        driver.primary->null_stream = stream_open(driver.primary, CU_STREAM_DEFAULT, 0);
        if (!driver.primary->null_stream)
            result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    return leave(result);
}

CUresult cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned flags)
{
    CUresult result = enter_device(device);
    if (!result && flags & ~(unsigned)CU_CTX_FLAGS_MASK)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result) {
        driver.primary_flags = flags;
        if (driver.primary)
            driver.primary->flags = flags;
    }
    return leave(result);
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active)
{
    CUresult result = enter_device(device);
    if (!result && (!flags || !active))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result) {
        *flags = driver.primary_flags;
        *active = driver.primary != NULL;
    }
    return leave(result);
}

/* ---- contexts of the program's -------------------------------------------------------------- */

static CUresult push(CUcontext context)
{
    if (depth == STACK_LARGEST)
        return CUDA_ERROR_INVALID_VALUE;
    stack[depth++] = context;
    return CUDA_SUCCESS;
}

CUresult cuCtxCreate(CUcontext *out, unsigned flags, CUdevice device)
{
    struct context *context;
    CUresult result = enter_device(device);
    if (!result && (!out || flags & ~(unsigned)CU_CTX_FLAGS_MASK || depth == STACK_LARGEST))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        result = open_context(&context, false, flags);
    if (!result) {
        *out = (CUcontext)context;
        push(*out);
    }
    return leave(result);
}

CUresult cuCtxCreate_v4(CUcontext *out, void *parameters, unsigned flags, CUdevice device)
{
    return parameters ? CUDA_ERROR_NOT_SUPPORTED : cuCtxCreate(out, flags, device);
}

CUresult cuCtxDestroy(CUcontext handle)
{
    struct context *context;
    CUresult result = enter();
    if (!result && (!handle || object_find(handle, OBJECT_CONTEXT, &context)))
        result = handle ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_INVALID_VALUE;
    if (!result && context->primary)
        result = CUDA_ERROR_INVALID_CONTEXT;
    if (!result) {
        context_close(context);
        if (depth > 0 && stack[depth - 1] == handle)
            depth--;
    }
    return leave(result);
}

CUresult cuCtxSetCurrent(CUcontext handle)
{
    struct context *context;
    CUresult result = enter();
    if (!result && handle && object_find(handle, OBJECT_CONTEXT, &context))
        result = CUDA_ERROR_INVALID_CONTEXT;
    if (!result) {
        if (depth > 0)
            depth--;
        if (handle)
            result = push(handle);
    }
    return leave(result);
}

CUresult cuCtxGetCurrent(CUcontext *out)
{
    CUresult result = enter();
    if (!result && !out)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *out = depth > 0 ? stack[depth - 1] : NULL;
    return leave(result);
}

CUresult cuCtxPushCurrent(CUcontext handle)
{
    struct context *context;
    CUresult result = enter();
    if (!result && object_find(handle, OBJECT_CONTEXT, &context))
        result = CUDA_ERROR_INVALID_CONTEXT;
    if (!result)
        result = push(handle);
    return leave(result);
}

CUresult cuCtxPopCurrent(CUcontext *out)
{
    CUresult result = enter();
    if (!result && depth == 0)
        result = CUDA_ERROR_INVALID_CONTEXT;
    if (!result) {
        depth--;
        if (out)
            *out = stack[depth];
    }
    return leave(result);
}

CUresult cuCtxGetDevice(CUdevice *device)
{
    struct context *context;
    CUresult result = enter();
    if (!result)
        result = context_current(&context);
    if (!result && !device)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *device = 0;
    return leave(result);
}

CUresult cuCtxGetFlags(unsigned *flags)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result && !flags)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *flags = context->flags;
    return leave(result);
}

CUresult cuCtxGetApiVersion(CUcontext handle, unsigned *version)
{
    struct context *context;
    CUresult result = enter();
    if (!result && handle && object_find(handle, OBJECT_CONTEXT, &context))
        result = CUDA_ERROR_INVALID_CONTEXT;
    if (!result && !version)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *version = 3020;
    return leave(result);
}

ALSO_EXPORTED(cuDevicePrimaryCtxRelease_v2, cuDevicePrimaryCtxRelease);
ALSO_EXPORTED(cuDevicePrimaryCtxReset_v2, cuDevicePrimaryCtxReset);
ALSO_EXPORTED(cuDevicePrimaryCtxSetFlags_v2, cuDevicePrimaryCtxSetFlags);
ALSO_EXPORTED(cuCtxCreate_v2, cuCtxCreate);
ALSO_EXPORTED(cuCtxDestroy_v2, cuCtxDestroy);
ALSO_EXPORTED(cuCtxPushCurrent_v2, cuCtxPushCurrent);
ALSO_EXPORTED(cuCtxPopCurrent_v2, cuCtxPopCurrent);
