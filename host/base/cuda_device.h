/* One CUDA GPU, opened: its context, its stream, its kernels. */
#ifndef MIDASHI_BASE_CUDA_DEVICE_H
#define MIDASHI_BASE_CUDA_DEVICE_H

#include "host/base/cuda_driver.h"

/* The oldest architecture that the kernels are compiled for. */
#define CUDA_OLDEST 80

/* What a GPU is, before it is opened. */
struct cuda_info {
    char name[96];
    int major, minor; /* compute capability */
    size_t memory;    /* bytes */
    int n_sms;
};

/* driver: open. ordinal: from 0. */
enum status cuda_info_get(const struct cuda_driver *driver, int ordinal, struct cuda_info *info,
                          struct err *err);
/* Whether the kernels can run on it: CUDA_OLDEST or newer. */
bool cuda_info_usable(const struct cuda_info *info);

/* True where this build has kernels for GPUs. */
bool cuda_has_kernels(void);

#define CUDA_MODULES_LARGEST   48
#define CUDA_FUNCTIONS_LARGEST 256

/* A kernel. */
struct cuda_function {
    const char *image, *name;
    CUfunction function;
    unsigned shared; /* dynamic shared memory that it has leave to take, bytes */
};

struct cuda_device {
    struct cuda_driver driver;
    CUdevice ordinal;
    struct cuda_info info;
    CUcontext context; /* the primary one; current in the thread that opened the device */
    CUstream stream;   /* all work of the device, in order */
    struct {
        const char *image;
        CUmodule module;
    } modules[CUDA_MODULES_LARGEST];
    struct cuda_function functions[CUDA_FUNCTIONS_LARGEST];
    int n_modules, n_functions;
    /* Bytes of its memory that are allocated (cuda_memory.h), now and at most since somebody set
     * `most` to `now`; the driver's own, its context and the kernels, apart. */
    struct {
        size_t now, most;
    } allocated;
};

/* STATUS_RESOURCE: no driver, no such GPU, one that is too old, or no kernels in this build. */
enum status cuda_device_open(struct cuda_device *cuda, int ordinal, struct err *err);
void cuda_device_close(struct cuda_device *cuda); /* a zeroed one is allowed */

/* A kernel by the stem of its file and its name, both of static storage; loaded at the first use.
 * The error of a module that the driver refuses says both versions, the driver's and the build's.
 */
enum status cuda_function(struct cuda_device *cuda, const char *image, const char *name,
                          struct cuda_function **function, struct err *err);

/* Loads all kernels of an image at once. Loading takes memory of the GPU and may wait for its work,
 * which must not happen between the launches of a batch. */
enum status cuda_load(struct cuda_device *cuda, const char *image, struct err *err);

/* Queues a launch on the device's stream. values: pointers to the parameters, copied at once. */
struct cuda_launch {
    const char *image, *name;
    unsigned grid[3], block[3], shared; /* shared: dynamic, bytes; up to 99 KB on every card */
    void **values;
};
enum status cuda_launch(struct cuda_device *cuda, const struct cuda_launch *launch,
                        struct err *err);

/* Waits for all work on the stream; errors of kernels come to light here. */
enum status cuda_synchronise(struct cuda_device *cuda, struct err *err);

#endif
