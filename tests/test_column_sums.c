/* Sums of columns on the CPU: one chain each, in the order of the rows, bit for bit. */
#include "kernels/column_sums.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tests/support.h"

/* Rows around the four that are taken at once, columns around the sixteen. */
static const struct shape {
    int n, d;
} shapes[] = {{0, 5},  {1, 1},  {3, 16}, {4, 15},  {5, 17},
              {7, 33}, {8, 64}, {9, 2},  {64, 31}, {513, 48}};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

START_TEST(sums_are_chains)
{
    int n = shapes[_i].n, d = shapes[_i].d;
    size_t size = (size_t)n * (size_t)d;
    float *x = guarded_floats(size);
    double *got = test_alloc((size_t)d * sizeof *got), *want = test_alloc((size_t)d * sizeof *want);
    struct device device;
    fill_wide(x, size, 1); /* so that another order has other bits */
    for (int i = 0; test_device(i, &device); i++) {
        for (int j = 0; j < d; j++)
            got[j] = want[j] = j + 0.1;
        for (int row = 0; row < n; row++)
            for (int j = 0; j < d; j++)
                want[j] += (double)x[row * d + j];
        column_sums_rows_cpu(device.isa, got, x, n, d);
        ck_assert_mem_eq(got, want, (size_t)d * sizeof *got);
        device_close(&device);
    }
    free(got), free(want);
    check_guarded(x, size);
}
END_TEST

START_TEST(what_is_not_finite_stays_in_its_column)
{
    enum { N = 6, D = 20 };
    float x[N * D] = {0};
    struct device device;
    x[2 * D + 3] = INFINITY, x[5 * D + 3] = -INFINITY, x[4 * D + 17] = NAN, x[8] = -INFINITY;
    for (int i = 0; test_device(i, &device); i++) {
        double sum[D] = {0};
        column_sums_rows_cpu(device.isa, sum, x, N, D);
        for (int j = 0; j < D; j++)
            ck_assert(j == 3 || j == 17 ? isnan(sum[j]) : sum[j] == (j == 8 ? -INFINITY : 0));
        device_close(&device);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("column_sums");
    TCase *tests = tcase_create("column_sums");
    tcase_add_loop_test(tests, sums_are_chains, 0, N_SHAPES);
    tcase_add_test(tests, what_is_not_finite_stays_in_its_column);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
