/* Memory of a GPU: an arena that is one allocation, and host memory that it can copy from and to
 * while the host goes on. What there is not enough of is told in bytes: needed, missing, free. */
#ifndef MIDASHI_BASE_CUDA_MEMORY_H
#define MIDASHI_BASE_CUDA_MEMORY_H

#include "host/base/cuda_device.h"

/* One allocation, carved from its start. The same code first measures, with an arena that is
 * zeroed, what it will take, then cuda_arena_open allocates that much and the code runs again. So
 * the plan and the memory cannot differ, and nothing is allocated later. */
struct cuda_arena {
    CUdeviceptr base;  /* 0: measuring */
    size_t bytes;      /* of the allocation */
    size_t used, most; /* most: the largest that `used` was; cuda_arena_reset lowers `used` */
};

/* Every piece begins at a multiple of this. */
#define CUDA_ARENA_ALIGNMENT 256

/* Allocates what was measured, `most` bytes, and starts anew. Fails as cuda_memory_take. */
enum status cuda_arena_open(struct cuda_arena *arena, struct cuda_device *cuda, const char *what,
                            const char *advice, struct err *err);
void cuda_arena_close(struct cuda_arena *arena, struct cuda_device *cuda); /* zeroed: nothing */

/* The next count * size bytes, not cleared; while measuring an address that must not be used. */
void *cuda_arena_take(struct cuda_arena *arena, size_t count, size_t size);
/* What was taken since `used` was mark may be taken again. */
void cuda_arena_reset(struct cuda_arena *arena, size_t mark);

/* Allocates for what is no arena; bytes > 0. STATUS_RESOURCE where the GPU has less free: the text
 * names `what` it is for, what is needed, how much of that is not free, and `advice`. */
enum status cuda_memory_take(struct cuda_device *cuda, CUdeviceptr *address, size_t bytes,
                             const char *what, const char *advice, struct err *err);
void cuda_memory_drop(struct cuda_device *cuda, CUdeviceptr address, size_t bytes); /* 0: nothing */

/* What is free on the GPU now. */
enum status cuda_memory_free(struct cuda_device *cuda, size_t *bytes, struct err *err);

/* Page-locked host memory; NULL as *out only with an error. */
enum status cuda_pinned_alloc(struct cuda_device *cuda, void **out, size_t bytes, struct err *err);
void cuda_pinned_free(struct cuda_device *cuda, void *pinned); /* NULL is allowed */

/* Queues a copy on the device's stream; host memory must stay as it is until the copy is done. */
enum status cuda_copy_to(struct cuda_device *cuda, void *device, const void *host, size_t bytes,
                         struct err *err);
enum status cuda_copy_from(struct cuda_device *cuda, void *host, const void *device, size_t bytes,
                           struct err *err);
/* The same between places on the device that do not overlap; and zeros. */
enum status cuda_copy_within(struct cuda_device *cuda, void *to, const void *from, size_t bytes,
                             struct err *err);
enum status cuda_clear(struct cuda_device *cuda, void *device, size_t bytes, struct err *err);

#endif
