/* AdamW, the sum of squares and clipping: against float64 references and against torch's own
 * numbers (tests/golden/make_adamw.py). */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/adamw.h"

/* Round the vector width of 8 and the tasks of 8,192 and 16,384 values. */
static const int sizes[] = {0, 1, 7, 8, 9, 31, 8191, 8193, 16384, 16385, 40001};
#define N_SIZES (sizeof sizes / sizeof *sizes)

/* ---- sum of squares and clipping ------------------------------------------------------------ */

START_TEST(sum_of_squares_matches_reference)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    for (size_t c = 0; c < N_SIZES; c++) {
        size_t n = (size_t)sizes[c];
        float *x = guarded_floats(n);
        fill_normal(x, n, 1, 3e30f); /* whose squares float32 does not have */
        double *x64 = to_doubles(x, n), want = sum_of_squares_ref(x64, sizes[c]);
        double got = sum_of_squares(&device, x, sizes[c]);
        ck_assert_msg(fabs(got - want) <= sum_of_squares_tolerance(sizes[c]) * want,
                      "%s %d: %.17g, want %.17g", test_device_name(&device), sizes[c], got, want);
        free(x64);
        check_guarded(x, n);
    }
    device_close(&device);
}
END_TEST

START_TEST(what_is_not_finite_shows_in_the_sum)
{
    enum { LENGTH = 33000 };
    static const int places[] = {0, 5, 8191, 16383, 16384, LENGTH - 1};
    struct device device;
    ck_assert(test_device(_i, &device));
    float *x = test_alloc(LENGTH * sizeof *x);
    fill_normal(x, LENGTH, 1, 1.0f);
    for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
        float before = x[places[p]];
        x[places[p]] = NAN;
        ck_assert(isnan(sum_of_squares(&device, x, LENGTH)));
        x[places[p]] = -INFINITY;
        ck_assert(sum_of_squares(&device, x, LENGTH) == INFINITY);
        x[places[p]] = before;
    }
    ck_assert(isfinite(sum_of_squares(&device, x, LENGTH)));
    free(x);
    device_close(&device);
}
END_TEST

/* The same bits everywhere: not only for any number of threads. */
START_TEST(sum_of_squares_is_the_same_on_every_cpu)
{
    enum { LENGTH = 100003 };
    struct device device;
    float *x = test_alloc(LENGTH * sizeof *x);
    double first = 0;
    fill_normal(x, LENGTH, 1, 1.0f);
    for (int i = 0; test_device(i, &device); i++) {
        double sum = sum_of_squares(&device, x, LENGTH);
        first = i == 0 ? sum : first;
        ck_assert(sum == first);
        device_close(&device);
    }
    free(x);
}
END_TEST

START_TEST(clipping_is_torchs)
{
    ck_assert(clip_scale(0.5, 1) == 1);
    ck_assert(clip_scale(0, 1) == 1);
    ck_assert(clip_scale(4, 1) == 1 / (4 + 1e-6));
    ck_assert(clip_scale(1, 1) == 1 / (1 + 1e-6)); /* not 1: torch has it so */
    ck_assert(clip_scale(1e300, INFINITY) == 1);
    ck_assert(clip_scale(INFINITY, 1) == 0);
    ck_assert(isnan(clip_scale(NAN, 1)));
}
END_TEST

/* ---- step ----------------------------------------------------------------------------------- */

static const struct adamw settings[] = {
    {5e-5, 0.9, 0.999, 1e-8, 0, 1, 1},      {1e-3, 0.9, 0.999, 1e-8, 0.1, 2, 0.125},
    {1e-2, 0.8, 0.95, 1e-6, 0.01, 1000, 1}, {1e-3, 0, 0, 1e-8, 0, 3, 1},
    {0, 0.9, 0.999, 1e-8, 0.5, 1000000, 0},
};
#define N_SETTINGS (sizeof settings / sizeof *settings)

/* Sizes of gradients: usual; below float32's normal range when squared; far above 1; many at once.
 */
static void fill_gradients(float *x, size_t n)
{
    static const float scales[] = {1, 1e-4f, 1e-12f, 1e-25f, 1e-39f, 1e8f, 1e17f, 0};
    fill_normal(x, n, 2, 1.0f);
    for (size_t i = 0; i < n; i++)
        x[i] *= scales[mix64(9, i) % (sizeof scales / sizeof *scales)];
}

static void check_floats(const float *got, const double *want, const double *allowed, size_t n,
                         const char *what, struct device *device, int setting)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= allowed[i]))
            ck_abort_msg("%s, %s, settings %d, element %zu of %zu: %.9g, want %.9g, allowed %.3g",
                         test_device_name(device), what, setting, i, n, (double)got[i], want[i],
                         allowed[i]);
}

static void check_step(struct device *device, size_t n, int setting)
{
    float *p = guarded_floats(n), *g = guarded_floats(n), *m = guarded_floats(n);
    float *v = guarded_floats(n);
    fill_normal(p, n, 1, 0.5f);
    fill_gradients(g, n);
    fill_normal(m, n, 3, 0.1f);
    fill_normal(v, n, 4, 0.1f);
    for (size_t i = 0; i < n; i++) {
        m[i] = g[i] * (1 + m[i]) / 2;
        v[i] = g[i] * v[i] * (g[i] * v[i]); /* not negative */
    }
    double *p64 = to_doubles(p, n), *g64 = to_doubles(g, n), *m64 = to_doubles(m, n);
    double *v64 = to_doubles(v, n), *allowed = test_alloc(3 * n * sizeof *allowed);
    struct err err;
    adamw_step_ref(p64, g64, m64, v64, allowed, (int64_t)n, &settings[setting]);
    ck_assert_int_eq(adamw_step(device, p, g, m, v, (int64_t)n, &settings[setting], &err),
                     STATUS_OK);
    check_floats(p, p64, allowed, n, "parameters", device, setting);
    check_floats(m, m64, allowed + n, n, "m", device, setting);
    check_floats(v, v64, allowed + 2 * n, n, "v", device, setting);
    for (size_t i = 0; i < n; i++)
        if (g[i] != 0)
            ck_abort_msg("gradient %zu of %zu is left", i, n);
    free(p64), free(g64), free(m64), free(v64), free(allowed);
    check_guarded(p, n), check_guarded(g, n), check_guarded(m, n), check_guarded(v, n);
}

START_TEST(a_step_matches_reference)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    for (size_t c = 0; c < N_SIZES; c++)
        for (size_t s = 0; s < N_SETTINGS; s++)
            check_step(&device, (size_t)sizes[c], (int)s);
    device_close(&device);
}
END_TEST

/* ---- torch ---------------------------------------------------------------------------------- */

enum { LARGEST_N = 16 };

static void read_numbers(FILE *file, const char *name, double *values, int n)
{
    char got[16];
    ck_assert_int_eq(fscanf(file, " %15s", got), 1);
    ck_assert_str_eq(got, name);
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(fscanf(file, "%lf", &values[i]), 1);
}

static void to_floats(float *to, const double *from, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = (float)from[i];
}

/* torch rounds as often as midashi, so after t steps each may be off t times what one may be. What
 * a step may be off depends on the values: it is taken from the reference, which starts from
 * torch's of the step before. Where v has overflowed both must say inf, and the parameter stands
 * still. */
struct golden {
    int n, step;
    struct adamw adamw;
    double largest;
    float p[LARGEST_N], m[LARGEST_N], v[LARGEST_N];        /* midashi's */
    double p64[LARGEST_N], m64[LARGEST_N], v64[LARGEST_N]; /* torch's */
    double allowed[3 * LARGEST_N];                         /* of all steps so far */
};

static void check_golden_values(const struct golden *c, const float *got, const double *want,
                                const double *allowed, const char *what)
{
    for (int i = 0; i < c->n; i++)
        ck_assert_msg((double)got[i] == want[i] || fabs((double)got[i] - want[i]) <= allowed[i],
                      "step %d, %s %d: %.9g, torch has %.9g, allowed %.3g", c->step, what, i,
                      (double)got[i], want[i], allowed[i]);
}

static void check_golden_step(struct device *device, FILE *file, struct golden *c)
{
    int n = c->n;
    double gradients[LARGEST_N], norm, allowed[3 * LARGEST_N];
    float g[LARGEST_N];
    read_numbers(file, "rate", &c->adamw.learning_rate, 1);
    read_numbers(file, "gradients", gradients, n);
    read_numbers(file, "norm", &norm, 1);
    to_floats(g, gradients, n);
    double own_norm = sqrt(sum_of_squares(device, g, n));
    ck_assert(isinf(c->largest) || fabs(own_norm - norm) <= 1e-6 * norm);
    c->adamw.gradient_scale = clip_scale(own_norm, c->largest);
    c->adamw.step = c->step;
    adamw_step_ref(c->p64, gradients, c->m64, c->v64, allowed, n, &c->adamw);
    ck_assert_int_eq(adamw_step(device, c->p, g, c->m, c->v, n, &c->adamw, NULL), STATUS_OK);
    read_numbers(file, "parameters", c->p64, n);
    read_numbers(file, "m", c->m64, n);
    read_numbers(file, "v", c->v64, n);
    for (int i = 0; i < 3 * n; i++)
        c->allowed[i] += 2 * allowed[i];
    check_golden_values(c, c->p, c->p64, c->allowed, "parameter");
    check_golden_values(c, c->m, c->m64, c->allowed + n, "m");
    check_golden_values(c, c->v, c->v64, c->allowed + 2 * n, "v");
}

START_TEST(steps_are_torchs)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    FILE *file = fopen(golden("adamw.txt"), "r");
    int n_steps, n_cases = 0;
    ck_assert_ptr_nonnull(file);
    for (;; n_cases++) {
        struct golden c = {0};
        struct adamw *adamw = &c.adamw;
        if (fscanf(file, " case %d %d %lf %lf %lf %lf %lf", &n_steps, &c.n, &adamw->beta1,
                   &adamw->beta2, &adamw->eps, &adamw->weight_decay, &c.largest) != 7)
            break;
        ck_assert_int_le(c.n, LARGEST_N);
        read_numbers(file, "start", c.p64, c.n);
        to_floats(c.p, c.p64, c.n);
        for (c.step = 1; c.step <= n_steps; c.step++)
            check_golden_step(&device, file, &c);
    }
    ck_assert_int_eq(n_cases, 4);
    fclose(file);
    device_close(&device);
}
END_TEST

/* ---- promises ------------------------------------------------------------------------------- */

START_TEST(a_step_has_its_edges)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    enum { N = 6 };
    float p[N] = {1, 1, 1, 1, 1, 1}, g[N] = {NAN, 0, 3e38f, INFINITY, 1, 1e20f}, m[N] = {0};
    float v[N] = {0};
    adamw_step_cpu(&device, p, g, m, v, N, &settings[0]);
    ck_assert(isnan(p[0]) && isnan(m[0]) && isnan(v[0]));
    ck_assert(p[1] == 1 && m[1] == 0 && v[1] == 0); /* 0 / (0 + eps) */
    ck_assert(p[2] == 1 && isfinite(m[2]) && v[2] == INFINITY);
    ck_assert(isnan(p[3]) && m[3] == INFINITY && v[3] == INFINITY);
    ck_assert(p[4] < 1 && p[4] > 0.9999f);
    /* g^2 alone is beyond float32, (1 - beta2) g^2 is not. */
    ck_assert(p[5] == p[4] && v[5] > 0.99e37f && v[5] < 1.01e37f);
    for (int i = 0; i < N; i++)
        ck_assert(g[i] == 0);
    device_close(&device);
}
END_TEST

START_TEST(equal_elements_stay_equal_wherever_they_lie)
{
    enum { LENGTH = 8203 };
    struct device one, three;
    ck_assert_int_eq(device_open(&one, "cpu", 1, NULL), STATUS_OK);
    ck_assert_int_eq(device_open(&three, "cpu", 3, NULL), STATUS_OK);
    static float at[2][4][LENGTH];
    for (int copy = 0; copy < 2; copy++)
        for (int i = 0; i < LENGTH; i++) {
            at[copy][0][i] = 0.3f, at[copy][1][i] = 0.7f;
            at[copy][2][i] = 0.01f, at[copy][3][i] = 0.02f;
        }
    for (int copy = 0; copy < 2; copy++)
        adamw_step_cpu(copy ? &three : &one, at[copy][0], at[copy][1], at[copy][2], at[copy][3],
                       LENGTH, &settings[1]);
    ck_assert_mem_eq(at[0], at[1], sizeof at[0]);
    for (int i = 1; i < LENGTH; i++)
        if (at[0][0][i] != at[0][0][0] || at[0][2][i] != at[0][2][0] || at[0][3][i] != at[0][3][0])
            ck_abort_msg("element %d", i);
    device_close(&one);
    device_close(&three);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("adamw");
    TCase *tests = tcase_create("adamw");
    int n_devices = cpu_has(CPU_AVX2) ? 3 : 1;
    tcase_add_loop_test(tests, sum_of_squares_matches_reference, 0, n_devices);
    tcase_add_loop_test(tests, what_is_not_finite_shows_in_the_sum, 0, n_devices);
    tcase_add_test(tests, sum_of_squares_is_the_same_on_every_cpu);
    tcase_add_test(tests, clipping_is_torchs);
    tcase_add_loop_test(tests, a_step_matches_reference, 0, n_devices);
    tcase_add_loop_test(tests, steps_are_torchs, 0, n_devices);
    tcase_add_loop_test(tests, a_step_has_its_edges, 0, n_devices);
    tcase_add_test(tests, equal_elements_stay_equal_wherever_they_lie);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
