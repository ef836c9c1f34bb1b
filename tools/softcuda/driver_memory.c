/* Device memory, and host memory that the device may reach. */
#define _GNU_SOURCE
#include "tools/softcuda/driver.h"

#include <string.h>
#include <sys/mman.h>
#include "host/base/memory.h"

/* ---- allocations ---------------------------------------------------------------------------- */

/* SOFTCUDA_FAIL_ALLOC: this one is to fail. */
static bool fails_now(void)
{
    return ++driver.n_allocations == driver.settings.fail_alloc;
}

struct allocation *device_allocate(struct context *context, uint64_t bytes, const char *label)
{
    struct allocation *allocation =
        fails_now() ? NULL : memory_allocate(&driver.memory, bytes, label);
    if (allocation)
        allocation->owner = context;
    return allocation;
}

bool device_free(uint64_t address)
{
    return memory_free(&driver.memory, address);
}

static size_t whole_pages(size_t bytes)
{
    return (bytes + 4095) / 4096 * 4096;
}

static void free_pinned(struct allocation *allocation)
{
    void *host = allocation->registered ? NULL : allocation->host;
    size_t bytes = allocation->size;
    memory_free(&driver.memory, allocation->base);
    if (host)
        munmap(host, whole_pages(bytes));
}

void memory_free_owned(struct context *context)
{
    for (int i = driver.memory.count - 1; i >= 0; i--) {
        struct allocation *allocation = driver.memory.table[i];
        if (allocation->owner != context)
            continue;
        if (allocation->pinned)
            free_pinned(allocation);
        else
            memory_free(&driver.memory, allocation->base);
    }
}

static CUresult allocate(struct context *context, CUdeviceptr *address, size_t bytes)
{
    if (!address || bytes == 0)
        return CUDA_ERROR_INVALID_VALUE;
    struct allocation *allocation = device_allocate(context, bytes, NULL);
    if (!allocation)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *address = allocation->base;
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr *address, size_t bytes)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result)
        result = capture_forbids(context);
    if (!result)
        result = allocate(context, address, bytes);
    return leave(result);
}

/* At once, whatever waits in the stream: nobody can tell. */
CUresult cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream handle)
{
    struct context *context;
    struct stream *stream;
    CUresult result = enter_stream(handle, &context, &stream);
    if (!result)
        result = capture_forbids_stream(stream);
    if (!result)
        result = allocate(context, address, bytes);
    return leave(result);
}

/* The allocation of cuMemAlloc's that begins at address. */
static struct allocation *device_base(CUdeviceptr address)
{
    struct allocation *allocation = memory_find(&driver.memory, address);
    return allocation && allocation->base == address && !allocation->pinned && !allocation->label
               ? allocation
               : NULL;
}

/* Waits for all work, which may use the memory: so does the real call. */
CUresult cuMemFree(CUdeviceptr address)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result && address) {
        result = capture_forbids(context);
        if (!result && !device_base(address))
            result = CUDA_ERROR_INVALID_VALUE;
        if (!result)
            result = queue_finish_all(context);
        if (!result)
            device_free(address);
    }
    return leave(result);
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle)
{
    struct context *context;
    struct stream *stream;
    CUresult result = enter_stream(handle, &context, &stream);
    if (!result && !device_base(address))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result) {
        struct work *work = work_create(WORK_FREE);
        if (work)
            work->free_address = address;
        result = work ? work_submit(stream, work, NULL) : CUDA_ERROR_OUT_OF_MEMORY;
    }
    return leave(result);
}

CUresult cuMemGetInfo(size_t *free_bytes, size_t *total)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result && (!free_bytes || !total))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result) {
        *total = driver.memory.card_bytes;
        *free_bytes = driver.memory.card_bytes - driver.memory.used;
    }
    return leave(result);
}

CUresult cuMemGetAddressRange(CUdeviceptr *base, size_t *size, CUdeviceptr address)
{
    struct context *context;
    const struct allocation *allocation = NULL;
    CUresult result = enter_context(&context);
    if (!result) {
        allocation = memory_find(&driver.memory, address);
        result = allocation ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
    }
    if (!result && base)
        *base = allocation->base;
    if (!result && size)
        *size = allocation->size;
    return leave(result);
}

/* ---- pinned host memory --------------------------------------------------------------------- */

#define HOST_ALLOC_FLAGS                                                                           \
    (CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED)

static CUresult allocate_host(struct context *context, void **pointer, size_t bytes, unsigned flags)
{
    if (!pointer || bytes == 0 || flags & ~(unsigned)HOST_ALLOC_FLAGS)
        return CUDA_ERROR_INVALID_VALUE;
    if (fails_now())
        return CUDA_ERROR_OUT_OF_MEMORY;
    void *host =
        mmap(NULL, whole_pages(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (host == MAP_FAILED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct allocation *allocation = memory_register(&driver.memory, host, bytes);
    if (!allocation) {
        munmap(host, whole_pages(bytes));
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    allocation->owner = context;
    *pointer = host;
    return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result)
        result = capture_forbids(context);
    if (!result)
        result = allocate_host(context, pointer, bytes, flags);
    return leave(result);
}

CUresult cuMemAllocHost(void **pointer, size_t bytes)
{
    return cuMemHostAlloc(pointer, bytes, 0);
}

/* The pinned memory that `pointer` lies in. */
static struct allocation *pinned_at(const void *pointer)
{
    return memory_find(&driver.memory, (uint64_t)(uintptr_t)pointer);
}

static CUresult free_host(struct context *context, void *pointer)
{
    struct allocation *allocation = pinned_at(pointer);
    if (!allocation || allocation->host != pointer || allocation->registered)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = queue_finish_all(context);
    if (!result)
        free_pinned(allocation);
    return result;
}

CUresult cuMemFreeHost(void *pointer)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result)
        result = capture_forbids(context);
    if (!result)
        result = free_host(context, pointer);
    return leave(result);
}

CUresult cuMemHostGetDevicePointer(CUdeviceptr *address, void *pointer, unsigned flags)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result && (!address || flags != 0 || !pinned_at(pointer)))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *address = (CUdeviceptr)(uintptr_t)pointer;
    return leave(result);
}

CUresult cuMemHostGetFlags(unsigned *flags, void *pointer)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result && (!flags || !pinned_at(pointer)))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *flags = CU_MEMHOSTALLOC_DEVICEMAP; /* with unified addresses all of it is mapped */
    return leave(result);
}

static CUresult register_host(struct context *context, void *pointer, size_t bytes, unsigned flags)
{
    if (!pointer || bytes == 0 || flags & ~(unsigned)CU_MEMHOSTREGISTER_FLAGS_MASK)
        return CUDA_ERROR_INVALID_VALUE;
    uint64_t begin = (uint64_t)(uintptr_t)pointer;
    const struct allocation *before = memory_nearest(&driver.memory, begin + bytes - 1);
    if (before && before->base + before->size > begin)
        return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    struct allocation *allocation = memory_register(&driver.memory, pointer, bytes);
    if (!allocation)
        return CUDA_ERROR_OUT_OF_MEMORY;
    allocation->owner = context;
    allocation->registered = true;
    return CUDA_SUCCESS;
}

CUresult cuMemHostRegister(void *pointer, size_t bytes, unsigned flags)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result)
        result = capture_forbids(context);
    if (!result)
        result = register_host(context, pointer, bytes, flags);
    return leave(result);
}

CUresult cuMemHostUnregister(void *pointer)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result) {
        struct allocation *allocation = pinned_at(pointer);
        if (!allocation || allocation->host != pointer || !allocation->registered)
            result = CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
        else if (!(result = queue_finish_all(context)))
            free_pinned(allocation);
    }
    return leave(result);
}

/* ---- what an address is --------------------------------------------------------------------- */

static CUresult attribute_of(void *data, CUpointer_attribute attribute,
                             const struct allocation *allocation, CUdeviceptr address)
{
    unsigned type = allocation->pinned ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
    void *host = (void *)(uintptr_t)address;
    size_t size = allocation->size;
    CUdevice device = 0;
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        memcpy(data, &allocation->owner, sizeof allocation->owner);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        memcpy(data, &type, sizeof type);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        memcpy(data, &address, sizeof address);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        if (!allocation->pinned)
            return CUDA_ERROR_INVALID_VALUE;
        memcpy(data, &host, sizeof host);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *(unsigned char *)data = 0;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        memcpy(data, &device, sizeof device);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        memcpy(data, &allocation->base, sizeof allocation->base);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        memcpy(data, &size, sizeof size);
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr address)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result && (!data || (int)attribute < 1 || attribute > CU_POINTER_ATTRIBUTE_LARGEST))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result) {
        const struct allocation *allocation = memory_find(&driver.memory, address);
        result = allocation ? attribute_of(data, attribute, allocation, address)
                            : CUDA_ERROR_INVALID_VALUE;
    }
    return leave(result);
}

ALSO_EXPORTED(cuMemAlloc_v2, cuMemAlloc);
ALSO_EXPORTED(cuMemFree_v2, cuMemFree);
ALSO_EXPORTED(cuMemGetInfo_v2, cuMemGetInfo);
ALSO_EXPORTED(cuMemGetAddressRange_v2, cuMemGetAddressRange);
ALSO_EXPORTED(cuMemAllocHost_v2, cuMemAllocHost);
ALSO_EXPORTED(cuMemHostGetDevicePointer_v2, cuMemHostGetDevicePointer);
ALSO_EXPORTED(cuMemHostRegister_v2, cuMemHostRegister);
