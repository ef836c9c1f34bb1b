/* See cuda_memory.h. */
#include "host/base/cuda_memory.h"

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

enum status cuda_memory_free(struct cuda_device *cuda, size_t *bytes, struct err *err)
{
    size_t total;
    CUDA_TRY(&cuda->driver, err, MemGetInfo, bytes, &total);
    return STATUS_OK;
}

enum status cuda_arena_open(struct cuda_arena *arena, struct cuda_device *cuda, const char *what,
                            const char *advice, struct err *err)
{
    size_t bytes = arena->most, available;
    TRY(cuda_memory_free(cuda, &available, err));
    *arena = (struct cuda_arena){.bytes = bytes};
    if (bytes == 0)
        return STATUS_OK;
    /* The driver decides: what is free to it may be a little less than it says. */
    if (bytes > available || cuda->driver.MemAlloc(&arena->base, bytes) != CUDA_SUCCESS) {
        arena->base = 0;
        return err_set(err, STATUS_RESOURCE,
                       "cuda:%d: %s needs %.0f MB, of which %.0f MB are not free (%s has %.0f MB, "
                       "%.0f MB of them free); %s",
                       cuda->ordinal, what, (double)bytes / 1e6,
                       (double)(bytes > available ? bytes - available : 0) / 1e6, cuda->info.name,
                       (double)cuda->info.memory / 1e6, (double)available / 1e6, advice);
    }
    return STATUS_OK;
}

void cuda_arena_close(struct cuda_arena *arena, struct cuda_device *cuda)
{
    if (arena->base)
        cuda->driver.MemFree(arena->base);
    *arena = (struct cuda_arena){0};
}

/* ---- the host's side ------------------------------------------------------------------------ */

enum status cuda_pinned_alloc(struct cuda_device *cuda, void **out, size_t bytes, struct err *err)
{
    *out = NULL;
    if (cuda->driver.MemHostAlloc(out, bytes, 0) != CUDA_SUCCESS) {
        *out = NULL;
        return err_set(err, STATUS_RESOURCE,
                       "cuda: no %.0f MB of page-locked host memory; close other programs",
                       (double)bytes / 1e6);
    }
    return STATUS_OK;
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
