/* Dropout against its reference, its mask against Philox computed elsewhere, and its statistics. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/dropout.h"
#include "tests/gradient_check.h"

static void apply(struct device *device, float *y, const float *x, const struct dropout *dropout,
                  int n, int d, bool add)
{
    struct err err;
    ck_assert_int_eq(dropout_fwd(device, y, x, dropout, n, d, add, &err), STATUS_OK);
}

/* By Philox4x32-10 in Python's integers (its words for counter and key 0 are Random123's known
 * answer), thresholds 32770 and 32768; bit i is element i from the row on. Indices of more than 32
 * bits too. */
START_TEST(the_mask_is_philox)
{
    static const struct {
        int64_t first_row;
        uint32_t threshold;
        uint64_t mask;
    } cases[] = {{5, 32770, 0x368e570a09e5628e}, {(int64_t)1 << 34, 32768, 0xda8560f1fdb11243}};
    enum { N = 6, D = 12 };
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (int c = 0; c < 2; c++) {
            struct dropout dropout = {0x0123456789ABCDEF, 7, 42, cases[c].first_row,
                                      cases[c].threshold};
            float x[N * D], y[N * D];
            for (int j = 0; j < N * D; j++)
                x[j] = 1;
            apply(&device, y, x, &dropout, N, D, false);
            for (int j = 0; j < 64; j++)
                ck_assert_msg((y[j] != 0) == (cases[c].mask >> j & 1), "case %d, element %d", c, j);
        }
        device_close(&device);
    }
}
END_TEST

/* Around the group of 8 and the 8 groups at once, and tasks of 8192 elements. */
static const struct {
    int n, d;
    int64_t first_row;
} cases[] = {
    {0, 8, 0},  {1, 1, 0},   {1, 8, 3},    {1, 31, 0},     {3, 33, 1},          {5, 13, 12345},
    {2, 64, 7}, {7, 100, 9}, {33, 576, 0}, {17, 1001, 50}, {3, 576, 1LL << 40},
};

START_TEST(dropout_matches_reference)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
            for (int way = 0; way < 6; way++) {
                static const uint32_t thresholds[] = {0, 6554, 65535};
                bool add = way >= 3;
                int n = cases[c].n, d = cases[c].d;
                size_t size = (size_t)n * (size_t)d;
                struct dropout dropout = {99, 3, 5, cases[c].first_row, thresholds[way % 3]};
                float *x = guarded_floats(size), *y = guarded_floats(size);
                fill_normal(x, size, 1, 2.0f);
                if (add)
                    fill_normal(y, size, 2, 1.0f);
                double *want = zero_doubles(size), *before = to_doubles(y, size);
                dropout_factors_ref(want, &dropout, n, d);
                for (size_t j = 0; j < size; j++)
                    want[j] = want[j] * (double)x[j] + (add ? before[j] : 0);
                apply(&device, y, x, &dropout, n, d, add);
                for (size_t j = 0; j < size; j++) {
                    double product = fabs(want[j] - (add ? before[j] : 0));
                    /* The scale is rounded, and the product; the sum. */
                    double limit = 0x1p-24 * (2.001 * product + (add ? fabs(want[j]) : 0));
                    if (!(fabs(y[j] - want[j]) <= limit))
                        ck_abort_msg("%s, case %zu, way %d: element %zu is %.9g, not %.9g",
                                     test_device_name(&device), c, way, j, (double)y[j], want[j]);
                }
                check_guarded(x, size), check_guarded(y, size);
                free(want), free(before);
            }
        device_close(&device);
    }
}
END_TEST

/* In place, in one pass or row by row, any threads and instruction set: the same bytes. */
START_TEST(bytes_do_not_depend_on_passes_threads_or_instructions)
{
    enum { N = 37, D = 603 };
    static float x[N * D], y[N * D], first[N * D];
    struct device device;
    fill_normal(x, N * D, 1, 1.0f);
    for (int add = 0; add < 2; add++)
        for (int i = 0; test_device(i, &device); i++) {
            struct dropout dropout = {1, 2, 3, 100, 20000};
            fill_normal(y, N * D, 2, 1.0f);
            apply(&device, y, x, &dropout, N, D, add);
            if (i == 0)
                memcpy(first, y, sizeof y);
            ck_assert_mem_eq(y, first, sizeof y);
            fill_normal(y, N * D, 2, 1.0f);
            if (!add)
                memcpy(y, x, sizeof y);
            for (int row = 0; row < N; row++) {
                float *at = y + row * D;
                dropout.first_row = 100 + row;
                apply(&device, at, add ? x + row * D : at, &dropout, 1, D, add);
            }
            ck_assert_mem_eq(y, first, sizeof y);
            device_close(&device);
        }
}
END_TEST

/* What is dropped is 0, whatever it was; what is kept is not hidden. */
START_TEST(nan_stays_where_it_is_kept)
{
    enum { D = 64 };
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        struct dropout dropout = {4, 5, 6, 7, 32768};
        float x[D], y[D];
        double factor[D];
        dropout_factors_ref(factor, &dropout, 1, D);
        for (int j = 0; j < D; j++)
            x[j] = j % 2 ? NAN : INFINITY;
        apply(&device, y, x, &dropout, 1, D, false);
        for (int j = 0; j < D; j++)
            ck_assert(factor[j] == 0 ? y[j] == 0 : j % 2 ? isnan(y[j]) : isinf(y[j]));
        device_close(&device);
    }
}
END_TEST

START_TEST(thresholds_and_scales)
{
    ck_assert_uint_eq(dropout_threshold(0), 0);
    ck_assert_uint_eq(dropout_threshold(0.1), 6554);
    ck_assert_uint_eq(dropout_threshold(0.5), 32768);
    ck_assert_uint_eq(dropout_threshold(0.999999), 65535);
    ck_assert(dropout_scale(0) == 1 && dropout_scale(32768) == 2 && dropout_scale(65535) == 65536);
    ck_assert(fabsf(dropout_scale(6554) - 1 / 0.9f) < 2e-5f);
}
END_TEST

/* The share that is dropped, and that neighbours in elements, rows, steps, streams and seeds do not
 * agree more often than chance has it: within 5 standard deviations. */
START_TEST(the_mask_looks_random)
{
    enum { N = 512, D = 576, SIZE = N * D };
    static double factor[SIZE], other[SIZE];
    const struct dropout dropout = {1, 1, 1, 0, 6554};
    struct dropout others[] = {dropout, dropout, dropout, dropout};
    others[0].seed = 2, others[1].step = 2, others[2].stream = 2, others[3].first_row = 1;
    double p = 6554 / 65536.0, n_dropped = 0, n_both = 0;
    dropout_factors_ref(factor, &dropout, N, D);
    for (int i = 0; i < SIZE; i++) {
        n_dropped += factor[i] == 0;
        n_both += i > 0 && factor[i] == 0 && factor[i - 1] == 0;
    }
    ck_assert(fabs(n_dropped - p * SIZE) < 5 * sqrt(SIZE * p * (1 - p)));
    ck_assert(fabs(n_both - p * p * SIZE) < 5 * sqrt(SIZE * p * p));
    for (int c = 0; c < 4; c++) {
        dropout_factors_ref(other, &others[c], N, D);
        n_both = 0;
        for (int i = 0; i < SIZE; i++)
            n_both += factor[i] == 0 && other[i] == 0;
        ck_assert(fabs(n_both - p * p * SIZE) < 5 * sqrt(SIZE * p * p));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dropout");
    TCase *tests = tcase_create("dropout");
    tcase_add_test(tests, the_mask_is_philox);
    tcase_add_test(tests, dropout_matches_reference);
    tcase_add_test(tests, bytes_do_not_depend_on_passes_threads_or_instructions);
    tcase_add_test(tests, nan_stays_where_it_is_kept);
    tcase_add_test(tests, thresholds_and_scales);
    tcase_add_test(tests, the_mask_looks_random);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
