/* The matrix products, dense and NF4, and their gradients by the input, against the float64
 * references; and that a row of the result
 * depends on nothing but its own input. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/float16.h"
#include "kernels/matmul.h"
#include "kernels/nf4_matmul.h"
#include "tests/gradient_check.h"

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

static struct weight make_weight(struct device *device, enum format format, int rows, int columns)
{
    struct weight w = {.format = format, .rows = rows, .columns = columns};
    size_t n = (size_t)rows * (size_t)columns;
    float *x = test_alloc(n * sizeof *x);
    fill_normal(x, n, 11, 0.05f);
    w.values = test_alloc(n * sizeof *w.values);
    w.owned[0] = x;
    if (format == F32) {
        w.dense = (struct dense_matrix){PRECISION_F32, x, rows, columns};
        for (size_t i = 0; i < n; i++)
            w.values[i] = x[i];
    } else if (format == BF16) {
        uint16_t *bits = w.owned[1] = test_alloc(n * sizeof *bits);
        for (size_t i = 0; i < n; i++) {
            bits[i] = bf16_from_float(x[i]);
            w.values[i] = bf16_to_float(bits[i]);
        }
        w.dense = (struct dense_matrix){PRECISION_BF16, bits, rows, columns};
    } else {
        size_t n_blocks = nf4_block_count((int64_t)n);
        w.nf4 = (struct nf4_matrix){.rows = rows, .columns = columns};
        uint8_t *codes = w.owned[1] = test_alloc(nf4_code_bytes((int64_t)n));
        float *absmax = w.owned[2] = test_alloc(n_blocks * sizeof(float));
        nf4_quantize(device, codes, absmax, x, (int64_t)n);
        w.nf4.codes = codes;
        w.nf4.absmax = absmax;
        if (format == NF4_NESTED) {
            size_t n_nested = nf4_nested_block_count((int64_t)n_blocks);
            float *nested_absmax = w.owned[3] = test_alloc(n_nested * sizeof(float) + n_blocks);
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

static void multiply_back(struct device *device, float *dx, const float *dy, const struct weight *w,
                          int m, bool add)
{
    struct err err;
    enum status status = w->format >= NF4
                             ? nf4_matmul_bwd_input(device, dx, dy, &w->nf4, m, add, &err)
                             : matmul_bwd_input(device, dx, dy, &w->dense, m, add, &err);
    ck_assert_int_eq(status, STATUS_OK);
}

/* Of the product, or of its gradient by the input (back). */
static void check_way(struct device *device, const struct weight *w, int m, bool add, bool back)
{
    size_t n_x = (size_t)m * (size_t)(back ? w->rows : w->columns);
    size_t n_y = (size_t)m * (size_t)(back ? w->columns : w->rows);
    double tolerance = matmul_fwd_tolerance(back ? w->rows : w->columns);
    float *x = guarded_floats(n_x), *y = guarded_floats(n_y);
    fill_normal(x, n_x, 12, 2.0f);
    if (add)
        fill_normal(y, n_y, 13, 1.0f);
    double *x64 = to_doubles(x, n_x), *want = to_doubles(y, n_y);
    double *before = to_doubles(y, n_y), *magnitude = test_alloc(n_y * sizeof *magnitude);
    (back ? matmul_bwd_input_ref : matmul_fwd_ref)(want, magnitude, x64, w->values, m, w->rows,
                                                   w->columns, add);
    (back ? multiply_back : multiply)(device, y, x, w, m, add);
    for (size_t i = 0; i < n_y; i++) {
        double limit = tolerance * (magnitude[i] + (add ? fabs(before[i]) : 0));
        if (!(fabs(y[i] - want[i]) <= limit))
            ck_abort_msg("%s %s, %d x (%d, %d)%s%s: element %zu: got %.9g, want %.9g, limit %.3g",
                         test_device_name(device), format_names[w->format], m, w->rows, w->columns,
                         add ? " add" : "", back ? " back" : "", i, (double)y[i], want[i], limit);
    }
    check_guarded(x, n_x);
    check_guarded(y, n_y);
    free(x64), free(want), free(before), free(magnitude);
}

static void check_case(struct device *device, const struct weight *w, int m, bool add)
{
    check_way(device, w, m, add, false);
    check_way(device, w, m, add, true);
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
        /* As an adapter's: few panels, shared out by rows. */
        w = make_weight(&device, (enum format)format, 16, 512);
        check_case(&device, &w, 200, false);
        free_weight(&w);
        w = make_weight(&device, (enum format)format, 576, 32);
        check_case(&device, &w, 704, true);
        free_weight(&w);
    }
    device_close(&device);
}
END_TEST

enum { GRADIENT_M = 3, GRADIENT_ROWS = 5, GRADIENT_COLUMNS = 7 };

struct gradient_case {
    double *y, *dy, *x, *w;
};

static double loss(void *context)
{
    struct gradient_case *c = context;
    matmul_fwd_ref(c->y, NULL, c->x, c->w, GRADIENT_M, GRADIENT_ROWS, GRADIENT_COLUMNS, false);
    return weighted_sum(c->y, c->dy, GRADIENT_M * GRADIENT_ROWS);
}

START_TEST(gradient_of_the_input_is_right)
{
    size_t n_x = GRADIENT_M * GRADIENT_COLUMNS, n_y = GRADIENT_M * GRADIENT_ROWS;
    struct gradient_case c = {zero_doubles(n_y), normal_doubles(n_y, 1, 1),
                              normal_doubles(n_x, 2, 1),
                              normal_doubles(GRADIENT_ROWS * GRADIENT_COLUMNS, 3, 1)};
    double *dx = zero_doubles(n_x);
    matmul_bwd_input_ref(dx, NULL, c.dy, c.w, GRADIENT_M, GRADIENT_ROWS, GRADIENT_COLUMNS, false);
    check_gradient(loss, &c, c.x, dx, n_x, "matmul");
    free(c.y), free(c.dy), free(c.x), free(c.w), free(dx);
}
END_TEST

enum { BATCH = 400 };

/* Rows 0, 299 and those around tile edges, alone and in the batch. y gets the result. */
static void check_rows_alone(struct device *device, const struct weight *w, float *y,
                             const float *x, bool back)
{
    static const int samples[] = {0, 1, 5, 6, 7, 66, 195, 197, 201, 204, 299, 399};
    int n_in = back ? w->rows : w->columns, n_out = back ? w->columns : w->rows;
    float *row = test_alloc(sizeof *row * (size_t)n_out);
    (back ? multiply_back : multiply)(device, y, x, w, BATCH, false);
    for (size_t s = 0; s < sizeof samples / sizeof *samples; s++) {
        int i = samples[s];
        (back ? multiply_back : multiply)(device, row, x + i * n_in, w, 1, false);
        ck_assert_msg(memcmp(row, y + i * n_out, sizeof *row * (size_t)n_out) == 0,
                      "%s %s (%d, %d)%s, %d threads: row %d alone differs",
                      test_device_name(device), format_names[w->format], w->rows, w->columns,
                      back ? " back" : "", threads_size(device->threads), i);
    }
    free(row);
}

/* Batch invariance: rows alone and in a batch of 400 (two row blocks), with pieces of X copied (one
 * thread) and where they lie, with few panels shared out by rows and with many, for both
 * instruction sets, with 1, 2, 3 and 5 threads: the same bits. */
START_TEST(a_row_does_not_depend_on_its_batch)
{
    enum { LARGEST = 576 };
    static const int weights[][2] = {{520, 576}, {20, 576}, {576, 20}}, threads[] = {1, 2, 3, 5};
    static const char *const isas[] = {"portable", "avx2"};
    int format = _i % N_FORMATS, back = _i / N_FORMATS;
    float *x = test_alloc(sizeof *x * BATCH * LARGEST),
          *first = test_alloc(sizeof *x * BATCH * LARGEST);
    float *y = test_alloc(sizeof *x * BATCH * LARGEST);
    fill_normal(x, BATCH * LARGEST, 21, 1.0f);
    for (int isa = 0; isa < 1 + cpu_has(CPU_AVX2); isa++)
        for (int shape = 0; shape < 3; shape++)
            for (int t = 0; t < 4; t++) {
                struct device device;
                struct err err;
                setenv("MIDASHI_CPU", isas[isa], 1);
                ck_assert_int_eq(device_open(&device, "cpu", threads[t], &err), STATUS_OK);
                struct weight w =
                    make_weight(&device, (enum format)format, weights[shape][0], weights[shape][1]);
                size_t size = sizeof *y * BATCH * (size_t)(back ? w.columns : w.rows);
                check_rows_alone(&device, &w, y, x, back);
                if (t == 0)
                    memcpy(first, y, size);
                ck_assert_msg(memcmp(first, y, size) == 0, "%s: %d threads differ from 1",
                              isas[isa], threads[t]);
                free_weight(&w);
                device_close(&device);
            }
    free(x), free(y), free(first);
}
END_TEST

/* Decoding on the fly is exact: the product is that of the dequantised matrix, bit for bit; and
 * the gradient of the input is the product with that matrix transposed. Codes lie at an odd
 * address, as in a mapped file. Rows around 256 of a panel's and odd ones; columns of 16, of 64 and
 * of neither. */
START_TEST(nf4_product_equals_that_of_the_dequantised_weight)
{
    static const int cases[][2] = {{48, 576}, {37, 128}, {29, 100}, {7, 257},  {300, 48}, {259, 80},
                                   {3, 16},   {1, 64},   {257, 33}, {16, 272}, {30, 72}};
    struct device device;
    ck_assert(test_device(_i, &device));
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (enum format format = NF4; format <= NF4_NESTED; format++) {
            int rows = cases[c][0], columns = cases[c][1], m = 13;
            struct weight w = make_weight(&device, format, rows, columns);
            size_t n = (size_t)rows * (size_t)columns, n_x = (size_t)(m * columns);
            size_t n_y = (size_t)(m * rows), n_codes = nf4_code_bytes((int64_t)n);
            uint8_t *codes = test_alloc(n_codes + 1);
            memcpy(codes + 1, w.nf4.codes, n_codes);
            w.nf4.codes = codes + 1;
            float *decoded = guarded_floats(n), *turned = guarded_floats(n);
            float *x = guarded_floats(n_x), *dy = guarded_floats(n_y);
            float *y = guarded_floats(n_y), *want_y = guarded_floats(n_y);
            float *dx = guarded_floats(n_x), *want_dx = guarded_floats(n_x);
            fill_normal(x, n_x, 31, 1.0f);
            fill_normal(dy, n_y, 32, 1.0f);
            nf4_dequantize(&device, decoded, &w.nf4, 0, rows);
            for (size_t i = 0; i < n; i++)
                turned[i % (size_t)columns * (size_t)rows + i / (size_t)columns] = decoded[i];
            struct dense_matrix dense = {PRECISION_F32, decoded, rows, columns};
            struct dense_matrix transposed = {PRECISION_F32, turned, columns, rows};
            nf4_matmul_fwd_cpu(&device, y, x, &w.nf4, m, false);
            matmul_fwd_cpu(&device, want_y, x, &dense, m, false);
            ck_assert_mem_eq(y, want_y, sizeof *y * n_y);
            nf4_matmul_bwd_input_cpu(&device, dx, dy, &w.nf4, m, false);
            matmul_fwd_cpu(&device, want_dx, dy, &transposed, m, false);
            ck_assert_mem_eq(dx, want_dx, sizeof *dx * n_x);
            matmul_bwd_input_cpu(&device, dx, dy, &dense, m, false);
            ck_assert_mem_eq(dx, want_dx, sizeof *dx * n_x);
            check_guarded(decoded, n), check_guarded(turned, n);
            check_guarded(x, n_x), check_guarded(dx, n_x), check_guarded(want_dx, n_x);
            check_guarded(y, n_y), check_guarded(dy, n_y), check_guarded(want_y, n_y);
            free(codes);
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
        multiply_back(&device, x, y, &w, M, false);
        for (int i = 0; i < M * COLUMNS; i++)
            ck_assert_msg(isnan(x[i]) == (i / COLUMNS == 8), "%s back: row %d column %d is %g",
                          format_names[format], i / COLUMNS, i % COLUMNS, (double)x[i]);
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
    tcase_add_test(tests, gradient_of_the_input_is_right);
    tcase_add_loop_test(tests, a_row_does_not_depend_on_its_batch, 0, 2 * N_FORMATS);
    tcase_add_loop_test(tests, nf4_product_equals_that_of_the_dequantised_weight, 0, n_devices);
    tcase_add_loop_test(tests, nan_stays_in_its_row, 0, n_devices);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
