/* See cuda_upload.h. */
#include "host/cuda_upload.h"

#include <stdatomic.h>
#include <string.h>
#include "host/base/float16.h"
#include "host/base/interrupt.h"
#include "host/finite.h"
#include "host/nf4_checkpoint.h"
#include "kernels/nf4.h"

/* ---- the ring ------------------------------------------------------------------------------- */

static int64_t rows_of_piece(const struct cuda_upload *upload, int64_t rows, int64_t columns)
{
    /* Of float32, a multiple of 64 rows: blocks never straddle two pieces. */
    int64_t n = (int64_t)(upload->slot_bytes / sizeof(float)) / columns / NF4_BLOCK * NF4_BLOCK;
    return n < rows ? n : rows;
}

void cuda_upload_plan(struct cuda_upload *upload, struct cuda_arena *arena,
                      const struct cuda_upload_sizes *sizes)
{
    size_t least = (size_t)sizes->columns * NF4_BLOCK * sizeof(float);
    size_t n_blocks = nf4_block_count(sizes->elements);
    upload->slot_bytes = least > CUDA_UPLOAD_BYTES ? least : CUDA_UPLOAD_BYTES;
    upload->codes = cuda_arena_take(arena, nf4_code_bytes(sizes->elements), 1);
    upload->absmax_codes = cuda_arena_take(arena, n_blocks, 1);
    upload->absmax = cuda_arena_take(arena, n_blocks, sizeof *upload->absmax);
    upload->sums =
        cuda_arena_take(arena, nf4_nested_block_count((int64_t)n_blocks), sizeof *upload->sums);
    upload->most_offsets = sizes->n_matrices;
    upload->offsets = cuda_arena_take(arena, (size_t)sizes->n_matrices, sizeof *upload->offsets);
    for (int i = 0; i < CUDA_UPLOAD_SLOTS; i++)
        upload->staging[i] = cuda_arena_take(arena, upload->slot_bytes, 1);
}

enum status cuda_upload_open(struct cuda_upload *upload, struct device *device,
                             const struct weights *weights, struct err *err)
{
    upload->device = device;
    upload->weights = weights;
    upload->waiting = mem_alloc((size_t)upload->most_offsets, sizeof *upload->waiting);
    if (!upload->waiting)
        return err_no_memory(err, "loading",
                             (size_t)upload->most_offsets * sizeof *upload->waiting);
    return cuda_ring_open(&upload->ring, device->cuda, CUDA_UPLOAD_SLOTS, upload->slot_bytes, err);
}

void cuda_upload_close(struct cuda_upload *upload)
{
    cuda_ring_close(&upload->ring);
    mem_free(upload->waiting);
    memset(upload, 0, sizeof *upload);
}

/* ---- reading by all threads ----------------------------------------------------------------- */

#define TASKS_LARGEST 256

/* Rows of a tensor on their way into a slot. */
struct fill {
    const struct device *device;
    const struct weights *weights;
    const struct weight *weight;
    const struct nf4_matrix *nf4; /* dequantise this; NULL for others */
    const char *view;             /* the elements as the file has them, or NULL: as float32 */
    enum nf4_source type;         /* of what is written */
    bool to_bf16;                 /* convert float32 to bf16 */
    int64_t first_row, n_rows, rows_per_task;
    char *out;
    atomic_bool failed;
};

static size_t size_of(enum nf4_source type)
{
    return type == NF4_FROM_F32 ? 4 : 2;
}

static bool is_finite(const void *values, enum nf4_source type, int64_t n)
{
    switch (type) {
    case NF4_FROM_F32:
        return finite_f32(values, n);
    case NF4_FROM_BF16:
        return finite_bf16(values, n);
    case NF4_FROM_F16:
        return finite_f16(values, n);
    }
    return false;
}

static enum status read_floats(const struct fill *fill, int64_t row, int64_t n, float *out,
                               struct err *err)
{
    if (!fill->nf4)
        return weight_read(fill->weights, fill->weight, row, n, out, err);
    nf4_checkpoint_read(fill->weight, fill->nf4, row, n, out);
    return STATUS_OK;
}

/* Rows [row, row + n) of the tensor, one after another: a row stays in the cache while it is looked
 * at. `values` has room for a row of float32. */
static enum status fill_rows(const struct fill *fill, int64_t row, int64_t n, float *values,
                             struct err *err)
{
    int64_t columns = fill->weight->columns;
    size_t row_bytes = (size_t)columns * size_of(fill->type);
    for (; n > 0; n--, row++) {
        char *out = fill->out + (size_t)(row - fill->first_row) * row_bytes;
        bool finite;
        if (fill->view) {
            memcpy(out, fill->view + (size_t)row * row_bytes, row_bytes);
            finite = is_finite(out, fill->type, columns);
        } else {
            float *floats = fill->to_bf16 ? values : (float *)(void *)out;
            TRY(read_floats(fill, row, 1, floats, err));
            finite = finite_f32(floats, columns);
            for (int64_t i = 0; fill->to_bf16 && i < columns; i++)
                ((uint16_t *)(void *)out)[i] = bf16_from_float(floats[i]);
        }
        if (!finite)
            return finite_refuse(fill->weight, row, err);
    }
    return STATUS_OK;
}

static void fill_task(void *context, int task, int worker)
{
    struct fill *fill = context;
    int64_t row = task * fill->rows_per_task, n = fill->n_rows - row;
    if (n > fill->rows_per_task)
        n = fill->rows_per_task;
    if (fill_rows(fill, fill->first_row + row, n, device_scratch(fill->device, worker), NULL))
        atomic_store(&fill->failed, true);
}

static enum status run_fill(struct fill *fill, struct err *err)
{
    fill->rows_per_task = (fill->n_rows + TASKS_LARGEST - 1) / TASKS_LARGEST;
    int n_tasks = (int)((fill->n_rows + fill->rows_per_task - 1) / fill->rows_per_task);
    threads_run(fill->device->threads, n_tasks, fill_task, fill);
    if (!fill->failed)
        return fill->view ? weights_check(fill->weights, err) : STATUS_OK;
    /* Once more, in order: the first row that is wrong is the one to name. */
    return fill_rows(fill, fill->first_row, fill->n_rows, device_scratch(fill->device, 0), err);
}

/* ---- tensors -------------------------------------------------------------------------------- */

/* How the file holds it: in a type that the GPU takes, or to be read as float32. */
static void choose_view(struct fill *fill)
{
    static const struct {
        const char *name;
        enum nf4_source type;
    } types[] = {{"F32", NF4_FROM_F32}, {"BF16", NF4_FROM_BF16}, {"F16", NF4_FROM_F16}};
    fill->type = NF4_FROM_F32;
    for (size_t i = 0; i < sizeof types / sizeof *types && !fill->view; i++) {
        fill->view = weight_view(fill->weight, types[i].name);
        if (fill->view)
            fill->type = types[i].type;
    }
}

/* A row must fit the scratch of a worker where it is converted. */
static enum status check_width(const struct weight *weight, struct err *err)
{
    if ((size_t)weight->columns * sizeof(float) <= DEVICE_SCRATCH_BYTES)
        return STATUS_OK;
    return err_set(err, STATUS_BAD_DATA, "%s: tensor %s: rows of %lld values are too long",
                   weight->path, weight->name, (long long)weight->columns);
}

enum status cuda_upload_dense(struct cuda_upload *upload, const char *name, int rows, int columns,
                              enum precision precision, void *to, struct err *err)
{
    struct fill fill = {.device = upload->device, .weights = upload->weights};
    struct nf4_matrix nf4;
    struct arena arena = {0};
    TRY(weights_expect(upload->weights, name, rows, columns, &fill.weight, err));
    TRY(check_width(fill.weight, err));
    enum nf4_source want = precision == PRECISION_F32 ? NF4_FROM_F32 : NF4_FROM_BF16;
    choose_view(&fill);
    if (fill.type != want) {
        fill.view = NULL;
        fill.type = want;
    }
    fill.to_bf16 = !fill.view && want == NF4_FROM_BF16;
    enum status status = STATUS_OK;
    if (fill.weight->nf4) {
        fill.nf4 = &nf4;
        status = nf4_checkpoint_view(&nf4, upload->weights, fill.weight, &arena, err);
    }
    size_t row_bytes = (size_t)columns * size_of(want);
    while (status == STATUS_OK && fill.first_row < rows) {
        int slot;
        TRY_TO(status, cuda_ring_take(&upload->ring, &slot, err), release);
        fill.n_rows = rows_of_piece(upload, rows - fill.first_row, columns);
        fill.out = upload->ring.slots[slot].host;
        TRY_TO(status, run_fill(&fill, err), release);
        TRY_TO(status,
               cuda_copy_to(upload->device->cuda, (char *)to + (size_t)fill.first_row * row_bytes,
                            fill.out, (size_t)fill.n_rows * row_bytes, err),
               release);
        TRY_TO(status, cuda_ring_leave(&upload->ring, slot, err), release);
        fill.first_row += fill.n_rows;
    }
release:
    weight_release(upload->weights, fill.weight);
    arena_free(&arena);
    return status;
}

struct bytes {
    char *out;
    const char *from;
    size_t n;
};

#define BYTES_PER_TASK ((size_t)1 << 18)

static void copy_task(void *context, int task, int worker)
{
    (void)worker;
    const struct bytes *bytes = context;
    size_t at = (size_t)task * BYTES_PER_TASK, n = bytes->n - at;
    memcpy(bytes->out + at, bytes->from + at, n < BYTES_PER_TASK ? n : BYTES_PER_TASK);
}

/* Bytes of the file as they are. */
static enum status send_bytes(struct cuda_upload *upload, void *to, const void *from, size_t n,
                              struct err *err)
{
    for (size_t at = 0; at < n;) {
        int slot;
        TRY(cuda_ring_take(&upload->ring, &slot, err));
        size_t piece = n - at < upload->slot_bytes ? n - at : upload->slot_bytes;
        struct bytes bytes = {upload->ring.slots[slot].host, (const char *)from + at, piece};
        threads_run(upload->device->threads, (int)((piece + BYTES_PER_TASK - 1) / BYTES_PER_TASK),
                    copy_task, &bytes);
        TRY(weights_check(upload->weights, err));
        TRY(cuda_copy_to(upload->device->cuda, (char *)to + at, bytes.out, piece, err));
        TRY(cuda_ring_leave(&upload->ring, slot, err));
        at += piece;
    }
    return STATUS_OK;
}

/* ---- NF4 ------------------------------------------------------------------------------------ */

/* Arrays that the matrix's kernels only read are written here, once. */
static void *writable(const void *on_device)
{
    return (void *)(uintptr_t)on_device;
}

/* Where absmax in 8 bits goes: by block, where the kernels want it so, or to be packed. */
static uint8_t *place_of_codes(struct cuda_upload *upload, const struct nf4_tiles *w, int segment)
{
    return w->flat ? writable(w->segments[segment].flat_absmax) : upload->absmax_codes;
}

static enum status pack(struct cuda_upload *upload, const struct nf4_tiles *w, int segment,
                        struct err *err)
{
    return nf4_tiles_pack_cuda(upload->device, w, segment, upload->codes,
                               w->flat ? NULL : upload->absmax_codes, err);
}

/* What the file holds in NF4 already. */
static enum status send_nf4(struct cuda_upload *upload, const struct weight *weight,
                            struct nf4_tiles *w, int segment, struct arena *arena, struct err *err)
{
    struct nf4_matrix view;
    struct nf4_segment *to = &w->segments[segment];
    int64_t n = weight->rows * weight->columns;
    size_t n_blocks = nf4_block_count(n);
    TRY(nf4_checkpoint_view(&view, upload->weights, weight, arena, err));
    TRY(send_bytes(upload, upload->codes, view.codes, nf4_code_bytes(n), err));
    if (view.absmax) {
        TRY(send_bytes(upload, writable(to->flat_absmax), view.absmax, n_blocks * sizeof(float),
                       err));
    } else {
        TRY(send_bytes(upload, place_of_codes(upload, w, segment), view.absmax_codes, n_blocks,
                       err));
        TRY(send_bytes(upload, writable(to->nested_absmax), view.nested_absmax,
                       nf4_nested_block_count((int64_t)n_blocks) * sizeof(float), err));
        to->offset = view.offset;
    }
    return pack(upload, w, segment, err);
}

static enum status quantise(struct cuda_upload *upload, struct fill *fill, struct nf4_tiles *w,
                            int segment, struct err *err)
{
    int64_t rows = fill->weight->rows, columns = fill->weight->columns;
    int64_t n_blocks = (int64_t)nf4_block_count(rows * columns);
    choose_view(fill);
    for (; fill->first_row < rows; fill->first_row += fill->n_rows) {
        int slot;
        TRY(cuda_ring_take(&upload->ring, &slot, err));
        fill->n_rows = rows_of_piece(upload, rows - fill->first_row, columns);
        fill->out = upload->ring.slots[slot].host;
        TRY(run_fill(fill, err));
        int64_t first = fill->first_row * columns, n = fill->n_rows * columns;
        void *staging = upload->staging[slot];
        TRY(cuda_copy_to(upload->device->cuda, staging, fill->out, (size_t)n * size_of(fill->type),
                         err));
        TRY(nf4_quantize_cuda(upload->device, upload->codes + first / 2,
                              upload->absmax + first / NF4_BLOCK, staging, fill->type, n, err));
        TRY(cuda_ring_leave(&upload->ring, slot, err));
    }
    TRY(nf4_quantize_absmax_cuda(upload->device, place_of_codes(upload, w, segment),
                                 writable(w->segments[segment].nested_absmax),
                                 upload->offsets + upload->n_offsets, upload->sums, upload->absmax,
                                 n_blocks, err));
    upload->waiting[upload->n_offsets++] = &w->segments[segment].offset;
    return pack(upload, w, segment, err);
}

enum status cuda_upload_nf4(struct cuda_upload *upload, const char *name, struct nf4_tiles *w,
                            int segment, struct err *err)
{
    struct fill fill = {.device = upload->device, .weights = upload->weights};
    struct arena arena = {0};
    TRY(weights_expect(upload->weights, name, w->segments[segment].rows, w->columns, &fill.weight,
                       err));
    enum status status = fill.weight->nf4 ? send_nf4(upload, fill.weight, w, segment, &arena, err)
                                          : quantise(upload, &fill, w, segment, err);
    arena_free(&arena);
    weight_release(upload->weights, fill.weight);
    return status;
}

/* The offsets are the only numbers that kernels take from the host. */
enum status cuda_upload_end(struct cuda_upload *upload, struct err *err)
{
    struct cuda_device *cuda = upload->device->cuda;
    const float *offsets = upload->ring.slots[0].host;
    if (upload->n_offsets > 0) {
        TRY(cuda_synchronise(cuda, err)); /* the slot may be in use */
        TRY(cuda_copy_from(cuda, upload->ring.slots[0].host, upload->offsets,
                           (size_t)upload->n_offsets * sizeof *offsets, err));
    }
    TRY(cuda_synchronise(cuda, err));
    for (int i = 0; i < upload->n_offsets; i++)
        *upload->waiting[i] = offsets[i];
    return STATUS_OK;
}
