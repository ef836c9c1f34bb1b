/* SwiGLU against its float64 reference. */
#include "tests/support.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include "kernels/swiglu.h"

/* Round the vector width of 8 and the task size of 8,192 values. */
static const struct {
    int n, d;
} cases[] = {{0, 8},   {1, 1},    {1, 7},    {1, 8},    {3, 3},   {1, 31},
             {33, 31}, {1, 8191}, {2, 4096}, {1, 8193}, {7, 1536}};

enum place { APART, OVER_GATE, OVER_UP };

/* exp 1.01 ulp (libm's: 1), the sum, the division and the product half each: under 3 ulp, that is
 * 6 * 2^-24. Below gate = -88.37 exp is taken as infinite: silu is then 0 instead of at most
 * 88.4 * 2^-127.5, times |up| <= 2. */
#define RELATIVE (6 * 0x1p-24)
#define ABSOLUTE (88.4 * 0x1p-126)

static void check_case(struct device *device, int n, int d, float spread, enum place place)
{
    size_t size = (size_t)n * (size_t)d;
    float *gate = guarded_floats(size), *up = guarded_floats(size), *apart = guarded_floats(size);
    float *y = place == OVER_GATE ? gate : place == OVER_UP ? up : apart;
    fill_uniform(gate, size, 1, -spread, spread);
    fill_uniform(up, size, 2, -2.0f, 2.0f);
    double *gate64 = to_doubles(gate, size), *up64 = to_doubles(up, size);
    double *want = malloc(size * sizeof *want + 1);
    swiglu_fwd_ref(want, gate64, up64, n, d);
    struct err err;
    ck_assert_int_eq(swiglu_fwd(device, y, gate, up, n, d, &err), STATUS_OK);
    check_close(y, want, size, ABSOLUTE, RELATIVE, "%s %d x %d, gates to %g, place %d",
                test_device_name(device), n, d, (double)spread, place);
    free(gate64), free(up64), free(want);
    check_guarded(gate, size);
    check_guarded(up, size);
    check_guarded(apart, size);
}

START_TEST(swiglu_matches_reference)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
            for (int place = APART; place <= OVER_UP; place++) {
                check_case(&device, cases[c].n, cases[c].d, 6.0f, (enum place)place);
                check_case(&device, cases[c].n, cases[c].d, 120.0f, (enum place)place);
            }
        device_close(&device);
    }
}
END_TEST

START_TEST(swiglu_has_its_edges)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        const float gate[9] = {0, -0.0f, NAN, 1, INFINITY, -1e4f, -FLT_MAX, 1e4f, 2};
        const float up[9] = {1, 1, 1, NAN, 2, 1, 1, 3, 0};
        float y[9];
        swiglu_fwd_cpu(&device, y, gate, up, 1, 9);
        const float want[9] = {0, 0, NAN, NAN, INFINITY, 0, 0, 3e4f, 0};
        for (int j = 0; j < 9; j++)
            ck_assert_msg(isnan(want[j]) ? isnan(y[j]) : y[j] == want[j], "%s: silu(%g) * %g = %g",
                          test_device_name(&device), (double)gate[j], (double)up[j], (double)y[j]);
        device_close(&device);
    }
}
END_TEST

/* A row's bits do not depend on where in the batch it stands: tails go through the same lanes. */
START_TEST(swiglu_rows_do_not_depend_on_their_place)
{
    struct device device;
    enum { N = 5, D = 13 };
    float gate[N * D], up[N * D], y[N * D], alone[D];
    fill_normal(gate, N * D, 1, 3.0f);
    fill_normal(up, N * D, 2, 1.0f);
    for (int i = 0; test_device(i, &device); i++) {
        swiglu_fwd_cpu(&device, y, gate, up, N, D);
        for (int row = 0; row < N; row++) {
            swiglu_fwd_cpu(&device, alone, gate + row * D, up + row * D, 1, D);
            ck_assert_mem_eq(alone, y + row * D, sizeof alone);
        }
        device_close(&device);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("swiglu");
    TCase *tests = tcase_create("swiglu");
    tcase_add_test(tests, swiglu_matches_reference);
    tcase_add_test(tests, swiglu_has_its_edges);
    tcase_add_test(tests, swiglu_rows_do_not_depend_on_their_place);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
