/* See row_chunks.h. A part is mapped for as long as a piece of it is converted: what a run keeps of
 * the files is then no more than their names, however many and large they are. */
#include "host/row_chunks.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include "host/base/interrupt.h"
#include "host/base/memory.h"
#include "host/base/philox.h"
#include "kernels/column_sums.h"
#include "loaders/npy.h"

#define CHUNK_BYTES ((size_t)32 << 20)
#define WORD_ROWS   64 /* rows in a word of the blank ones' bits, and in a task */

int row_chunks_size(int n, int d)
{
    size_t rows = CHUNK_BYTES / ((size_t)d * sizeof(float)) / ROWS_PER_BLOCK * ROWS_PER_BLOCK;
    size_t all = ((size_t)n + ROWS_PER_BLOCK - 1) / ROWS_PER_BLOCK * ROWS_PER_BLOCK;
    rows = rows < all ? rows : all;
    if (rows > (size_t)INT_MAX / ROWS_PER_BLOCK * ROWS_PER_BLOCK)
        return INT_MAX / ROWS_PER_BLOCK * ROWS_PER_BLOCK;
    return rows < ROWS_PER_BLOCK ? ROWS_PER_BLOCK : (int)rows;
}

struct row_chunks row_chunks_of(struct device *device, const float *x, int n, int d)
{
    return (struct row_chunks){
        .device = device, .n = n, .d = d, .rows_per_chunk = row_chunks_size(n, d), .x = x};
}

/* Rows of the chunk that begins there. */
static int chunk_at(const struct row_chunks *rows, int first)
{
    int left = rows->n - first;
    return left < rows->rows_per_chunk ? left : rows->rows_per_chunk;
}

/* ---- which rows are blank -------------------------------------------------------------------- */

static bool is_blank(const struct row_chunks *rows, int64_t row)
{
    return rows->blank[row / WORD_ROWS] >> (row % WORD_ROWS) & 1;
}

/* Used rows before one of all rows. */
static int64_t used_before(const struct row_chunks *rows, int64_t row)
{
    uint64_t below = rows->blank[row / WORD_ROWS] & (((uint64_t)1 << (row % WORD_ROWS)) - 1);
    return row - rows->blank_before[row / WORD_ROWS] - __builtin_popcountll(below);
}

/* The place among all rows of a used row. */
static int64_t place_of(const struct row_chunks *rows, int64_t used)
{
    int64_t low = used, high = rows->first_row[rows->parts->n] - 1;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (used_before(rows, middle + 1) > used)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void count_blank(struct row_chunks *rows)
{
    int64_t n_words = rows->first_row[rows->parts->n] / WORD_ROWS + 1, n_blank = 0;
    for (int64_t word = 0; word < n_words; word++) {
        rows->blank_before[word] = (int32_t)n_blank;
        n_blank += __builtin_popcountll(rows->blank[word]);
    }
    rows->n = (int)(rows->first_row[rows->parts->n] - n_blank);
}

/* ---- parts ----------------------------------------------------------------------------------- */

/* Some rows of a part, and what is done with each word of them. */
struct piece {
    struct row_chunks *rows;
    const struct npy *npy;
    int64_t first, last; /* of all rows */
    int64_t part_first;  /* the part's first row among all */
    float *out;          /* where the first used row from `out_first` on goes */
    int64_t out_first;   /* a used row */
    _Atomic int64_t first_bad;
};

static void read_row(const struct piece *piece, int64_t row, float *out)
{
    npy_convert(piece->npy, row - piece->part_first, 1, out);
}

/* The words of [first, last) are the tasks. */
static int n_tasks(const struct piece *piece)
{
    return (int)((piece->last - 1) / WORD_ROWS - piece->first / WORD_ROWS + 1);
}

static void task_rows(const struct piece *piece, int task, int64_t *first, int64_t *last)
{
    int64_t word = piece->first / WORD_ROWS + task;
    *first = word * WORD_ROWS > piece->first ? word * WORD_ROWS : piece->first;
    *last = (word + 1) * WORD_ROWS < piece->last ? (word + 1) * WORD_ROWS : piece->last;
}

/* Looks for blank rows, and for the first that is not finite. */
static void look_task(void *context, int task, int worker)
{
    struct piece *piece = context;
    struct row_chunks *rows = piece->rows;
    float *x = device_scratch(rows->device, worker);
    int64_t first, last;
    task_rows(piece, task, &first, &last);
    for (int64_t row = first; row < last; row++) {
        bool finite = true, zero = true;
        read_row(piece, row, x);
        for (int j = 0; j < rows->d; j++) {
            finite &= isfinite(x[j]) != 0;
            zero &= x[j] == 0;
        }
        if (zero)
            rows->blank[row / WORD_ROWS] |= (uint64_t)1 << (row % WORD_ROWS);
        int64_t bad = atomic_load(&piece->first_bad);
        while (!finite && row < bad && !atomic_compare_exchange_weak(&piece->first_bad, &bad, row))
            ;
    }
}

static void convert_task(void *context, int task, int worker)
{
    (void)worker;
    const struct piece *piece = context;
    int64_t first, last;
    task_rows(piece, task, &first, &last);
    size_t d = (size_t)piece->rows->d;
    float *out = piece->out + (size_t)(used_before(piece->rows, first) - piece->out_first) * d;
    for (int64_t row = first; row < last; row++)
        if (!is_blank(piece->rows, row)) {
            read_row(piece, row, out);
            out += d;
        }
}

static enum status refuse_row(const struct piece *piece, struct err *err)
{
    float *x = device_scratch(piece->rows->device, 0);
    int64_t row = piece->first_bad;
    read_row(piece, row, x);
    int j = 0;
    while (isfinite(x[j]))
        j++;
    return err_set(err, STATUS_BAD_DATA,
                   "%s: row %lld: column %d is %g, not a finite number; make the embeddings again",
                   piece->npy->path, (long long)(row - piece->part_first) + 1, j + 1, (double)x[j]);
}

/* Runs the task over the rows [first, last) of all, part by part. */
static enum status for_rows(struct row_chunks *rows, int64_t first, int64_t last,
                            threads_task *task, float *out, struct err *err)
{
    const struct embedding_parts *parts = rows->parts;
    int low = 0, high = parts->n;
    while (high - low > 1) { /* the part that `first` lies in */
        int middle = low + (high - low) / 2;
        if (rows->first_row[middle] <= first)
            low = middle;
        else
            high = middle;
    }
    int64_t out_first = out ? used_before(rows, first) : 0;
    for (int i = low; first < last; i++) {
        int64_t part_first = rows->first_row[i], part_last = rows->first_row[i + 1];
        if (part_first == part_last)
            continue;
        struct npy npy;
        TRY(interrupt_check(err));
        TRY(npy_open(&npy, parts->paths[i], err));
        struct piece piece = {.rows = rows, .npy = &npy, .first = first, .part_first = part_first};
        piece.last = last < part_last ? last : part_last;
        piece.out = out, piece.out_first = out_first;
        piece.first_bad = INT64_MAX;
        enum status status = STATUS_OK;
        if (npy.type == NPY_I32 || npy.n_dims != 2 || npy.columns != rows->d ||
            npy.rows != part_last - part_first)
            status = embedding_parts_changed(parts->paths[i], err);
        else
            threads_run(rows->device->threads, n_tasks(&piece), task, &piece);
        if (status == STATUS_OK)
            status = file_map_check(&npy.map, npy.path, err);
        if (status == STATUS_OK && piece.first_bad < INT64_MAX)
            status = refuse_row(&piece, err);
        npy_close(&npy);
        TRY(status);
        first = piece.last;
    }
    return STATUS_OK;
}

/* Rows first .. first + n - 1 of those used, as they are in the parts. */
static enum status convert(struct row_chunks *rows, int first, int n, float *out, struct err *err)
{
    if (n == 0)
        return STATUS_OK;
    return for_rows(rows, place_of(rows, first), place_of(rows, first + n - 1) + 1, convert_task,
                    out, err);
}

/* ---- opening --------------------------------------------------------------------------------- */

static enum status measure(struct row_chunks *rows, struct err *err)
{
    const struct embedding_parts *parts = rows->parts;
    for (int i = 0; i < parts->n; i++) {
        struct npy npy;
        TRY(npy_open(&npy, parts->paths[i], err));
        rows->first_row[i + 1] = rows->first_row[i] + npy.rows;
        npy_close(&npy);
    }
    if (rows->first_row[parts->n] != (int64_t)parts->n_rows)
        return embedding_parts_changed(parts->paths[0], err);
    return STATUS_OK;
}

/* A piece at a time, so that no more of a part is in memory than of one that is read. */
static enum status look(struct row_chunks *rows, struct err *err)
{
    int64_t n = (int64_t)rows->parts->n_rows;
    for (int64_t first = 0; first < n; first += rows->rows_per_chunk) {
        int64_t last = n - first < rows->rows_per_chunk ? n : first + rows->rows_per_chunk;
        TRY(for_rows(rows, first, last, look_task, NULL, err));
    }
    count_blank(rows);
    return STATUS_OK;
}

static enum status take_buffer(struct row_chunks *rows, struct err *err)
{
    size_t values = (size_t)rows->rows_per_chunk * (size_t)rows->d;
    if (rows->buffer)
        return STATUS_OK;
    rows->buffer = mem_alloc(values, sizeof *rows->buffer);
    return rows->buffer ? STATUS_OK
                        : err_no_memory(err, "a chunk of rows", values * sizeof *rows->buffer);
}

/* All rows, where they fit. */
static enum status keep(struct row_chunks *rows, size_t memory, struct err *err)
{
    size_t d = (size_t)rows->d, bytes = (size_t)rows->n * d * sizeof *rows->owned;
    if (bytes > memory)
        return take_buffer(rows, err);
    rows->owned = mem_alloc((size_t)rows->n * d, sizeof *rows->owned);
    if (!rows->owned)
        return err_no_memory(err, "the embeddings", bytes);
    for (int first = 0; first < rows->n; first += rows->rows_per_chunk) {
        int n = chunk_at(rows, first);
        TRY(convert(rows, first, n, rows->owned + (size_t)first * d, err));
    }
    rows->x = rows->owned;
    return STATUS_OK;
}

enum status row_chunks_open(struct row_chunks *rows, struct device *device,
                            const struct embedding_parts *parts, size_t memory, struct err *err)
{
    *rows = (struct row_chunks){.device = device, .d = parts->width, .parts = parts};
    size_t n_words = parts->n_rows / WORD_ROWS + 1;
    rows->rows_per_chunk = row_chunks_size((int)parts->n_rows, rows->d);
    rows->first_row = mem_alloc_zero((size_t)parts->n + 1, sizeof *rows->first_row);
    rows->blank = mem_alloc_zero(n_words, sizeof *rows->blank);
    rows->blank_before = mem_alloc_zero(n_words, sizeof *rows->blank_before);
    if (!rows->first_row || !rows->blank || !rows->blank_before)
        return err_no_memory(err, "the rows", n_words * 12 + ((size_t)parts->n + 1) * 8);
    if (rows->d > TRANSFORM_MOST_COLUMNS)
        return err_set(err, STATUS_BAD_DATA, "%s: %d columns are more than the %d that fit",
                       parts->paths[0], rows->d, TRANSFORM_MOST_COLUMNS);
    TRY(measure(rows, err));
    TRY(look(rows, err));
    return keep(rows, memory, err);
}

void row_chunks_close(struct row_chunks *rows)
{
    mem_free(rows->owned);
    mem_free(rows->buffer);
    mem_free(rows->first_row);
    mem_free(rows->blank);
    mem_free(rows->blank_before);
    *rows = (struct row_chunks){0};
}

void row_chunks_transform(struct row_chunks *rows, const struct transform *transform)
{
    assert(rows->parts && !rows->spherical && !rows->normalised);
    if (transform_is_identity(transform))
        return;
    if (rows->owned)
        transform_apply(rows->device, transform, rows->owned, rows->n);
    else
        rows->transform = transform;
}

enum status row_chunks_check(struct row_chunks *rows, struct err *err)
{
    if (rows->parts)
        return STATUS_OK; /* looked at when they were opened */
    return rows_check_finite(rows->device, rows->x, rows->n, rows->d, err);
}

/* ---- reading --------------------------------------------------------------------------------- */

struct normalise_job {
    float *x;
    int n, d;
};

static void normalise_task(void *context, int task, int worker)
{
    (void)worker;
    const struct normalise_job *job = context;
    int first = task * WORD_ROWS, last = job->n - first < WORD_ROWS ? job->n : first + WORD_ROWS;
    for (int row = first; row < last; row++)
        row_normalise(job->x + (size_t)row * (size_t)job->d, job->d);
}

static void normalise(const struct row_chunks *rows, float *x, int n)
{
    struct normalise_job job = {x, n, rows->d};
    threads_run(rows->device->threads, (int)divide_up(n, WORD_ROWS), normalise_task, &job);
}

enum status row_chunks_normalise(struct row_chunks *rows, struct err *err)
{
    if (rows->owned) {
        /* A second time would change a bit here and there. */
        if (!rows->normalised)
            normalise(rows, rows->owned, rows->n);
        rows->normalised = true;
        return STATUS_OK;
    }
    rows->spherical = true;
    return take_buffer(rows, err);
}

enum status row_chunks_copy(struct row_chunks *rows, float *out, int first, int n, struct err *err)
{
    size_t d = (size_t)rows->d;
    assert(first >= 0 && n >= 0 && n <= rows->n - first);
    if (rows->x)
        memcpy(out, rows->x + (size_t)first * d, (size_t)n * d * sizeof *out);
    else {
        TRY(convert(rows, first, n, out, err));
        if (rows->transform)
            transform_apply(rows->device, rows->transform, out, n);
    }
    if (rows->spherical)
        normalise(rows, out, n);
    return STATUS_OK;
}

enum status row_chunks_read(struct row_chunks *rows, int first, int n, const float **x,
                            struct err *err)
{
    assert(n <= rows->rows_per_chunk);
    *x = rows->buffer;
    if (!rows->x || rows->spherical)
        return row_chunks_copy(rows, rows->buffer, first, n, err);
    *x = rows->x + (size_t)first * (size_t)rows->d;
    return STATUS_OK;
}

/* ---- walking over all rows ------------------------------------------------------------------- */

#define SAMPLE_DRAWS 0x736D706Cu /* Philox stream: "smpl" */

/* Of the i-th of size runs of n rows. */
static int sampled_row(int n, int size, int i, uint64_t seed)
{
    int first = (int)((int64_t)i * n / size), last = (int)((int64_t)(i + 1) * n / size);
    double draw = philox_uniform(seed, 0, SAMPLE_DRAWS, (uint64_t)i);
    return first + (int)(draw * (last - first));
}

enum status row_chunks_walk(struct row_chunks *rows, row_chunk_visit *visit, void *context,
                            struct err *err)
{
    for (int first = 0; first < rows->n; first += rows->rows_per_chunk) {
        int n = chunk_at(rows, first);
        const float *x;
        TRY(interrupt_check(err));
        TRY(row_chunks_read(rows, first, n, &x, err));
        TRY(visit(context, x, first, n, err));
    }
    return STATUS_OK;
}

struct sample_job {
    const struct row_chunks *rows;
    float *out;
    int size, next;
    uint64_t seed;
};

/* The rows are taken as they come by. */
static enum status sample_chunk(void *context, const float *x, int first, int n, struct err *err)
{
    (void)err;
    struct sample_job *job = context;
    size_t d = (size_t)job->rows->d;
    for (; job->next < job->size; job->next++) {
        int row = sampled_row(job->rows->n, job->size, job->next, job->seed);
        if (row >= first + n)
            break;
        memcpy(job->out + (size_t)job->next * d, x + (size_t)(row - first) * d, d * sizeof *x);
    }
    return STATUS_OK;
}

enum status row_chunks_sample(struct row_chunks *rows, float *out, int size, uint64_t seed,
                              struct err *err)
{
    struct sample_job job = {.rows = rows, .out = out, .size = size, .seed = seed};
    return row_chunks_walk(rows, sample_chunk, &job, err);
}

struct sum_job {
    row_chunk_add *add;
    void *context;
    struct row_sum sum;
    double *total;
    const float *x; /* of the chunk at hand */
};

static void add_block(void *context, int first, int last, double *partial)
{
    const struct sum_job *job = context;
    job->add(job->context, job->x, first, last, partial);
}

static enum status sum_chunk(void *context, const float *x, int first, int n, struct err *err)
{
    (void)first, (void)err;
    struct sum_job *job = context;
    job->x = x;
    row_sum_add(&job->sum, job->total, n, add_block, job);
    return STATUS_OK;
}

enum status row_chunks_sum(struct row_chunks *rows, double *total, size_t width, row_chunk_add *add,
                           void *context, struct err *err)
{
    struct sum_job job = {.add = add, .context = context, .total = total};
    memset(total, 0, width * sizeof *total);
    enum status status = row_sum_open(&job.sum, rows->device, width, rows->n, err);
    if (status == STATUS_OK)
        status = row_chunks_walk(rows, sum_chunk, &job, err);
    row_sum_close(&job.sum);
    return status;
}

static void add_rows(void *context, const float *x, int first, int last, double *partial)
{
    const struct row_chunks *rows = context;
    column_sums_rows_cpu(rows->device->isa, partial, x + (size_t)first * (size_t)rows->d,
                         last - first, rows->d);
}

enum status row_chunks_mean(struct row_chunks *rows, double *mean, struct err *err)
{
    TRY(row_chunks_sum(rows, mean, (size_t)rows->d, add_rows, rows, err));
    for (int j = 0; j < rows->d; j++)
        mean[j] /= rows->n;
    return STATUS_OK;
}

size_t row_chunks_all(const struct row_chunks *rows)
{
    return rows->parts ? rows->parts->n_rows : (size_t)rows->n;
}

bool row_chunks_is_blank(const struct row_chunks *rows, size_t row)
{
    return rows->parts && is_blank(rows, (int64_t)row);
}
