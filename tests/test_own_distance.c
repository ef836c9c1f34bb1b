/* Distances to rows' own centres: those of squared_distance, bit for bit. */
#include "kernels/own_distance.h"

#include <math.h>
#include <stdlib.h>
#include "kernels/squared_distance.h"
#include "tests/support.h"

static const struct shape {
    int n, k, d;
} shapes[] = {{0, 2, 3},   {1, 1, 1},    {5, 2, 2},     {63, 3, 7},
              {64, 9, 64}, {65, 4, 129}, {300, 20, 576}};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

START_TEST(own_distances_are_some_of_all)
{
    const struct shape *s = &shapes[_i];
    size_t rows = (size_t)s->n * (size_t)s->d, size = (size_t)s->k * (size_t)s->d;
    size_t n = (size_t)s->n, k = (size_t)s->k;
    float *x = guarded_floats(rows), *centres = guarded_floats(size);
    double *all = test_alloc(n * k * sizeof *all), *got = test_alloc(n * sizeof *got);
    double *want = test_alloc(n * sizeof *want);
    int32_t *label = test_alloc(n * sizeof *label);
    fill_normal(x, rows, 1, 1.0f);
    fill_normal(centres, size, 2, 1.0f);
    for (size_t i = 0; i < n; i++)
        label[i] = (int32_t)(mix64(3, i) % k);
    double *x64 = to_doubles(x, rows), *centres64 = to_doubles(centres, size);
    own_distance_fwd_ref(want, x64, centres64, label, s->n, s->d);
    struct device device;
    struct err err;
    for (int i = 0; test_device(i, &device); i++) {
        ck_assert_int_eq(squared_distance_fwd(&device, all, x, centres, s->n, s->k, s->d, &err),
                         STATUS_OK);
        ck_assert_int_eq(own_distance_fwd(&device, got, x, centres, label, s->n, s->d, &err),
                         STATUS_OK);
        for (size_t row = 0; row < n; row++) {
            ck_assert(got[row] == all[row * k + (size_t)label[row]]);
            ck_assert(fabs(got[row] - want[row]) <=
                      squared_distance_fwd_tolerance(s->d) * want[row]);
        }
        device_close(&device);
    }
    free(x64), free(centres64), free(all), free(got), free(want), free(label);
    check_guarded(x, rows);
    check_guarded(centres, size);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("own_distance");
    TCase *tests = tcase_create("own_distance");
    tcase_add_loop_test(tests, own_distances_are_some_of_all, 0, N_SHAPES);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
