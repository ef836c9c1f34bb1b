/* The gradient by a weight against its float64 reference, and the order of its sums. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/matmul.h"
#include "kernels/weight_gradient.h"
#include "tests/gradient_check.h"

/* Units: none, empty ones, one row, around the depth of 256 and beyond twice of it. */
static const struct {
    int n_units;
    int32_t units[7];
} cuts[] = {
    {0, {0}},
    {1, {0, 0}},
    {1, {0, 1}},
    {1, {0, 48}},
    {4, {0, 7, 7, 60, 61}},
    {2, {0, 256, 511}},
    {3, {0, 257, 258, 858}},
};
enum { N_CUTS = sizeof cuts / sizeof *cuts };

/* Around the tile of 6, the panel of 16, and blocks of 96 rows and 128 columns. */
static const int shapes[][2] = {{1, 1},   {2, 3},    {5, 15},  {6, 16},   {7, 17},   {8, 576},
                                {13, 33}, {77, 200}, {96, 32}, {97, 129}, {300, 40}, {32, 700}};

static void apply(struct device *device, float *dw, const float *dy, const float *x,
                  const int32_t *units, int n_units, int rows, int columns)
{
    struct err err;
    ck_assert_int_eq(weight_gradient(device, dw, dy, x, units, n_units, rows, columns, &err),
                     STATUS_OK);
}

static void check_case(struct device *device, int rows, int columns, int cut)
{
    const int32_t *units = cuts[cut].units;
    int n_units = cuts[cut].n_units;
    size_t m = (size_t)units[n_units], n = (size_t)rows * (size_t)columns;
    size_t n_dy = m * (size_t)rows, n_x = m * (size_t)columns;
    float *dw = guarded_floats(n), *dy = guarded_floats(n_dy), *x = guarded_floats(n_x);
    fill_normal(dw, n, 1, 1.0f);
    fill_normal(dy, n_dy, 2, 1.0f);
    fill_normal(x, n_x, 3, 1.0f);
    double *before = to_doubles(dw, n), *want = to_doubles(dw, n), *magnitude = zero_doubles(n);
    double *dy64 = to_doubles(dy, n_dy), *x64 = to_doubles(x, n_x);
    weight_gradient_ref(want, magnitude, dy64, x64, units, n_units, rows, columns);
    apply(device, dw, dy, x, units, n_units, rows, columns);
    for (size_t i = 0; i < n; i++) {
        double limit = weight_gradient_tolerance(units, n_units) * (magnitude[i] + fabs(before[i]));
        if (!(fabs(dw[i] - want[i]) <= limit))
            ck_abort_msg("%s (%d, %d), cut %d: element %zu: got %.9g, want %.9g, limit %.3g",
                         test_device_name(device), rows, columns, cut, i, (double)dw[i], want[i],
                         limit);
    }
    check_guarded(dw, n), check_guarded(dy, n_dy), check_guarded(x, n_x);
    free(before), free(want), free(magnitude), free(dy64), free(x64);
}

START_TEST(gradient_matches_reference)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int cut = 0; cut < N_CUTS; cut++)
            check_case(&device, shapes[s][0], shapes[s][1], cut);
    device_close(&device);
}
END_TEST

/* The contract's order, element by element: to the bit. */
START_TEST(sums_are_a_chain_over_a_unit)
{
    enum { ROWS = 14, COLUMNS = 37 };
    struct device device;
    ck_assert(test_device(_i, &device));
    for (int cut = 0; cut < N_CUTS; cut++) {
        const int32_t *units = cuts[cut].units;
        size_t m = (size_t)units[cuts[cut].n_units];
        float *dy = guarded_floats(m * ROWS), *x = guarded_floats(m * COLUMNS);
        float dw[ROWS * COLUMNS], want[ROWS * COLUMNS];
        fill_normal(dy, m * ROWS, 4, 1.0f);
        fill_normal(x, m * COLUMNS, 5, 1.0f);
        fill_normal(dw, ROWS * COLUMNS, 6, 1.0f);
        memcpy(want, dw, sizeof dw);
        for (int i = 0; i < ROWS * COLUMNS; i++)
            for (int u = 0; u < cuts[cut].n_units; u++) {
                float sum = 0;
                for (int t = units[u]; t < units[u + 1]; t++) {
                    float a = dy[t * ROWS + i / COLUMNS], b = x[t * COLUMNS + i % COLUMNS];
                    sum = device.isa == CPU_PORTABLE ? sum + a * b : fmaf(a, b, sum);
                }
                want[i] += sum;
            }
        apply(&device, dw, dy, x, units, cuts[cut].n_units, ROWS, COLUMNS);
        ck_assert_mem_eq(dw, want, sizeof dw);
        check_guarded(dy, m * ROWS), check_guarded(x, m * COLUMNS);
    }
    device_close(&device);
}
END_TEST

/* Units in one call or one by one, 1, 2, 3 and 5 threads: the same bytes. */
START_TEST(bytes_do_not_depend_on_calls_or_threads)
{
    enum { UNITS = 3, LARGEST = 300 };
    static const int32_t units[] = {0, 50, 350, 397};
    static const int weights[][2] = {{32, 300}, {300, 32}, {77, 150}}, threads[] = {1, 2, 3, 5};
    static const char *const isas[] = {"portable", "avx2"};
    size_t m = 397;
    float *dy = guarded_floats(m * LARGEST), *x = guarded_floats(m * LARGEST);
    float *dw = guarded_floats(LARGEST * LARGEST), *first = guarded_floats(LARGEST * LARGEST);
    fill_normal(dy, m * LARGEST, 7, 1.0f);
    fill_normal(x, m * LARGEST, 8, 1.0f);
    for (int isa = 0; isa < 1 + cpu_has(CPU_AVX2); isa++)
        for (int shape = 0; shape < 3; shape++)
            for (int t = 0; t < 4; t++) {
                int rows = weights[shape][0], columns = weights[shape][1];
                size_t n = (size_t)(rows * columns);
                struct device device;
                struct err err;
                setenv("MIDASHI_CPU", isas[isa], 1);
                ck_assert_int_eq(device_open(&device, "cpu", threads[t], &err), STATUS_OK);
                fill_normal(dw, n, 9, 1.0f);
                apply(&device, dw, dy, x, units, UNITS, rows, columns);
                if (t == 0)
                    memcpy(first, dw, n * sizeof *dw);
                ck_assert_mem_eq(dw, first, n * sizeof *dw);
                fill_normal(dw, n, 9, 1.0f);
                for (int u = 0; u < UNITS; u++) {
                    int32_t one[] = {0, units[u + 1] - units[u]};
                    apply(&device, dw, dy + units[u] * rows, x + units[u] * columns, one, 1, rows,
                          columns);
                }
                ck_assert_mem_eq(dw, first, n * sizeof *dw);
                device_close(&device);
            }
    check_guarded(dy, m * LARGEST), check_guarded(x, m * LARGEST);
    check_guarded(dw, LARGEST * LARGEST), check_guarded(first, LARGEST * LARGEST);
}
END_TEST

START_TEST(nan_stays_in_its_row_or_column)
{
    enum { M = 9, ROWS = 8, COLUMNS = 20 };
    static const int32_t units[] = {0, M};
    struct device device;
    ck_assert(test_device(_i, &device));
    float dy[M * ROWS], x[M * COLUMNS], dw[ROWS * COLUMNS] = {0};
    fill_normal(dy, M * ROWS, 10, 1.0f);
    fill_normal(x, M * COLUMNS, 11, 1.0f);
    dy[3 * ROWS + 7] = NAN;
    x[4 * COLUMNS + 18] = INFINITY;
    apply(&device, dw, dy, x, units, 1, ROWS, COLUMNS);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        ck_assert(isfinite(dw[i]) == (i / COLUMNS != 7 && i % COLUMNS != 18));
    device_close(&device);
}
END_TEST

enum { GRADIENT_M = 6, GRADIENT_ROWS = 3, GRADIENT_COLUMNS = 5 };

struct gradient_case {
    double *y, *dy, *x, *w;
};

static double loss(void *context)
{
    struct gradient_case *c = context;
    matmul_fwd_ref(c->y, NULL, c->x, c->w, GRADIENT_M, GRADIENT_ROWS, GRADIENT_COLUMNS, false);
    return weighted_sum(c->y, c->dy, GRADIENT_M * GRADIENT_ROWS);
}

START_TEST(reference_matches_differences)
{
    static const int32_t units[] = {0, 2, GRADIENT_M};
    size_t n = GRADIENT_ROWS * GRADIENT_COLUMNS, n_y = GRADIENT_M * GRADIENT_ROWS;
    struct gradient_case c = {zero_doubles(n_y), normal_doubles(n_y, 1, 1),
                              normal_doubles(GRADIENT_M * GRADIENT_COLUMNS, 2, 1),
                              normal_doubles(n, 3, 1)};
    double *dw = zero_doubles(n);
    weight_gradient_ref(dw, NULL, c.dy, c.x, units, 2, GRADIENT_ROWS, GRADIENT_COLUMNS);
    check_gradient(loss, &c, c.w, dw, n, "weight");
    free(c.y), free(c.dy), free(c.x), free(c.w), free(dw);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("weight_gradient");
    TCase *tests = tcase_create("weight_gradient");
    int n_devices = cpu_has(CPU_AVX2) ? 3 : 1;
    tcase_add_loop_test(tests, gradient_matches_reference, 0, n_devices);
    tcase_add_loop_test(tests, sums_are_a_chain_over_a_unit, 0, n_devices);
    tcase_add_test(tests, bytes_do_not_depend_on_calls_or_threads);
    tcase_add_loop_test(tests, nan_stays_in_its_row_or_column, 0, n_devices);
    tcase_add_test(tests, reference_matches_differences);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
