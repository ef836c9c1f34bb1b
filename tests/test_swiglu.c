/* SwiGLU against its float64 reference. */
#include "tests/support.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include "kernels/swiglu.h"
#include "tests/gradient_check.h"

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

/* ---- the gradient --------------------------------------------------------------------------- */

enum { SMALL = 24 };
struct small {
    double *gate, *up, *y, *dy;
};

static double loss(void *context)
{
    struct small *s = context;
    swiglu_fwd_ref(s->y, s->gate, s->up, 1, SMALL);
    return weighted_sum(s->y, s->dy, SMALL);
}

START_TEST(swiglu_bwd_reference_is_the_gradient)
{
    struct small s = {normal_doubles(SMALL, 1, 3.0f), normal_doubles(SMALL, 2, 1.0f),
                      zero_doubles(SMALL), normal_doubles(SMALL, 3, 1.0f)};
    double dgate[SMALL], dup[SMALL];
    s.gate[0] = 0, s.gate[1] = 12, s.gate[2] = -12;
    swiglu_bwd_ref(dgate, dup, NULL, s.dy, s.gate, s.up, 1, SMALL);
    check_gradient(loss, &s, s.gate, dgate, SMALL, "dgate");
    check_gradient(loss, &s, s.up, dup, SMALL, "dup");
    free(s.gate), free(s.up), free(s.y), free(s.dy);
}
END_TEST

enum bwd_place { BWD_APART, DGATE_OVER_GATE, DGATE_OVER_DY, DUP_OVER_UP, BOTH_OVER, BWD_PLACES };

/* Below gate = -87.34 exp is 0: s is 0 instead of at most 2^-126, times |gate| <= 120 and |dy up|
 * <= 4, or |dy| <= 2. */
#define BWD_ABSOLUTE (4 * 121 * 0x1p-126)

static void check_bwd(struct device *device, int n, int d, float spread, enum bwd_place place)
{
    size_t size = (size_t)n * (size_t)d;
    float *gate = guarded_floats(size), *up = guarded_floats(size), *dy = guarded_floats(size);
    float *apart[2] = {guarded_floats(size), guarded_floats(size)};
    bool over_gate = place == DGATE_OVER_GATE || place == BOTH_OVER;
    float *dgate = over_gate ? gate : place == DGATE_OVER_DY ? dy : apart[0];
    float *dup = place == DUP_OVER_UP || place == BOTH_OVER ? up : apart[1];
    fill_uniform(gate, size, 1, -spread, spread);
    fill_uniform(up, size, 2, -2.0f, 2.0f);
    fill_uniform(dy, size, 3, -2.0f, 2.0f);
    double *gate64 = to_doubles(gate, size), *up64 = to_doubles(up, size);
    double *dy64 = to_doubles(dy, size), *want = zero_doubles(size), *want_up = zero_doubles(size);
    double *magnitude = zero_doubles(size);
    swiglu_bwd_ref(want, want_up, magnitude, dy64, gate64, up64, n, d);
    struct err err;
    ck_assert_int_eq(swiglu_bwd(device, dgate, dup, dy, gate, up, n, d, &err), STATUS_OK);
    check_close(dup, want_up, size, BWD_ABSOLUTE, SWIGLU_BWD_TOLERANCE,
                "%s dup %d x %d, gates to %g, place %d", test_device_name(device), n, d,
                (double)spread, place);
    for (size_t i = 0; i < size; i++)
        if (!(fabs(dgate[i] - want[i]) <= BWD_ABSOLUTE + SWIGLU_BWD_TOLERANCE * magnitude[i]))
            ck_abort_msg("%s %d x %d, place %d: dgate[%zu] = %.9g, want %.9g (gate %.9g)",
                         test_device_name(device), n, d, place, i, (double)dgate[i], want[i],
                         gate64[i]);
    free(gate64), free(up64), free(dy64), free(want), free(want_up), free(magnitude);
    float *all[] = {gate, up, dy, apart[0], apart[1]};
    for (int i = 0; i < 5; i++)
        check_guarded(all[i], size);
}

START_TEST(swiglu_bwd_matches_reference)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
            for (int place = BWD_APART; place < BWD_PLACES; place++) {
                check_bwd(&device, cases[c].n, cases[c].d, 6.0f, (enum bwd_place)place);
                check_bwd(&device, cases[c].n, cases[c].d, 120.0f, (enum bwd_place)place);
            }
        device_close(&device);
    }
}
END_TEST

START_TEST(swiglu_bwd_has_its_edges)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        const float gate[9] = {0, -0.0f, NAN, 1, INFINITY, -INFINITY, -FLT_MAX, 1e4f, 2};
        const float up[9] = {4, 4, 1, NAN, 2, 1, 1, 3, 0}, one[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
        const float by_gate[9] = {2, 2, NAN, NAN, NAN, NAN, 0, 3, 0};
        float dgate[9], dup[9];
        swiglu_bwd_cpu(&device, dgate, dup, one, gate, up, 1, 9);
        for (int j = 0; j < 9; j++)
            ck_assert_msg(isnan(by_gate[j]) ? isnan(dgate[j]) : dgate[j] == by_gate[j],
                          "%s: gate %g, up %g: dgate %g", test_device_name(&device),
                          (double)gate[j], (double)up[j], (double)dgate[j]);
        ck_assert(dup[0] == 0 && isnan(dup[2]) && dup[4] == INFINITY && isnan(dup[5]));
        ck_assert(dup[6] == 0 && dup[7] == 1e4f);
        device_close(&device);
    }
}
END_TEST

START_TEST(swiglu_bwd_rows_do_not_depend_on_their_place)
{
    struct device device;
    enum { N = 5, D = 13 };
    float gate[N * D], up[N * D], dy[N * D], dgate[N * D], dup[N * D], alone[2][D];
    fill_normal(gate, N * D, 1, 3.0f);
    fill_normal(up, N * D, 2, 1.0f);
    fill_normal(dy, N * D, 3, 1.0f);
    for (int i = 0; test_device(i, &device); i++) {
        swiglu_bwd_cpu(&device, dgate, dup, dy, gate, up, N, D);
        for (int at = 0; at < N * D; at += D) {
            swiglu_bwd_cpu(&device, alone[0], alone[1], dy + at, gate + at, up + at, 1, D);
            ck_assert_mem_eq(alone[0], dgate + at, sizeof alone[0]);
            ck_assert_mem_eq(alone[1], dup + at, sizeof alone[1]);
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
    tcase_add_test(tests, swiglu_bwd_reference_is_the_gradient);
    tcase_add_test(tests, swiglu_bwd_matches_reference);
    tcase_add_test(tests, swiglu_bwd_has_its_edges);
    tcase_add_test(tests, swiglu_bwd_rows_do_not_depend_on_their_place);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
