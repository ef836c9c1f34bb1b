/* A ring of page-locked memory on its way to a GPU: the host fills a slot while the copies from the
 * others, and what was queued behind them, are under way. */
#ifndef MIDASHI_BASE_CUDA_RING_H
#define MIDASHI_BASE_CUDA_RING_H

#include "host/base/cuda_device.h"

#define CUDA_RING_LARGEST 4

struct cuda_ring {
    struct cuda_device *cuda; /* borrowed; NULL: nothing is open */
    int n, next;
    struct {
        void *host;   /* page-locked, owned */
        CUevent idle; /* what was queued with it is done; owned */
        bool used;
    } slots[CUDA_RING_LARGEST];
};

/* n <= CUDA_RING_LARGEST slots of so many bytes. Close after a failure too. */
enum status cuda_ring_open(struct cuda_ring *ring, struct cuda_device *cuda, int n, size_t bytes,
                           struct err *err);
/* Waits for the stream, whose copies may still read the slots. A zeroed one is allowed. */
void cuda_ring_close(struct cuda_ring *ring);

/* The next slot, once what was queued with it is done. STATUS_INTERRUPTED. */
enum status cuda_ring_take(struct cuda_ring *ring, int *slot, struct err *err);
/* After the last thing that uses the slot has been queued on the device's stream. */
enum status cuda_ring_leave(struct cuda_ring *ring, int slot, struct err *err);

#endif
