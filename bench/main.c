/* bench: times kernels and holds them against this machine's limits, measured in the same run.
 *
 *   build/bench/bench [PATTERN]     rows whose text contains PATTERN; MIDASHI_CPU picks the set
 *
 * A row is checked against the float64 reference before it is timed. Each run of a kernel is
 * preceded by a slice of the bound; the best run is divided by the best slice. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bench/limits.h"
#include "host/base/float16.h"
#include "kernels/matmul.h"
#include "kernels/nf4_matmul.h"

#define LEAST_RUNS    9
#define LEAST_SECONDS 0.6

enum operation { NF4_MATMUL, MATMUL_F32, MATMUL_BF16, NF4_QUANTIZE };
static const char *const operation_names[] = {"nf4_matmul", "matmul f32", "matmul bf16",
                                              "nf4_quantize"};

static const struct bench_row {
    enum operation operation;
    int m, columns, rows; /* (m, columns) times the transpose of (rows, columns) */
} bench_rows[] = {
    {NF4_MATMUL, 256, 576, 1536},  {NF4_MATMUL, 256, 1536, 576},   {NF4_MATMUL, 256, 4096, 4096},
    {MATMUL_F32, 256, 576, 1536},  {MATMUL_F32, 256, 1536, 576},   {MATMUL_F32, 256, 4096, 4096},
    {MATMUL_BF16, 256, 576, 1536}, {MATMUL_BF16, 256, 4096, 4096}, {NF4_MATMUL, 1, 576, 1536},
    {NF4_MATMUL, 1, 4096, 4096},   {MATMUL_F32, 1, 4096, 4096},    {MATMUL_BF16, 1, 4096, 4096},
    {NF4_MATMUL, 8, 4096, 4096},   {NF4_MATMUL, 1024, 576, 1536},  {NF4_QUANTIZE, 0, 4096, 4096},
};

struct operands {
    float *weights; /* (rows, columns) before quantising */
    uint16_t *bf16;
    uint8_t *codes, *absmax_codes; /* of nf4 */
    float *absmax, *nested_absmax;
    struct nf4_matrix nf4;
    struct dense_matrix dense;
    float *x, *y;
};

static void *allocate(size_t bytes)
{
    void *pointer = aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (!pointer) {
        fprintf(stderr, "bench: not enough memory (%zu bytes)\n", bytes);
        exit(1);
    }
    memset(pointer, 0, bytes);
    return pointer;
}

static void fill(float *x, size_t n, float scale)
{
    uint32_t state = 12345;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = scale * ((float)(state >> 8) * 0x1p-23f - 1);
    }
}

static struct operands make_operands(const struct bench_row *row, struct device *device)
{
    struct operands o = {0};
    size_t n = (size_t)row->rows * (size_t)row->columns;
    o.weights = allocate(n * sizeof(float));
    o.bf16 = allocate(n * sizeof(uint16_t));
    o.x = allocate((size_t)row->m * (size_t)row->columns * sizeof(float));
    o.y = allocate((size_t)row->m * (size_t)row->rows * sizeof(float));
    fill(o.weights, n, 0.05f);
    fill(o.x, (size_t)row->m * (size_t)row->columns, 1);
    for (size_t i = 0; i < n; i++)
        o.bf16[i] = bf16_from_float(o.weights[i]);
    size_t n_blocks = nf4_block_count((int64_t)n);
    o.nf4 = (struct nf4_matrix){.rows = row->rows, .columns = row->columns};
    o.codes = allocate(nf4_code_bytes((int64_t)n));
    o.absmax_codes = allocate(n_blocks);
    o.nested_absmax = allocate(nf4_nested_block_count((int64_t)n_blocks) * sizeof(float));
    o.absmax = allocate(n_blocks * sizeof(float));
    nf4_quantize(device, o.codes, o.absmax, o.weights, (int64_t)n);
    o.nf4.codes = o.codes;
    if (row->operation == NF4_MATMUL) { /* double-quantised, as models are */
        nf4_quantize_absmax(o.absmax_codes, o.nested_absmax, &o.nf4.offset, o.absmax,
                            (int64_t)n_blocks);
        o.nf4.absmax_codes = o.absmax_codes;
        o.nf4.nested_absmax = o.nested_absmax;
    } else {
        o.nf4.absmax = o.absmax;
    }
    o.dense = (struct dense_matrix){PRECISION_F32, o.weights, row->rows, row->columns};
    if (row->operation == MATMUL_BF16)
        o.dense.type = PRECISION_BF16, o.dense.data = o.bf16;
    return o;
}

static void free_operands(struct operands *o)
{
    free(o->weights), free(o->bf16), free(o->x), free(o->y);
    free(o->codes), free(o->absmax), free(o->absmax_codes), free(o->nested_absmax);
}

static void run(const struct bench_row *row, struct operands *o, struct device *device)
{
    if (row->operation == NF4_MATMUL)
        nf4_matmul_fwd_cpu(device, o->y, o->x, &o->nf4, row->m, false);
    else if (row->operation == NF4_QUANTIZE)
        nf4_quantize(device, o->codes, o->absmax, o->weights, (int64_t)row->rows * row->columns);
    else
        matmul_fwd_cpu(device, o->y, o->x, &o->dense, row->m, false);
}

/* The first and the last row of y, or all codes: true when they are right. */
static bool verify(const struct bench_row *row, struct operands *o, struct device *device)
{
    size_t n = (size_t)row->rows * (size_t)row->columns;
    run(row, o, device);
    if (row->operation == NF4_QUANTIZE) {
        uint8_t *codes = allocate(nf4_code_bytes((int64_t)n));
        float *absmax = allocate(nf4_block_count((int64_t)n) * sizeof(float));
        nf4_quantize_ref(codes, absmax, o->weights, (int64_t)n);
        bool same = memcmp(codes, o->nf4.codes, nf4_code_bytes((int64_t)n)) == 0 &&
                    memcmp(absmax, o->nf4.absmax, nf4_block_count((int64_t)n) * sizeof(float)) == 0;
        free(codes), free(absmax);
        return same;
    }
    double *w = allocate(n * sizeof *w), *x = allocate((size_t)row->columns * sizeof *x);
    double *want = allocate((size_t)row->rows * sizeof *want);
    double *magnitude = allocate((size_t)row->rows * sizeof *magnitude);
    if (row->operation == NF4_MATMUL)
        nf4_dequantize_ref(w, &o->nf4);
    else
        for (size_t i = 0; i < n; i++)
            w[i] = row->operation == MATMUL_F32 ? o->weights[i] : bf16_to_float(o->bf16[i]);
    bool right = true;
    int step = row->m > 1 ? row->m - 1 : 1;
    for (int i = 0; i < row->m; i += step) {
        for (int k = 0; k < row->columns; k++)
            x[k] = o->x[(size_t)i * (size_t)row->columns + (size_t)k];
        matmul_fwd_ref(want, magnitude, x, w, 1, row->rows, row->columns, false);
        const float *got = o->y + (size_t)i * (size_t)row->rows;
        for (int j = 0; j < row->rows; j++) /* the bound of tests/test_matmul.c */
            if (!(fabs(got[j] - want[j]) <= 0x1p-24 * (259 + row->columns / 256.0) * magnitude[j]))
                right = false;
    }
    free(w), free(x), free(want), free(magnitude);
    return right;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Products of many rows are bound by arithmetic, the rest by memory. */
static void bench(const struct bench_row *row, struct device *device, const char *name,
                  char *copy_buffers)
{
    struct operands o = make_operands(row, device);
    if (!verify(row, &o, device)) {
        printf("%s  WRONG: differs from the reference\n", name);
        free_operands(&o);
        return;
    }
    bool arithmetic = row->m >= 16;
    double times[1000], bound = 0, start = seconds_now();
    int n = 0;
    while (n < 1000 && (n < LEAST_RUNS || seconds_now() - start < LEAST_SECONDS)) {
        double slice = arithmetic ? measure_arithmetic(device, n ? times[n - 1] : 0)
                                  : measure_copy(copy_buffers, copy_buffers + COPY_BYTES);
        bound = slice > bound ? slice : bound;
        double begin = seconds_now();
        run(row, &o, device);
        times[n++] = seconds_now() - begin;
    }
    qsort(times, (size_t)n, sizeof *times, by_value);
    double weights = (double)row->rows * row->columns, work = 2 * weights * row->m;
    if (!arithmetic) /* bytes of the weight, and of what quantising makes of it */
        work = row->operation == MATMUL_F32    ? 4 * weights
               : row->operation == MATMUL_BF16 ? 2 * weights
               : row->operation == NF4_MATMUL  ? (0.5 + 1.0 / 64) * weights
                                               : (4 + 0.5 + 4.0 / 64) * weights;
    printf("%s %9.3f ms %9.3f ms %8.2f %-8s %8.2f %5.1f %%\n", name, 1e3 * times[n / 2],
           1e3 * times[0], 1e-9 * work / times[0], arithmetic ? "GFLOP/s" : "GB/s", 1e-9 * bound,
           100 * work / times[0] / bound);
    fflush(stdout);
    free_operands(&o);
}

int main(int argc, char **argv)
{
    const char *pattern = argc > 1 ? argv[1] : "";
    char *copy_buffers = allocate(2 * COPY_BYTES);
    printf("%-46s %12s %12s %17s %8s %7s\n", "operation (x) (w), instruction set, threads",
           "median", "best", "rate at best", "bound", "share");
    for (size_t i = 0; i < sizeof bench_rows / sizeof *bench_rows; i++)
        for (int threads = 1; threads <= 2; threads++) {
            const struct bench_row *row = &bench_rows[i];
            struct device device;
            struct err err;
            if (device_open(&device, "cpu", threads, &err) != STATUS_OK) {
                fprintf(stderr, "bench: %s\n", err.text);
                return err.status;
            }
            char shape[64], name[128];
            snprintf(shape, sizeof shape, "(%d, %d) (%d, %d)", row->m, row->columns, row->rows,
                     row->columns);
            snprintf(name, sizeof name, "%-12s %-25s %-8s %d", operation_names[row->operation],
                     row->operation == NF4_QUANTIZE ? strchr(shape + 1, '(') : shape,
                     cpu_isa_name(device.isa), threads);
            if (strstr(name, pattern))
                bench(row, &device, name, copy_buffers);
            device_close(&device);
        }
    free(copy_buffers);
    return 0;
}
