/* See lloyd_cuda_rows.h. */
#include "host/lloyd_cuda_rows.h"

#include "host/base/at_most.h"
#include "host/base/memory.h"
#include "host/cluster_totals.h"
#include "kernels/cluster_sums_job.h"

#define RING_SLOTS 3

_Static_assert(CLUSTER_BLOCK_ROWS == CLUSTER_SUMS_BLOCK, "both devices cut sums at the same rows");

void lloyd_cuda_rows_plan(struct lloyd_cuda_rows *rows, struct cuda_arena *arena,
                          struct row_chunks *from, const struct lloyd_cuda_way *way)
{
    rows->device = from->device, rows->rows = from;
    rows->n = from->n, rows->d = from->d;
    rows->resident = way->resident, rows->split = way->split;
    rows->chunk_rows = at_most(rows->n, way->chunk_blocks * CLUSTER_BLOCK_ROWS);
    rows->n_chunks = (int)divide_up(from->n, rows->chunk_rows);
    size_t there = (size_t)(rows->resident ? rows->n : rows->chunk_rows);
    size_t n_prepared = rows->resident ? (size_t)rows->n_chunks : 1;
    rows->prepared_bytes = nearest_rows_cuda_bytes(rows->chunk_rows, rows->d, rows->split);
    rows->x = cuda_arena_take(arena, there * (size_t)rows->d, sizeof *rows->x);
    rows->prepared = cuda_arena_take(arena, n_prepared, rows->prepared_bytes);
}

void lloyd_cuda_rows_close(struct lloyd_cuda_rows *rows)
{
    cuda_ring_close(&rows->ring);
    mem_free(rows->of_chunk);
    *rows = (struct lloyd_cuda_rows){0};
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Rows on their way to the GPU; as many as a slot has room for. */
static enum status send_rows(struct lloyd_cuda_rows *rows, float *to, int first, int n,
                             struct err *err)
{
    int slot;
    TRY(cuda_ring_take(&rows->ring, &slot, err));
    TRY(row_chunks_copy(rows->rows, rows->ring.slots[slot].host, first, n, err));
    TRY(cuda_copy_to(rows->device->cuda, to, rows->ring.slots[slot].host,
                     (size_t)n * (size_t)rows->d * sizeof(float), err));
    return cuda_ring_leave(&rows->ring, slot, err);
}

static enum status send_all(struct lloyd_cuda_rows *rows, float *to, int first, int n,
                            struct err *err)
{
    for (int sent = 0, piece; sent < n; sent += piece) {
        piece = at_most(n - sent, rows->rows->rows_per_chunk);
        TRY(send_rows(rows, to + (size_t)sent * (size_t)rows->d, first + sent, piece, err));
    }
    return STATUS_OK;
}

static struct lloyd_cuda_chunk chunk_of(const struct lloyd_cuda_rows *rows, int number)
{
    int first = number * rows->chunk_rows;
    size_t at = rows->resident ? (size_t)first * (size_t)rows->d : 0;
    return (struct lloyd_cuda_chunk){.number = number,
                                     .first = first,
                                     .n = at_most(rows->n - first, rows->chunk_rows),
                                     .x = rows->x + at};
}

enum status lloyd_cuda_rows_chunk(struct lloyd_cuda_rows *rows, int number,
                                  struct lloyd_cuda_chunk *chunk, struct err *err)
{
    *chunk = chunk_of(rows, number);
    return rows->resident ? STATUS_OK : send_all(rows, rows->x, chunk->first, chunk->n, err);
}

enum status lloyd_cuda_rows_open(struct lloyd_cuda_rows *rows, struct err *err)
{
    size_t bytes = (size_t)rows->rows->rows_per_chunk * (size_t)rows->d * sizeof(float);
    TRY(cuda_ring_open(&rows->ring, rows->device->cuda, RING_SLOTS, bytes, err));
    if (!rows->resident)
        return STATUS_OK;
    rows->of_chunk = mem_alloc_zero((size_t)rows->n_chunks, sizeof *rows->of_chunk);
    if (!rows->of_chunk)
        return err_no_memory(err, "the rows", (size_t)rows->n_chunks * sizeof *rows->of_chunk);
    return send_all(rows, rows->x, 0, rows->n, err);
}

/* ---- for the tensor cores -------------------------------------------------------------------- */

enum status lloyd_cuda_rows_prepare_all(struct lloyd_cuda_rows *rows, const float *mean,
                                        struct err *err)
{
    for (int i = 0; rows->resident && i < rows->n_chunks; i++) {
        struct lloyd_cuda_chunk chunk = chunk_of(rows, i);
        TRY(nearest_rows_cuda_prepare(rows->device, &rows->of_chunk[i],
                                      rows->prepared + (size_t)i * rows->prepared_bytes, chunk.x,
                                      NEAREST_ROWS_F32, mean, chunk.n, rows->d, rows->split, err));
    }
    return STATUS_OK;
}

enum status lloyd_cuda_rows_prepared(struct lloyd_cuda_rows *rows,
                                     const struct lloyd_cuda_chunk *chunk, const float *mean,
                                     bool split, struct nearest_rows_cuda *prepared,
                                     struct err *err)
{
    if (rows->resident) {
        *prepared = rows->of_chunk[chunk->number];
        return STATUS_OK;
    }
    return nearest_rows_cuda_prepare(rows->device, prepared, rows->prepared, chunk->x,
                                     NEAREST_ROWS_F32, mean, chunk->n, rows->d, split, err);
}
