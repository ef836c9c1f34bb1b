/* A model's tensors to a GPU while they are read: disk -> page-locked ring -> GPU -> NF4.
 *
 * A piece of a tensor is copied into a slot of the ring by all threads, each of which waits for its
 * own pages of the file, so that several reads are under way; the copy to the GPU and the kernels
 * that quantise are queued, and the next slot is filled meanwhile. Values are checked on the way: a
 * weight that is NaN or infinite is STATUS_BAD_DATA with its row. */
#ifndef MIDASHI_HOST_CUDA_UPLOAD_H
#define MIDASHI_HOST_CUDA_UPLOAD_H

#include "host/base/cuda_memory.h"
#include "host/base/cuda_ring.h"
#include "host/base/device.h"
#include "host/base/precision.h"
#include "kernels/nf4_tiles.h"
#include "loaders/weights.h"

#define CUDA_UPLOAD_SLOTS 4
/* Of a slot. A piece is as many rows as fit, at least NF4_BLOCK of them. */
#define CUDA_UPLOAD_BYTES ((size_t)8 << 20)

struct cuda_upload {
    struct device *device;
    const struct weights *weights;
    size_t slot_bytes;
    struct cuda_ring ring;
    void *staging[CUDA_UPLOAD_SLOTS]; /* of each slot: the GPU's, in its arena */
    /* The GPU's, of one matrix in flat order, in its arena. */
    uint8_t *codes, *absmax_codes;
    float *absmax;
    double *sums;
    /* Of each matrix that is quantised: its offset on the GPU, and where the host wants it. */
    float *offsets;
    float **waiting; /* owned */
    int n_offsets, most_offsets;
};

/* What the scratch memory must hold. */
struct cuda_upload_sizes {
    int n_matrices;   /* in NF4 */
    int64_t elements; /* of the largest of them, 0: none */
    int64_t columns;  /* of the widest tensor of any kind */
};

/* Takes the GPU's part from the arena, which may still be measuring; give it back, with
 * cuda_arena_reset, after cuda_upload_end. */
void cuda_upload_plan(struct cuda_upload *upload, struct cuda_arena *arena,
                      const struct cuda_upload_sizes *sizes);
/* The host's part. cuda_upload_close also after a failure. */
enum status cuda_upload_open(struct cuda_upload *upload, struct device *device,
                             const struct weights *weights, struct err *err);
void cuda_upload_close(struct cuda_upload *upload);

/* Tensor `name` (rows, columns) to `to` on the GPU, as float32 or bfloat16. */
enum status cuda_upload_dense(struct cuda_upload *upload, const char *name, int rows, int columns,
                              enum precision precision, void *to, struct err *err);
/* The same, quantised, to a segment of a joined matrix, whose shape says what is expected. What the
 * file holds in NF4 is taken as it is. */
enum status cuda_upload_nf4(struct cuda_upload *upload, const char *name, struct nf4_tiles *w,
                            int segment, struct err *err);
/* Waits until all of it is there. Only then are the matrices' offsets set. */
enum status cuda_upload_end(struct cuda_upload *upload, struct err *err);

#endif
