/* Softmax and cross-entropy against their float64 references, central differences and torch
 * (tests/golden/make_losses.py). */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/cross_entropy.h"
#include "tests/gradient_check.h"

/* Round the vector width of 8, the maximum's step of 32, and the task size of 8,192 values. */
static const struct {
    int n, d;
} cases[] = {{0, 8},    {1, 1},    {3, 2},    {1, 7},     {2, 8},     {5, 9},
             {33, 31},  {3, 32},   {4, 33},   {17, 77},   {2, 1000},  {1, 8191},
             {3, 8192}, {2, 8193}, {300, 33}, {2, 49152}, {1, 150001}};
#define N_CASES (sizeof cases / sizeof *cases)
/* Logits' sizes: a usual model's; where AVX2's exponential ends at 0; far beyond. */
static const float spreads[] = {3, 60, 1e6f};
#define N_SPREADS (sizeof spreads / sizeof *spreads)

/* Below it, exponentials may be 0 (kernels/vector_math.h). */
#define LEAST 0x1p-126

static int32_t label_of(int i, int d)
{
    return i % 5 == 3 ? -1 : (int32_t)(mix64(5, (uint64_t)i) % (uint64_t)d);
}

static int32_t *make_labels(int n, int d)
{
    int32_t *labels = test_alloc((size_t)n * sizeof *labels);
    for (int i = 0; i < n; i++)
        labels[i] = label_of(i, d);
    return labels;
}

static void check_softmax(struct device *device, int n, int d, float spread, bool in_place)
{
    size_t size = (size_t)n * (size_t)d;
    float *x = guarded_floats(size), *apart = guarded_floats(size), *y = in_place ? x : apart;
    fill_uniform(x, size, 1, -spread, spread);
    double *x64 = to_doubles(x, size), *want = test_alloc(size * sizeof *want);
    struct err err;
    softmax_fwd_ref(want, x64, n, d);
    ck_assert_int_eq(softmax_fwd(device, y, x, n, d, &err), STATUS_OK);
    check_close(y, want, size, LEAST, softmax_fwd_tolerance(d, 2 * (double)spread),
                "%s softmax %d x %d, %g, in place %d", test_device_name(device), n, d,
                (double)spread, in_place);
    free(x64), free(want);
    check_guarded(x, size);
    check_guarded(apart, size);
}

START_TEST(softmax_matches_reference)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    for (size_t c = 0; c < N_CASES; c++)
        for (size_t s = 0; s < N_SPREADS; s++)
            for (int in_place = 0; in_place < 2; in_place++)
                check_softmax(&device, cases[c].n, cases[c].d, spreads[s], in_place);
    device_close(&device);
}
END_TEST

enum place { APART, OVER_LOGITS, NO_GRADIENT };

static void check_case(struct device *device, int n, int d, float spread, enum place place)
{
    size_t size = (size_t)n * (size_t)d, rows = (size_t)n;
    const float weight = 0.37f;
    float *logits = guarded_floats(size), *apart = guarded_floats(size);
    float *losses = guarded_floats(rows), *dlogits = place == APART ? apart : logits;
    int32_t *labels = make_labels(n, d);
    fill_uniform(logits, size, 2, -spread, spread);
    double *logits64 = to_doubles(logits, size), *want = test_alloc(size * sizeof *want);
    double *want_losses = test_alloc(rows * sizeof *want_losses);
    struct err err;
    cross_entropy_ref(want_losses, want, logits64, labels, n, d, (double)weight);
    ck_assert_int_eq(cross_entropy(device, losses, place == NO_GRADIENT ? NULL : dlogits, logits,
                                   labels, n, d, weight, &err),
                     STATUS_OK);
    check_close(losses, want_losses, rows, cross_entropy_tolerance(d), 0x1p-24,
                "%s losses %d x %d, %g, place %d", test_device_name(device), n, d, (double)spread,
                place);
    if (place != NO_GRADIENT)
        check_close(dlogits, want, size, LEAST, softmax_fwd_tolerance(d, 2 * (double)spread),
                    "%s gradient %d x %d, %g, place %d", test_device_name(device), n, d,
                    (double)spread, place);
    free(logits64), free(want), free(want_losses), free(labels);
    check_guarded(logits, size);
    check_guarded(apart, size);
    check_guarded(losses, rows);
}

START_TEST(cross_entropy_matches_reference)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    for (size_t c = 0; c < N_CASES; c++)
        for (size_t s = 0; s < N_SPREADS; s++)
            for (int place = APART; place <= NO_GRADIENT; place++)
                check_case(&device, cases[c].n, cases[c].d, spreads[s], (enum place)place);
    device_close(&device);
}
END_TEST

/* ---- the reference -------------------------------------------------------------------------- */

struct differences {
    double *logits, losses[7];
    int32_t *labels;
    int n, d;
};

static double loss(void *context)
{
    struct differences *c = context;
    double sum = 0;
    cross_entropy_ref(c->losses, NULL, c->logits, c->labels, c->n, c->d, 0);
    for (int i = 0; i < c->n; i++)
        sum += 0.3 * c->losses[i];
    return sum;
}

START_TEST(the_reference_has_the_gradient_of_its_loss)
{
    static const int widths[] = {1, 2, 9, 40};
    for (int i = 0; i < 4; i++) {
        int n = 7, d = widths[i];
        size_t size = (size_t)n * (size_t)d;
        struct differences c = {normal_doubles(size, 4, 2.0f), {0}, make_labels(n, d), n, d};
        double *gradient = zero_doubles(size);
        cross_entropy_ref(c.losses, gradient, c.logits, c.labels, n, d, 0.3);
        check_gradient(loss, &c, c.logits, gradient, size, "cross_entropy, d = %d", d);
        free(c.logits), free(c.labels), free(gradient);
    }
}
END_TEST

/* ---- torch ---------------------------------------------------------------------------------- */

static double *read_numbers(FILE *file, const char *name, size_t n)
{
    char got[16];
    double *values = test_alloc(n * sizeof *values);
    ck_assert_int_eq(fscanf(file, " %15s", got), 1);
    ck_assert_str_eq(got, name);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(fscanf(file, "%lf", &values[i]), 1);
    return values;
}

/* The file's numbers have nine digits: 5e-9 of each. */
static void check_golden(struct device *device, FILE *file, int n, int d, double weight)
{
    size_t size = (size_t)n * (size_t)d;
    double *labels64 = read_numbers(file, "labels", (size_t)n);
    double *logits64 = read_numbers(file, "logits", size);
    double *want_losses = read_numbers(file, "losses", (size_t)n);
    double *want = read_numbers(file, "dlogits", size);
    float *logits = test_alloc(size * sizeof *logits), losses[8];
    int32_t labels[8];
    ck_assert_int_le(n, 8);
    for (size_t i = 0; i < size; i++)
        logits[i] = (float)logits64[i];
    for (int i = 0; i < n; i++)
        labels[i] = (int32_t)labels64[i];
    cross_entropy_cpu(device, losses, logits, logits, labels, n, d, (float)weight);
    check_close(losses, want_losses, (size_t)n, cross_entropy_tolerance(d), 0x1p-24 + 5e-9,
                "%s losses of torch", test_device_name(device));
    check_close(logits, want, size, LEAST, softmax_fwd_tolerance(d, INFINITY) + 5e-9,
                "%s gradient of torch", test_device_name(device));
    free(labels64), free(logits64), free(want_losses), free(want), free(logits);
}

START_TEST(cross_entropy_is_torchs)
{
    struct device device;
    ck_assert(test_device(_i, &device));
    FILE *file = fopen(golden("losses.txt"), "r");
    char line[16384];
    int n, d, n_cases = 0;
    double weight;
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "cross_entropy %d %d %lf", &n, &d, &weight) == 3) {
            check_golden(&device, file, n, d, weight);
            n_cases++;
        }
    fclose(file);
    ck_assert_int_eq(n_cases, 2);
    device_close(&device);
}
END_TEST

/* ---- promises ------------------------------------------------------------------------------- */

START_TEST(cross_entropy_has_its_edges)
{
    struct device device;
    enum { N = 8, D = 9 };
    ck_assert(test_device(_i, &device));
    float logits[N][D], softmax[N][D], dlogits[N][D], losses[N];
    int32_t labels[N] = {0, 1, 2, 3, 4, 5, -1, 8};
    fill_normal(logits[0], N * D, 3, 1.0f);
    logits[1][8] = NAN;
    logits[2][2] = -INFINITY; /* the label itself */
    logits[3][0] = INFINITY;
    for (int j = 0; j < D; j++) {
        logits[4][j] = -INFINITY;
        logits[5][j] = j == 5 ? 3e38f : -3e38f;
        logits[6][j] = NAN; /* without a label */
        logits[7][j] = j == 0 ? 40 : 0;
    }
    softmax_fwd_cpu(&device, softmax[0], logits[0], N, D);
    cross_entropy_cpu(&device, losses, dlogits[0], logits[0], labels, N, D, 2.0f);
    for (int j = 0; j < D; j++) {
        ck_assert(softmax[0][j] > 0 && isfinite(dlogits[0][j]));
        ck_assert(isnan(softmax[1][j]) && isnan(dlogits[1][j]));
        ck_assert(j == 2 ? softmax[2][j] == 0 && dlogits[2][j] == -2
                         : softmax[2][j] > 0 && dlogits[2][j] == 2 * softmax[2][j]);
        ck_assert(isnan(softmax[3][j]) && isnan(softmax[4][j]));
        ck_assert(softmax[5][j] == (j == 5) && dlogits[5][j] == 0);
        ck_assert(isnan(softmax[6][j]) && dlogits[6][j] == 0);
        ck_assert(j == 0 ? softmax[7][j] == 1 : softmax[7][j] > 4e-18f && softmax[7][j] < 5e-18f);
    }
    ck_assert(isfinite(losses[0]) && isnan(losses[1]) && losses[2] == INFINITY);
    ck_assert(isnan(losses[3]) && isnan(losses[4]));
    ck_assert(losses[5] == 0 && losses[6] == 0 && losses[7] == 40 && dlogits[7][8] == -2);
    /* A label of probability nearly 1: what is left is kept. */
    labels[7] = 0;
    cross_entropy_cpu(&device, losses + 7, dlogits[7], logits[7], labels + 7, 1, D, 1.0f);
    ck_assert(fabs(dlogits[7][0] / (-8 * exp(-40)) - 1) < 1e-5);
    device_close(&device);
}
END_TEST

/* The bytes of a row: alone, in a batch, and with any number of threads. */
START_TEST(rows_do_not_depend_on_their_place)
{
    enum { N = 90, D = 301 };
    struct device one, three;
    ck_assert_int_eq(device_open(&one, "cpu", 1, NULL), STATUS_OK);
    ck_assert_int_eq(device_open(&three, "cpu", 3, NULL), STATUS_OK);
    static float logits[N * D], dlogits[N * D], again[N * D], losses[N], losses_again[N];
    int32_t *labels = make_labels(N, D);
    fill_normal(logits, N * D, 6, 3.0f);
    cross_entropy_cpu(&one, losses, dlogits, logits, labels, N, D, 0.1f);
    cross_entropy_cpu(&three, losses_again, again, logits, labels, N, D, 0.1f);
    ck_assert_mem_eq(losses, losses_again, sizeof losses);
    ck_assert_mem_eq(dlogits, again, sizeof dlogits);
    for (int i = 0; i < N; i++) {
        cross_entropy_cpu(&one, losses_again, again, logits + i * D, labels + i, 1, D, 0.1f);
        ck_assert_mem_eq(losses + i, losses_again, sizeof *losses);
        ck_assert_mem_eq(dlogits + i * D, again, D * sizeof *again);
    }
    softmax_fwd_cpu(&one, dlogits, logits, N, D);
    softmax_fwd_cpu(&three, again, logits, N, D);
    ck_assert_mem_eq(dlogits, again, sizeof dlogits);
    for (int i = 0; i < N; i++) {
        softmax_fwd_cpu(&one, again, logits + i * D, 1, D);
        ck_assert_mem_eq(dlogits + i * D, again, D * sizeof *again);
    }
    free(labels);
    device_close(&one);
    device_close(&three);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cross_entropy");
    TCase *tests = tcase_create("cross_entropy");
    int n_devices = cpu_has(CPU_AVX2) ? 3 : 1;
    tcase_add_loop_test(tests, softmax_matches_reference, 0, n_devices);
    tcase_add_loop_test(tests, cross_entropy_matches_reference, 0, n_devices);
    tcase_add_test(tests, the_reference_has_the_gradient_of_its_loss);
    tcase_add_loop_test(tests, cross_entropy_is_torchs, 0, n_devices);
    tcase_add_loop_test(tests, cross_entropy_has_its_edges, 0, n_devices);
    tcase_add_test(tests, rows_do_not_depend_on_their_place);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
