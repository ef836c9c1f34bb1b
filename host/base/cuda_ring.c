/* See cuda_ring.h. */
#include "host/base/cuda_ring.h"

#include <assert.h>
#include "host/base/cuda_memory.h"
#include "host/base/interrupt.h"

enum status cuda_ring_open(struct cuda_ring *ring, struct cuda_device *cuda, int n, size_t bytes,
                           struct err *err)
{
    assert(n <= CUDA_RING_LARGEST);
    *ring = (struct cuda_ring){.cuda = cuda, .n = n};
    for (int i = 0; i < n; i++) {
        TRY(cuda_pinned_alloc(cuda, &ring->slots[i].host, bytes, err));
        CUDA_TRY(&cuda->driver, err, EventCreate, &ring->slots[i].idle, CU_EVENT_DISABLE_TIMING);
    }
    return STATUS_OK;
}

void cuda_ring_close(struct cuda_ring *ring)
{
    struct cuda_device *cuda = ring->cuda;
    if (!cuda)
        return;
    cuda->driver.StreamSynchronize(cuda->stream);
    for (int i = 0; i < ring->n; i++) {
        cuda_pinned_free(cuda, ring->slots[i].host);
        if (ring->slots[i].idle)
            cuda->driver.EventDestroy(ring->slots[i].idle);
    }
    *ring = (struct cuda_ring){0};
}

enum status cuda_ring_take(struct cuda_ring *ring, int *slot, struct err *err)
{
    TRY(interrupt_check(err));
    *slot = ring->next;
    ring->next = (ring->next + 1) % ring->n;
    if (ring->slots[*slot].used)
        CUDA_TRY(&ring->cuda->driver, err, EventSynchronize, ring->slots[*slot].idle);
    return STATUS_OK;
}

enum status cuda_ring_leave(struct cuda_ring *ring, int slot, struct err *err)
{
    struct cuda_device *cuda = ring->cuda;
    CUDA_TRY(&cuda->driver, err, EventRecord, ring->slots[slot].idle, cuda->stream);
    ring->slots[slot].used = true;
    return STATUS_OK;
}
