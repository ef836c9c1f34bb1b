/* RMSNorm against its float64 reference. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include "kernels/rmsnorm.h"
#include "tests/gradient_check.h"

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

/* ---- the gradient --------------------------------------------------------------------------- */

struct small {
    double *x, *y, *weight, *dy;
    int n, d;
};

static double loss(void *context)
{
    struct small *s = context;
    rmsnorm_fwd_ref(s->y, s->x, s->weight, s->n, s->d, 0.03);
    return weighted_sum(s->y, s->dy, (size_t)(s->n * s->d));
}

START_TEST(rmsnorm_bwd_reference_is_the_gradient)
{
    static const int sizes[][2] = {{1, 1}, {1, 2}, {3, 7}, {2, 16}};
    for (size_t c = 0; c < sizeof sizes / sizeof *sizes; c++) {
        struct small s = {.n = sizes[c][0], .d = sizes[c][1]};
        size_t size = (size_t)(s.n * s.d);
        s.x = normal_doubles(size, 1, 1.0f), s.dy = normal_doubles(size, 2, 1.0f);
        s.weight = normal_doubles((size_t)s.d, 3, 1.0f), s.y = zero_doubles(size);
        double *dx = normal_doubles(size, 4, 1.0f), *twice = normal_doubles(size, 4, 1.0f);
        rmsnorm_bwd_ref(twice, NULL, s.dy, s.x, s.weight, s.n, s.d, 0.03, true);
        for (size_t i = 0; i < size; i++)
            twice[i] -= dx[i];
        check_gradient(loss, &s, s.x, twice, size, "rmsnorm %d x %d, added", s.n, s.d);
        rmsnorm_bwd_ref(dx, NULL, s.dy, s.x, s.weight, s.n, s.d, 0.03, false);
        check_gradient(loss, &s, s.x, dx, size, "rmsnorm %d x %d", s.n, s.d);
        free(s.x), free(s.y), free(s.weight), free(s.dy), free(dx), free(twice);
    }
}
END_TEST

enum way { APART, IN_PLACE, ADDED };

static void check_bwd(struct device *device, int n, int d, float eps, enum way way)
{
    size_t size = (size_t)n * (size_t)d;
    float *x = guarded_floats(size), *dy = guarded_floats(size),
          *weight = guarded_floats((size_t)d);
    float *dx = way == IN_PLACE ? dy : guarded_floats(size);
    fill_normal(x, size, 1, 3.0f);
    fill_normal(dy, size, 2, 1.0f);
    fill_uniform(weight, (size_t)d, 3, -2.0f, 2.0f);
    if (way == ADDED)
        fill_normal(dx, size, 4, 1.0f);
    double *x64 = to_doubles(x, size), *dy64 = to_doubles(dy, size);
    double *weight64 = to_doubles(weight, (size_t)d), *want = to_doubles(dx, size);
    double *magnitude = zero_doubles(size);
    rmsnorm_bwd_ref(want, magnitude, dy64, x64, weight64, n, d, (double)eps, way == ADDED);
    struct err err;
    ck_assert_int_eq(rmsnorm_bwd(device, dx, dy, x, weight, n, d, eps, way == ADDED, &err),
                     STATUS_OK);
    for (size_t i = 0; i < size; i++)
        if (!(fabs(dx[i] - want[i]) <= rmsnorm_bwd_tolerance(d) * magnitude[i]))
            ck_abort_msg("%s %d x %d, way %d: dx[%zu] = %.9g, want %.9g", test_device_name(device),
                         n, d, way, i, (double)dx[i], want[i]);
    free(x64), free(dy64), free(weight64), free(want), free(magnitude);
    check_guarded(x, size);
    check_guarded(dy, size);
    if (way != IN_PLACE)
        check_guarded(dx, size);
    check_guarded(weight, (size_t)d);
}

START_TEST(rmsnorm_bwd_matches_reference)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
            for (int way = APART; way <= ADDED; way++)
                check_bwd(&device, cases[c].n, cases[c].d, cases[c].eps, (enum way)way);
        device_close(&device);
    }
}
END_TEST

/* A row's bytes do not depend on the rows about it; a NaN stays in its row. */
START_TEST(rmsnorm_bwd_keeps_rows_apart)
{
    struct device device;
    enum { N = 19, D = 13 };
    float x[N * D], dy[N * D], weight[D], dx[N * D], alone[D];
    for (int i = 0; test_device(i, &device); i++) {
        fill_normal(x, N * D, 1, 1.0f);
        fill_normal(dy, N * D, 2, 1.0f);
        fill_normal(weight, D, 3, 1.0f);
        x[7 * D + 5] = dy[11 * D] = NAN;
        rmsnorm_bwd_cpu(&device, dx, dy, x, weight, N, D, 1e-5f, false);
        for (int row = 0; row < N; row++) {
            rmsnorm_bwd_cpu(&device, alone, dy + row * D, x + row * D, weight, 1, D, 1e-5f, false);
            ck_assert_mem_eq(alone, dx + row * D, sizeof alone);
            for (int j = 0; j < D; j++)
                ck_assert(isnan(alone[j]) == (row == 7 || row == 11));
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
    tcase_add_test(tests, rmsnorm_bwd_reference_is_the_gradient);
    tcase_add_test(tests, rmsnorm_bwd_matches_reference);
    tcase_add_test(tests, rmsnorm_bwd_keeps_rows_apart);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
