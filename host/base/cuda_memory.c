/* See cuda_memory.h. */
#include "host/base/cuda_memory.h"

#include <stdio.h>
#include "host/base/amount.h"

static CUdeviceptr address_of(const void *device)
{
    return (CUdeviceptr)(uintptr_t)device;
}

/* ---- the arena ------------------------------------------------------------------------------ */

void *cuda_arena_take(struct cuda_arena *arena, size_t count, size_t size)
{
    size_t at = (arena->used + CUDA_ARENA_ALIGNMENT - 1) & ~(size_t)(CUDA_ARENA_ALIGNMENT - 1);
    arena->used = at + count * size;
    if (arena->used > arena->most)
        arena->most = arena->used;
    return (void *)(uintptr_t)(arena->base + at);
}

void cuda_arena_reset(struct cuda_arena *arena, size_t mark)
{
    arena->used = mark;
}

enum status cuda_arena_open(struct cuda_arena *arena, struct cuda_device *cuda, const char *what,
                            const char *advice, struct err *err)
{
    size_t bytes = arena->most;
    *arena = (struct cuda_arena){.base = 0};
    if (bytes == 0)
        return STATUS_OK;
    TRY(cuda_memory_take(cuda, &arena->base, bytes, what, advice, err));
    arena->bytes = bytes;
    return STATUS_OK;
}

void cuda_arena_close(struct cuda_arena *arena, struct cuda_device *cuda)
{
    cuda_memory_drop(cuda, arena->base, arena->bytes);
    *arena = (struct cuda_arena){0};
}

/* ---- the GPU's memory ----------------------------------------------------------------------- */

enum status cuda_memory_free(struct cuda_device *cuda, size_t *bytes, struct err *err)
{
    size_t total;
    CUDA_TRY(&cuda->driver, err, MemGetInfo, bytes, &total);
    return STATUS_OK;
}

enum status cuda_memory_take(struct cuda_device *cuda, CUdeviceptr *address, size_t bytes,
                             const char *what, const char *advice, struct err *err)
{
    size_t available;
    CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
    *address = 0;
    TRY(cuda_memory_free(cuda, &available, err));
    if (bytes <= available)
        result = cuda->driver.MemAlloc(address, bytes);
    if (result == CUDA_SUCCESS) {
        cuda->allocated.now += bytes;
        if (cuda->allocated.now > cuda->allocated.most)
            cuda->allocated.most = cuda->allocated.now;
        return STATUS_OK;
    }
    char missing[80];
    *address = 0;
    if (result != CUDA_ERROR_OUT_OF_MEMORY) /* what went wrong before may come to light here */
        return cuda_check(&cuda->driver, result, "cuMemAlloc", err);
    if (bytes > available)
        snprintf(missing, sizeof missing, "of which %s %s not free",
                 amount_of(bytes - available).text, bytes - available == 1 ? "is" : "are");
    else /* what is free lies in pieces, or the driver wants some of it */
        snprintf(missing, sizeof missing, "which the driver refuses in one piece");
    return err_set(err, STATUS_RESOURCE,
                   "cuda:%d: %s needs %s, %s (%s has %s, %s of them free); %s", cuda->ordinal, what,
                   amount_of(bytes).text, missing, cuda->info.name,
                   amount_of(cuda->info.memory).text, amount_of(available).text, advice);
}

void cuda_memory_drop(struct cuda_device *cuda, CUdeviceptr address, size_t bytes)
{
    if (!address)
        return;
    cuda->driver.MemFree(address);
    cuda->allocated.now -= bytes;
}

/* ---- the host's side ------------------------------------------------------------------------ */

enum status cuda_pinned_alloc(struct cuda_device *cuda, void **out, size_t bytes, struct err *err)
{
    *out = NULL;
    CUresult result = cuda->driver.MemHostAlloc(out, bytes, 0);
    if (result == CUDA_SUCCESS)
        return STATUS_OK;
    *out = NULL;
    if (result != CUDA_ERROR_OUT_OF_MEMORY)
        return cuda_check(&cuda->driver, result, "cuMemHostAlloc", err);
    return err_set(
        err, STATUS_RESOURCE,
        "cuda: no %s of page-locked host memory; close other programs, or use --device cpu",
        amount_of(bytes).text);
}

void cuda_pinned_free(struct cuda_device *cuda, void *pinned)
{
    if (pinned)
        cuda->driver.MemFreeHost(pinned);
}

enum status cuda_copy_to(struct cuda_device *cuda, void *device, const void *host, size_t bytes,
                         struct err *err)
{
    if (bytes > 0)
        CUDA_TRY(&cuda->driver, err, MemcpyHtoDAsync, address_of(device), host, bytes,
                 cuda->stream);
    return STATUS_OK;
}

enum status cuda_copy_from(struct cuda_device *cuda, void *host, const void *device, size_t bytes,
                           struct err *err)
{
    if (bytes > 0)
        CUDA_TRY(&cuda->driver, err, MemcpyDtoHAsync, host, address_of(device), bytes,
                 cuda->stream);
    return STATUS_OK;
}

enum status cuda_copy_within(struct cuda_device *cuda, void *to, const void *from, size_t bytes,
                             struct err *err)
{
    if (bytes > 0)
        CUDA_TRY(&cuda->driver, err, MemcpyDtoDAsync, address_of(to), address_of(from), bytes,
                 cuda->stream);
    return STATUS_OK;
}

enum status cuda_clear(struct cuda_device *cuda, void *device, size_t bytes, struct err *err)
{
    if (bytes > 0)
        CUDA_TRY(&cuda->driver, err, MemsetD8Async, address_of(device), 0, bytes, cuda->stream);
    return STATUS_OK;
}
