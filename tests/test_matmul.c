/* The matrix products, dense and NF4, against the float64 reference; and that a row of the result
 * depends on nothing but its own input. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/float16.h"
#include "kernels/matmul.h"
#include "kernels/nf4_matmul.h"

enum format { F32, BF16, NF4, NF4_NESTED, N_FORMATS };
static const char *const format_names[] = {"F32", "BF16", "NF4", "NF4 nested"};

/* A random weight in one of the formats, and what it stands for in float64. */
struct weight {
    enum format format;
    int rows, columns;
    struct dense_matrix dense;
    struct nf4_matrix nf4;
    void *owned[4];
    double *values; /* (rows, columns) */
};

static void *allocate(size_t bytes)
{
    void *pointer = malloc(bytes + 1);
    ck_assert_ptr_nonnull(pointer);
    return pointer;
}

static struct weight make_weight(struct device *device, enum format format, int rows, int columns)
{
    struct weight w = {.format = format, .rows = rows, .columns = columns};
    size_t n = (size_t)rows * (size_t)columns;
    float *x = allocate(n * sizeof *x);
    fill_normal(x, n, 11, 0.05f);
    w.values = allocate(n * sizeof *w.values);
    w.owned[0] = x;
    if (format == F32) {
        w.dense = (struct dense_matrix){PRECISION_F32, x, rows, columns};
        for (size_t i = 0; i < n; i++)
            w.values[i] = x[i];
    } else if (format == BF16) {
        uint16_t *bits = w.owned[1] = allocate(n * sizeof *bits);
        for (size_t i = 0; i < n; i++) {
            bits[i] = bf16_from_float(x[i]);
            w.values[i] = bf16_to_float(bits[i]);
        }
        w.dense = (struct dense_matrix){PRECISION_BF16, bits, rows, columns};
    } else {
        size_t n_blocks = nf4_block_count((int64_t)n);
        w.nf4 = (struct nf4_matrix){.rows = rows, .columns = columns};
        uint8_t *codes = w.owned[1] = allocate(nf4_code_bytes((int64_t)n));
        float *absmax = w.owned[2] = allocate(n_blocks * sizeof(float));
        nf4_quantize(device, codes, absmax, x, (int64_t)n);
        w.nf4.codes = codes;
        w.nf4.absmax = absmax;
        if (format == NF4_NESTED) {
            size_t n_nested = nf4_nested_block_count((int64_t)n_blocks);
            float *nested_absmax = w.owned[3] = allocate(n_nested * sizeof(float) + n_blocks);
            uint8_t *absmax_codes = (uint8_t *)(nested_absmax + n_nested);
            nf4_quantize_absmax(absmax_codes, nested_absmax, &w.nf4.offset, absmax,
                                (int64_t)n_blocks);
            w.nf4.absmax = NULL;
            w.nf4.absmax_codes = absmax_codes;
            w.nf4.nested_absmax = nested_absmax;
        }
        nf4_dequantize_ref(w.values, &w.nf4);
    }
    return w;
}

static void free_weight(struct weight *w)
{
    for (int i = 0; i < 4; i++)
        free(w->owned[i]);
    free(w->values);
}

static void multiply(struct device *device, float *y, const float *x, const struct weight *w, int m,
                     bool add)
{
    struct err err;
    enum status status = w->format >= NF4 ? nf4_matmul_fwd(device, y, x, &w->nf4, m, add, &err)
                                          : matmul_fwd(device, y, x, &w->dense, m, add, &err);
    ck_assert_int_eq(status, STATUS_OK);
}

static void check_case(struct device *device, const struct weight *w, int m, bool add)
{
    size_t n_x = (size_t)m * (size_t)w->columns, n_y = (size_t)m * (size_t)w->rows;
    float *x = guarded_floats(n_x), *y = guarded_floats(n_y);
    fill_normal(x, n_x, 12, 2.0f);
    if (add)
        fill_normal(y, n_y, 13, 1.0f);
    double *x64 = to_doubles(x, n_x), *want = to_doubles(y, n_y);
    double *before = to_doubles(y, n_y), *magnitude = allocate(n_y * sizeof *magnitude);
    matmul_fwd_ref(want, magnitude, x64, w->values, m, w->rows, w->columns, add);
    multiply(device, y, x, w, m, add);
    for (size_t i = 0; i < n_y; i++) {
        double limit =
            matmul_fwd_tolerance(w->columns) * (magnitude[i] + (add ? fabs(before[i]) : 0));
        ck_assert_msg(fabs(y[i] - want[i]) <= limit,
                      "%s %s, %d x (%d, %d)%s: element %zu: got %.9g, want %.9g, limit %.3g",
                      test_device_name(device), format_names[w->format], m, w->rows, w->columns,
                      add ? " add" : "", i, (double)y[i], want[i], limit);
    }
    check_guarded(x, n_x);
    check_guarded(y, n_y);
    free(x64), free(want), free(before), free(magnitude);
}

/* Around the tile of 6 rows (3 in the portable code), the panel of 16, the depth of 256, the NF4
 * block of 64 with its rows that straddle blocks and bytes, and several runs of panels. */
static const int row_counts[] = {0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 33};
static const int shapes[][2] = {{1, 1},     {3, 5},    {7, 100},   {15, 64},  {16, 64},
                                {17, 128},  {31, 63},  {33, 65},   {16, 255}, {5, 257},
                                {100, 192}, {64, 576}, {129, 320}, {37, 513}, {200, 100}};

START_TEST(products_match_reference)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int format = 0; format < N_FORMATS; format++) {
            struct weight w = make_weight(&device, (enum format)format, shapes[s][0], shapes[s][1]);
            for (size_t i = 0; i < sizeof row_counts / sizeof *row_counts; i++)
                for (int add = 0; add < 2; add++)
                    check_case(&device, &w, row_counts[i], add);
            free_weight(&w);
        }
    device_close(&device);
}
END_TEST

/* A batch beyond one block of rows (384), a long sum, and panels enough (32, for each of three
 * threads) that pieces of X are copied, of a whole and of a part of the depth. */
START_TEST(large_products_match_reference)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    for (int format = 0; format < N_FORMATS; format++) {
        struct weight w = make_weight(&device, (enum format)format, 40, 320);
        check_case(&device, &w, 384, false);
        check_case(&device, &w, 385, true);
        check_case(&device, &w, 800, false);
        free_weight(&w);
        w = make_weight(&device, (enum format)format, 20, 4096);
        check_case(&device, &w, 7, false);
        free_weight(&w);
        w = make_weight(&device, (enum format)format, 1540, 300);
        check_case(&device, &w, 13, false);
        check_case(&device, &w, 13, true);
        free_weight(&w);
        w = make_weight(&device, (enum format)format, 520, 1024);
        check_case(&device, &w, 385, false);
        free_weight(&w);
    }
    device_close(&device);
}
END_TEST

/* Batch invariance: rows 0, 299 and those around tile edges, alone and in a batch of 400 (two row
 * blocks), with pieces of X copied (one thread) and where they lie, for both instruction sets, with
 * 1, 2 and 3 threads: the same bits. */
START_TEST(a_row_does_not_depend_on_its_batch)
{
    enum { BATCH = 400, ROWS = 520, COLUMNS = 576 };
    static const int samples[] = {0, 1, 5, 6, 7, 195, 197, 201, 204, 299, 399};
    static const char *const isas[] = {"portable", "avx2"};
    float *x = allocate(sizeof *x * BATCH * COLUMNS), *first = allocate(sizeof *x * BATCH * ROWS);
    float *y = allocate(sizeof *x * BATCH * ROWS), row[ROWS];
    fill_normal(x, BATCH * COLUMNS, 21, 1.0f);
    for (int isa = 0; isa < 2; isa++) {
        if (isa == 1 && !cpu_has(CPU_AVX2))
            break;
        setenv("MIDASHI_CPU", isas[isa], 1);
        for (int threads = 1; threads <= 3; threads++)
            for (int format = 0; format < N_FORMATS; format++) {
                struct device device;
                struct err err;
                ck_assert_int_eq(device_open(&device, "cpu", threads, &err), STATUS_OK);
                struct weight w = make_weight(&device, (enum format)format, ROWS, COLUMNS);
                multiply(&device, y, x, &w, BATCH, false);
                for (size_t s = 0; s < sizeof samples / sizeof *samples; s++) {
                    int i = samples[s];
                    multiply(&device, row, x + i * COLUMNS, &w, 1, false);
                    ck_assert_msg(memcmp(row, y + i * ROWS, sizeof row) == 0,
                                  "%s %s, %d threads: row %d alone differs", isas[isa],
                                  format_names[format], threads, i);
                }
                if (format == NF4_NESTED) {
                    if (threads == 1)
                        memcpy(first, y, sizeof *y * BATCH * ROWS);
                    ck_assert_msg(memcmp(first, y, sizeof *y * BATCH * ROWS) == 0,
                                  "%s: %d threads differ from 1", isas[isa], threads);
                }
                free_weight(&w);
                device_close(&device);
            }
    }
    free(x), free(y), free(first);
}
END_TEST

/* Decoding on the fly is exact: the product is that of the dequantised matrix, bit for bit. */
START_TEST(nf4_product_equals_that_of_the_dequantised_weight)
{
    static const int cases[][2] = {{48, 576}, {37, 128}, {29, 100}, {7, 257}};
    struct device device;
    ck_assert(test_device(_i, &device));
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (enum format format = NF4; format <= NF4_NESTED; format++) {
            int rows = cases[c][0], columns = cases[c][1], m = 13;
            struct weight w = make_weight(&device, format, rows, columns);
            size_t n = (size_t)rows * (size_t)columns;
            float *decoded = guarded_floats(n), *x = guarded_floats((size_t)(m * columns));
            float *got = guarded_floats((size_t)(m * rows));
            float *want = guarded_floats((size_t)(m * rows));
            fill_normal(x, (size_t)(m * columns), 31, 1.0f);
            nf4_dequantize(&device, decoded, &w.nf4, 0, rows);
            struct dense_matrix dense = {PRECISION_F32, decoded, rows, columns};
            nf4_matmul_fwd_cpu(&device, got, x, &w.nf4, m, false);
            matmul_fwd_cpu(&device, want, x, &dense, m, false);
            ck_assert_mem_eq(got, want, sizeof *got * (size_t)(m * rows));
            check_guarded(decoded, n), check_guarded(x, (size_t)(m * columns));
            check_guarded(got, (size_t)(m * rows)), check_guarded(want, (size_t)(m * rows));
            free_weight(&w);
        }
    device_close(&device);
}
END_TEST

START_TEST(nan_stays_in_its_row)
{
    enum { M = 14, ROWS = 20, COLUMNS = 64 };
    struct device device;
    ck_assert(test_device(_i, &device));
    for (int format = 0; format < N_FORMATS; format++) {
        struct weight w = make_weight(&device, (enum format)format, ROWS, COLUMNS);
        float x[M * COLUMNS], y[M * ROWS];
        fill_normal(x, M * COLUMNS, 41, 1.0f);
        x[8 * COLUMNS + 63] = NAN;
        multiply(&device, y, x, &w, M, false);
        for (int i = 0; i < M * ROWS; i++)
            ck_assert_msg(isnan(y[i]) == (i / ROWS == 8), "%s: row %d column %d is %g",
                          format_names[format], i / ROWS, i % ROWS, (double)y[i]);
        free_weight(&w);
    }
    device_close(&device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("matmul");
    TCase *tests = tcase_create("matmul");
    tcase_set_timeout(tests, 300);
    int n_devices = cpu_has(CPU_AVX2) ? 3 : 1;
    tcase_add_loop_test(tests, products_match_reference, 0, n_devices);
    tcase_add_loop_test(tests, large_products_match_reference, 0, n_devices);
    tcase_add_test(tests, a_row_does_not_depend_on_its_batch);
    tcase_add_loop_test(tests, nf4_product_equals_that_of_the_dequantised_weight, 0, n_devices);
    tcase_add_loop_test(tests, nan_stays_in_its_row, 0, n_devices);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
