/* RMSNorm against its float64 reference. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include "kernels/rmsnorm.h"

/* n rows of d values: empty, single, around the vector width of 8 and the task size of 16. */
static const struct {
    int n, d;
    float eps;
} cases[] = {
    {0, 8, 1e-5f},   {1, 1, 1e-5f},   {1, 7, 1e-6f},   {2, 8, 1e-5f},    {3, 9, 1e-5f},
    {15, 31, 1e-5f}, {16, 33, 1e-5f}, {17, 64, 1e-6f}, {33, 576, 1e-5f}, {5, 4096, 1e-5f},
};

static void check_case(struct device *device, int n, int d, float eps, bool in_place)
{
    size_t size = (size_t)n * (size_t)d;
    float *x = guarded_floats(size), *y = in_place ? x : guarded_floats(size);
    float *weight = guarded_floats((size_t)d);
    fill_normal(x, size, 1, 3.0f);
    fill_uniform(weight, (size_t)d, 2, -2.0f, 2.0f);
    double *x64 = to_doubles(x, size), *weight64 = to_doubles(weight, (size_t)d);
    double *want = malloc(size * sizeof *want + 1);
    rmsnorm_fwd_ref(want, x64, weight64, n, d, (double)eps);
    struct err err;
    ck_assert_int_eq(rmsnorm_fwd(device, y, x, weight, n, d, eps, &err), STATUS_OK);
    check_close(y, want, size, 0, rmsnorm_fwd_tolerance(d), "%s %d x %d%s",
                test_device_name(device), n, d, in_place ? " in place" : "");
    free(x64), free(weight64), free(want);
    check_guarded(x, size);
    if (!in_place)
        check_guarded(y, size);
    check_guarded(weight, (size_t)d);
}

START_TEST(rmsnorm_matches_reference)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
            for (int in_place = 0; in_place < 2; in_place++)
                check_case(&device, cases[c].n, cases[c].d, cases[c].eps, in_place);
        device_close(&device);
    }
}
END_TEST

START_TEST(rmsnorm_keeps_rows_apart)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        float x[3 * 5], y[3 * 5], weight[5] = {1, 1, 1, 1, 1};
        fill_normal(x, 15, 3, 1.0f);
        x[7] = NAN;
        rmsnorm_fwd_cpu(&device, y, x, weight, 3, 5, 1e-5f);
        for (int j = 0; j < 5; j++) {
            ck_assert(isfinite(y[j]) && isfinite(y[10 + j]));
            ck_assert(isnan(y[5 + j]));
        }
        device_close(&device);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rmsnorm");
    TCase *tests = tcase_create("rmsnorm");
    tcase_add_test(tests, rmsnorm_matches_reference);
    tcase_add_test(tests, rmsnorm_keeps_rows_apart);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
