/* Adding a bias against its float64 reference. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include "kernels/bias.h"

/* Empty, single, round the vector width of 4 and the task size of 16 rows. */
static const struct {
    int n, d;
} cases[] = {{0, 8}, {1, 1}, {1, 3}, {2, 4}, {3, 5}, {15, 7}, {16, 64}, {17, 31}, {40, 576}};

START_TEST(bias_matches_reference)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            int n = cases[c].n, d = cases[c].d;
            size_t size = (size_t)n * (size_t)d;
            float *y = guarded_floats(size), *bias = guarded_floats((size_t)d);
            fill_normal(y, size, 1, 1.0f);
            fill_normal(bias, (size_t)d, 2, 1.0f);
            double *want = to_doubles(y, size), *bias64 = to_doubles(bias, (size_t)d);
            bias_fwd_ref(want, bias64, n, d);
            struct err err;
            ck_assert_int_eq(bias_fwd(&device, y, bias, n, d, &err), STATUS_OK);
            /* One rounding. */
            check_close(y, want, size, 0, 0x1p-24, "%s %d x %d", test_device_name(&device), n, d);
            free(want), free(bias64);
            check_guarded(y, size);
            check_guarded(bias, (size_t)d);
        }
        device_close(&device);
    }
}
END_TEST

START_TEST(bias_keeps_elements_apart)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        float y[3 * 5] = {0}, bias[5] = {1, 2, 3, 4, NAN};
        struct err err;
        y[5] = NAN;
        ck_assert_int_eq(bias_fwd(&device, y, bias, 3, 5, &err), STATUS_OK);
        for (int j = 0; j < 15; j++)
            ck_assert(j == 5 || j % 5 == 4 ? isnan(y[j]) : y[j] == bias[j % 5]);
        device_close(&device);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bias");
    TCase *tests = tcase_create("bias");
    tcase_add_test(tests, bias_matches_reference);
    tcase_add_test(tests, bias_keeps_elements_apart);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
