/* The residual add on the CPU against its float64 reference. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include "kernels/residual_add.h"

/* Around the vector of 4 and the task of 16,384 elements. */
static const struct {
    int n, d;
} cases[] = {
    {0, 5}, {1, 1}, {1, 3}, {1, 4}, {3, 5}, {2, 576}, {1, 16383}, {4, 4096}, {1, 16385}, {33, 1001},
};

START_TEST(residual_add_matches_reference)
{
    struct device device;
    struct err err;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            int n = cases[c].n, d = cases[c].d;
            size_t size = (size_t)n * (size_t)d;
            float *x = guarded_floats(size), *y = guarded_floats(size);
            fill_normal(x, size, 1, 3.0f);
            fill_normal(y, size, 2, 1.0f);
            double *x64 = to_doubles(x, size), *want = to_doubles(y, size);
            residual_add_fwd_ref(want, x64, n, d);
            ck_assert_int_eq(residual_add_fwd(&device, y, x, n, d, &err), STATUS_OK);
            /* One addition, rounded to nearest: 2^-24 of the sum. */
            check_close(y, want, size, 0, 0x1p-24, "%s %d x %d", test_device_name(&device), n, d);
            free(x64), free(want);
            check_guarded(x, size);
            check_guarded(y, size);
        }
        device_close(&device);
    }
}
END_TEST

START_TEST(nan_stays_in_its_element)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        float x[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8}, y[9] = {0};
        x[2] = NAN;
        y[8] = INFINITY;
        residual_add_fwd_cpu(&device, y, x, 3, 3);
        for (int j = 0; j < 9; j++)
            ck_assert(j == 2 ? isnan(y[j]) : y[j] == (j == 8 ? INFINITY : (float)j));
        device_close(&device);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("residual_add");
    TCase *tests = tcase_create("residual_add");
    tcase_add_test(tests, residual_add_matches_reference);
    tcase_add_test(tests, nan_stays_in_its_element);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
