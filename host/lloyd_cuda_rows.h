/* The rows of k-means on a GPU, a chunk at a time: all of them lie there, or each chunk comes from
 * the host whenever it is wanted, through page-locked memory that the host fills while the copies
 * before are under way. */
#ifndef MIDASHI_HOST_LLOYD_CUDA_ROWS_H
#define MIDASHI_HOST_LLOYD_CUDA_ROWS_H

#include <stdbool.h>
#include "host/base/cuda_memory.h"
#include "host/base/cuda_ring.h"
#include "host/row_chunks.h"
#include "kernels/nearest_cuda.h"

/* How rows and runs are laid out, as memory allows. */
struct lloyd_cuda_way {
    bool resident;    /* all rows stay on the GPU */
    bool split;       /* there is room for their low halves (nearest_cuda.h) */
    int chunk_blocks; /* CLUSTER_BLOCK_ROWS in a chunk, at most LLOYD_CUDA_MOST_BLOCKS */
    int n_runs;
};
/* What work on a chunk takes is in proportion to its rows, so that it is bounded for resident ones
 * too. */
#define LLOYD_CUDA_MOST_BLOCKS 16

struct lloyd_cuda_rows {
    struct device *device;
    struct row_chunks *rows; /* borrowed, as device */
    int n, d;
    int chunk_rows, n_chunks; /* each chunk begins at a multiple of CLUSTER_BLOCK_ROWS */
    bool resident;
    bool split;     /* with the low halves (nearest_cuda.h) */
    float *x;       /* (n, d) where they are resident, else (chunk_rows, d) */
    char *prepared; /* of each chunk, or of the one at hand, prepared_bytes */
    size_t prepared_bytes;
    struct nearest_rows_cuda *of_chunk; /* (n_chunks) where they are resident */
    struct cuda_ring ring;              /* slots of rows->rows_per_chunk rows */
};

/* Carves GPU memory, or measures it (an arena that is zeroed). */
void lloyd_cuda_rows_plan(struct lloyd_cuda_rows *rows, struct cuda_arena *arena,
                          struct row_chunks *from, const struct lloyd_cuda_way *way);
/* After planning in an open arena. Rows that are resident are read. Close after a failure too. */
enum status lloyd_cuda_rows_open(struct lloyd_cuda_rows *rows, struct err *err);
void lloyd_cuda_rows_close(struct lloyd_cuda_rows *rows); /* a zeroed one is allowed */

struct lloyd_cuda_chunk {
    int number, first, n;
    const float *x; /* (n, d) on the GPU, until the next chunk is asked for */
};
/* Queues what brings it there. */
enum status lloyd_cuda_rows_chunk(struct lloyd_cuda_rows *rows, int number,
                                  struct lloyd_cuda_chunk *chunk, struct err *err);
/* Resident rows, for the tensor cores, once; mean (d) on the GPU. Does nothing for others. */
enum status lloyd_cuda_rows_prepare_all(struct lloyd_cuda_rows *rows, const float *mean,
                                        struct err *err);
/* The chunk for the tensor cores; split as it is going to be used. */
enum status lloyd_cuda_rows_prepared(struct lloyd_cuda_rows *rows,
                                     const struct lloyd_cuda_chunk *chunk, const float *mean,
                                     bool split, struct nearest_rows_cuda *prepared,
                                     struct err *err);

#endif
