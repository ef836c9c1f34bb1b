/* Copies and fills.
 *
 * A copy to or from pinned host memory looks at it when it runs, so that a program that changes or
 * reads it too early sees that. Pageable memory is another matter, as the manual has it: from it a
 * copy is staged before the call returns, and to it the call returns when the copy is done. The
 * blocking copies run on the legacy stream; those within the device, and fills, do not block. */
#include "tools/softcuda/driver.h"

#include <string.h>
#include "host/base/memory.h"

static bool is_device(uint64_t address)
{
    return address >> WINDOW_SHIFT != WINDOW_HOST;
}

/* All of it within one allocation, or in host memory that is not pinned: "memory regions spanning
 * over allocations that are both registered and not registered" are refused. */
static bool is_valid(uint64_t address, size_t bytes, bool must_be_device)
{
    const struct allocation *allocation = memory_find(&driver.memory, address);
    if (allocation)
        return bytes <= allocation->size - (address - allocation->base);
    if (must_be_device || is_device(address) || address == 0)
        return false;
    allocation = memory_nearest(&driver.memory, address + bytes - 1);
    return !allocation || allocation->base < address;
}

static bool is_pageable(uint64_t address)
{
    return !is_device(address) && !memory_find(&driver.memory, address);
}

/* What each side must be. */
enum side { SIDE_ANY, SIDE_DEVICE, SIDE_HOST };

static bool side_fits(uint64_t address, size_t bytes, enum side side)
{
    if (side == SIDE_HOST && is_device(address))
        return false;
    return is_valid(address, bytes, side == SIDE_DEVICE);
}

struct copy {
    uint64_t to, from;
    size_t bytes;
    enum side to_side, from_side;
};

/* asynchronous: the call on a stream. */
static CUresult submit_copy(struct stream *stream, const struct copy *copy, bool asynchronous)
{
    struct context *context = stream->object.context;
    if (copy->bytes == 0)
        return CUDA_SUCCESS;
    if (!side_fits(copy->to, copy->bytes, copy->to_side) ||
        !side_fits(copy->from, copy->bytes, copy->from_side))
        return CUDA_ERROR_INVALID_VALUE;
    struct work *work = work_create(WORK_COPY);
    if (!work)
        return CUDA_ERROR_OUT_OF_MEMORY;
    work->copy = (struct copy_work){.to = copy->to, .from = copy->from, .bytes = copy->bytes};
    bool within = is_device(copy->to) && is_device(copy->from);
    bool waits = asynchronous ? is_pageable(copy->to) : !within;
    if (stream->capture)
        waits = false;
    else if (asynchronous && is_pageable(copy->from)) {
        work->copy.staged = mem_alloc(copy->bytes, 1);
        if (!work->copy.staged) {
            work_release(work);
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        memcpy(work->copy.staged, (const void *)(uintptr_t)copy->from, copy->bytes);
    }
    work->n_holders++;
    CUresult result = work_submit(stream, work, NULL);
    if (!result && waits)
        result = queue_finish_work(context, work);
    work_release(work);
    return result;
}

static CUresult copy_now(struct copy copy)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result)
        result = capture_forbids(context);
    if (!result)
        result = submit_copy(context->null_stream, &copy, false);
    return leave(result);
}

static CUresult copy_later(struct copy copy, CUstream handle)
{
    struct context *context;
    struct stream *stream;
    CUresult result = enter_stream(handle, &context, &stream);
    if (!result)
        result = submit_copy(stream, &copy, true);
    return leave(result);
}

static uint64_t address_of(const void *host)
{
    return (uint64_t)(uintptr_t)host;
}

CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    return copy_now((struct copy){to, from, bytes, SIDE_ANY, SIDE_ANY});
}

CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t bytes)
{
    return copy_now((struct copy){to, address_of(from), bytes, SIDE_DEVICE, SIDE_HOST});
}

CUresult cuMemcpyDtoH(void *to, CUdeviceptr from, size_t bytes)
{
    return copy_now((struct copy){address_of(to), from, bytes, SIDE_HOST, SIDE_DEVICE});
}

CUresult cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    return copy_now((struct copy){to, from, bytes, SIDE_DEVICE, SIDE_DEVICE});
}

CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    return copy_later((struct copy){to, from, bytes, SIDE_ANY, SIDE_ANY}, stream);
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    return copy_later((struct copy){to, address_of(from), bytes, SIDE_DEVICE, SIDE_HOST}, stream);
}

CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    return copy_later((struct copy){address_of(to), from, bytes, SIDE_HOST, SIDE_DEVICE}, stream);
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    return copy_later((struct copy){to, from, bytes, SIDE_DEVICE, SIDE_DEVICE}, stream);
}

/* ---- fills ---------------------------------------------------------------------------------- */

static CUresult submit_fill(struct stream *stream, struct fill_work fill)
{
    if (fill.n == 0)
        return CUDA_SUCCESS;
    if (fill.to % (unsigned)fill.width != 0 || fill.n > SIZE_MAX / 4 ||
        !is_valid(fill.to, fill.n * (size_t)fill.width, true))
        return CUDA_ERROR_INVALID_VALUE;
    struct work *work = work_create(WORK_FILL);
    if (!work)
        return CUDA_ERROR_OUT_OF_MEMORY;
    work->fill = fill;
    return work_submit(stream, work, NULL);
}

static CUresult fill_now(struct fill_work fill)
{
    struct context *context;
    CUresult result = enter_context(&context);
    if (!result)
        result = capture_forbids(context);
    if (!result)
        result = submit_fill(context->null_stream, fill);
    return leave(result);
}

static CUresult fill_later(struct fill_work fill, CUstream handle)
{
    struct context *context;
    struct stream *stream;
    CUresult result = enter_stream(handle, &context, &stream);
    if (!result)
        result = submit_fill(stream, fill);
    return leave(result);
}

CUresult cuMemsetD8(CUdeviceptr to, unsigned char value, size_t n)
{
    return fill_now((struct fill_work){to, n, 1, value});
}

CUresult cuMemsetD16(CUdeviceptr to, unsigned short value, size_t n)
{
    return fill_now((struct fill_work){to, n, 2, value});
}

CUresult cuMemsetD32(CUdeviceptr to, unsigned value, size_t n)
{
    return fill_now((struct fill_work){to, n, 4, value});
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t n, CUstream stream)
{
    return fill_later((struct fill_work){to, n, 1, value}, stream);
}

CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t n, CUstream stream)
{
    return fill_later((struct fill_work){to, n, 2, value}, stream);
}

CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t n, CUstream stream)
{
    return fill_later((struct fill_work){to, n, 4, value}, stream);
}

ALSO_EXPORTED(cuMemcpyHtoD_v2, cuMemcpyHtoD);
ALSO_EXPORTED(cuMemcpyDtoH_v2, cuMemcpyDtoH);
ALSO_EXPORTED(cuMemcpyDtoD_v2, cuMemcpyDtoD);
ALSO_EXPORTED(cuMemcpyHtoDAsync_v2, cuMemcpyHtoDAsync);
ALSO_EXPORTED(cuMemcpyDtoHAsync_v2, cuMemcpyDtoHAsync);
ALSO_EXPORTED(cuMemcpyDtoDAsync_v2, cuMemcpyDtoDAsync);
ALSO_EXPORTED(cuMemsetD8_v2, cuMemsetD8);
ALSO_EXPORTED(cuMemsetD16_v2, cuMemsetD16);
ALSO_EXPORTED(cuMemsetD32_v2, cuMemsetD32);
