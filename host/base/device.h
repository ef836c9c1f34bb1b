/* Where operations run: the CPU, or one GPU.
 *
 * Every operation takes a device first and dispatches by `switch (device->kind)`. The CPU code
 * comes in two instruction sets, picked at run time. Activations are float32 on the CPU; an
 * operation's header says `void *` with shape where a device may hold another type: on a GPU they
 * are bfloat16. */
#ifndef MIDASHI_BASE_DEVICE_H
#define MIDASHI_BASE_DEVICE_H

#include <stddef.h>
#include "host/base/cpu.h"
#include "host/base/status.h"
#include "host/base/threads.h"

enum device_kind {
    DEVICE_CPU,
    DEVICE_CUDA,
};

/* Scratch memory of one worker, for packed panels and the like: operations never allocate. */
#define DEVICE_SCRATCH_BYTES ((size_t)2 << 20)

struct cuda_device;

struct device {
    enum device_kind kind;
    enum cpu_isa isa;        /* kernels branch on this, never on the host's features */
    struct threads *threads; /* owned */
    char *scratch;           /* owned: threads_size * DEVICE_SCRATCH_BYTES */
    /* CUDA: the GPU (host/base/cuda_device.h), owned; NULL on the CPU. Operations' pointers are
     * device addresses then, except where their header says otherwise. The CPU's fields are there
     * too, for what the host does beside it. */
    struct cuda_device *cuda;
    /* "auto" found a GPU that cannot be used, or none by a driver that was named: why; else its
     * text is "". */
    struct err passed_over;
};

/* name: "auto", "cpu", "cuda" or "cuda:N" ("cuda" is the first GPU, "auto" too where there is one
 * that can be used, and else the CPU).
 * n_threads: 0 for one per processor. The environment's MIDASHI_CPU=portable|avx2 forces the
 * instruction set. STATUS_USAGE for an unknown name or value, STATUS_RESOURCE for a device or an
 * instruction set that this machine or this build lacks, or no memory. */
enum status device_open(struct device *device, const char *name, int n_threads, struct err *err);
void device_close(struct device *device); /* a zeroed device is allowed */
/* The CPU that is there beside a GPU, for operations that have no kernel for it. It borrows the
 * device's threads and scratch: not to be closed. Of a CPU, the same. */
struct device device_cpu(const struct device *device);

/* The worker's own scratch: DEVICE_SCRATCH_BYTES, 64-byte aligned, garbage at the start of a task.
 */
static inline void *device_scratch(const struct device *device, int worker)
{
    return device->scratch + (size_t)worker * DEVICE_SCRATCH_BYTES;
}

/* STATUS_RESOURCE, for an operation that the kind of device has no kernel for. */
enum status device_lacks(const char *operation, struct err *err);

/* Which kernels compute, for records: "cpu-avx2", "cuda-sm_89". Results are the same bytes where
 * this is the same. */
#define DEVICE_KERNELS_SIZE 32
void device_kernels(const struct device *device, char text[DEVICE_KERNELS_SIZE]);

#endif
