/* See cuda_calls.h. */
#include "tests/cuda_calls.h"

#include <string.h>

char cuda_calls[4096];
static size_t n_calls;
static struct cuda_driver real; /* its library is NULL: nothing is wrapped */

/* Page-locked memory. */
static struct {
    const char *begin;
    size_t bytes;
} pinned[16];
static int n_pinned;

void cuda_calls_note(char call)
{
    if (n_calls > 0 && cuda_calls[n_calls - 1] == call && strchr("LdMcz", call))
        return;
    ck_assert_uint_lt(n_calls, sizeof cuda_calls - 1);
    cuda_calls[n_calls++] = call;
    cuda_calls[n_calls] = '\0';
}

void cuda_calls_clear(void)
{
    n_calls = 0;
    cuda_calls[0] = '\0';
}

/* The host goes on beside a copy from or to page-locked memory only. */
static void check_pinned(const void *host, size_t bytes)
{
    for (int i = 0; i < n_pinned; i++)
        if ((const char *)host >= pinned[i].begin &&
            (const char *)host + bytes <= pinned[i].begin + pinned[i].bytes)
            return;
    ck_abort_msg("%zu bytes at %p are not page-locked; %s", bytes, host, cuda_calls);
}

static CUresult launch(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                       unsigned by, unsigned bz, unsigned shared, CUstream stream, void **values,
                       void **extra)
{
    cuda_calls_note('L');
    ck_assert_ptr_eq(stream, cuda_test.cuda->stream);
    return real.LaunchKernel(f, gx, gy, gz, bx, by, bz, shared, stream, values, extra);
}

static CUresult copy_to(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    cuda_calls_note('u');
    check_pinned(from, bytes);
    ck_assert_ptr_eq(stream, cuda_test.cuda->stream);
    return real.MemcpyHtoDAsync(to, from, bytes, stream);
}

static CUresult copy_from(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    cuda_calls_note('d');
    check_pinned(to, bytes);
    ck_assert_ptr_eq(stream, cuda_test.cuda->stream);
    return real.MemcpyDtoHAsync(to, from, bytes, stream);
}

static CUresult copy_within(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    cuda_calls_note('c');
    ck_assert_ptr_eq(stream, cuda_test.cuda->stream);
    return real.MemcpyDtoDAsync(to, from, bytes, stream);
}

static CUresult clear(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream)
{
    cuda_calls_note('z');
    ck_assert_ptr_eq(stream, cuda_test.cuda->stream);
    return real.MemsetD8Async(to, value, bytes, stream);
}

static CUresult record(CUevent event, CUstream stream)
{
    cuda_calls_note('r');
    return real.EventRecord(event, stream);
}

static CUresult wait_event(CUevent event)
{
    cuda_calls_note('W');
    return real.EventSynchronize(event);
}

static CUresult wait_stream(CUstream stream)
{
    cuda_calls_note('S');
    return real.StreamSynchronize(stream);
}

static CUresult allocate(CUdeviceptr *address, size_t bytes)
{
    cuda_calls_note('A');
    return real.MemAlloc(address, bytes);
}

static CUresult release(CUdeviceptr address)
{
    cuda_calls_note('F');
    return real.MemFree(address);
}

static CUresult allocate_host(void **address, size_t bytes, unsigned flags)
{
    cuda_calls_note('P');
    CUresult result = real.MemHostAlloc(address, bytes, flags);
    ck_assert_int_lt(n_pinned, 16);
    pinned[n_pinned].begin = *address;
    pinned[n_pinned++].bytes = bytes;
    return result;
}

static CUresult load_module(CUmodule *module, const void *image)
{
    cuda_calls_note('M');
    return real.ModuleLoadData(module, image);
}

static CUresult load_function(CUfunction *function, CUmodule module, const char *name)
{
    cuda_calls_note('M');
    return real.ModuleGetFunction(function, module, name);
}

void cuda_calls_listen(void)
{
    struct cuda_driver *driver = &cuda_test.cuda->driver;
    if (!real.library)
        real = *driver;
    driver->LaunchKernel = launch;
    driver->MemcpyHtoDAsync = copy_to;
    driver->MemcpyDtoHAsync = copy_from;
    driver->MemcpyDtoDAsync = copy_within;
    driver->MemsetD8Async = clear;
    driver->EventRecord = record;
    driver->EventSynchronize = wait_event;
    driver->StreamSynchronize = wait_stream;
    driver->MemAlloc = allocate;
    driver->MemFree = release;
    driver->MemHostAlloc = allocate_host;
    driver->ModuleLoadData = load_module;
    driver->ModuleGetFunction = load_function;
}

void cuda_calls_listen_to_memory(void)
{
    struct cuda_driver *driver = &cuda_test.cuda->driver;
    if (!real.library)
        real = *driver;
    driver->MemAlloc = allocate;
    driver->MemHostAlloc = allocate_host;
    driver->ModuleLoadData = load_module;
    driver->ModuleGetFunction = load_function;
}

void cuda_calls_end(void)
{
    cuda_test.cuda->driver = real;
    real.library = NULL;
}
