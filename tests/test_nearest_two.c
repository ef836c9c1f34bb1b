/* Squared distances and the two nearest centres against their float64 references. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/nearest.h"
#include "kernels/nearest_two.h"
#include "kernels/squared_distance.h"

/* n rows, k centres, d columns: none, one, around the tile of 2 x 4, the vector of 4, the task of
 * 32 rows and the chunk of 64 centres. */
static const struct {
    int n, k, d;
} cases[] = {
    {0, 3, 5},   {1, 1, 1},   {1, 5, 3},    {2, 4, 4},    {3, 3, 5},   {7, 9, 31},   {31, 2, 33},
    {32, 4, 64}, {33, 7, 65}, {40, 63, 17}, {65, 64, 12}, {5, 65, 20}, {3, 129, 40}, {6, 20, 4096},
};
#define N_CASES (sizeof cases / sizeof *cases)

START_TEST(squared_distance_matches_reference)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t t = 0; t < N_CASES; t++) {
            int n = cases[t].n, k = cases[t].k, d = cases[t].d;
            size_t x_size = (size_t)n * (size_t)d, c_size = (size_t)k * (size_t)d;
            float *x = guarded_floats(x_size), *centres = guarded_floats(c_size);
            fill_normal(x, x_size, 1, 2.0f);
            fill_normal(centres, c_size, 2, 1.0f);
            double *x64 = to_doubles(x, x_size), *c64 = to_doubles(centres, c_size);
            size_t size = (size_t)n * (size_t)k;
            double *got = test_alloc((size + 1) * sizeof(double)),
                   *want = test_alloc(size * sizeof(double));
            got[size] = 12345; /* canary */
            squared_distance_fwd_ref(want, x64, c64, n, k, d);
            struct err err;
            ck_assert_int_eq(squared_distance_fwd(&device, got, x, centres, n, k, d, &err),
                             STATUS_OK);
            for (size_t j = 0; j < size; j++)
                ck_assert_msg(fabs(got[j] - want[j]) <= squared_distance_fwd_tolerance(d) * want[j],
                              "%s %d x %d x %d: element %zu: %.17g, want %.17g",
                              test_device_name(&device), n, k, d, j, got[j], want[j]);
            ck_assert(got[size] == 12345);
            free(x64), free(c64), free(got), free(want);
            check_guarded(x, x_size);
            check_guarded(centres, c_size);
        }
        device_close(&device);
    }
}
END_TEST

/* Labels are exact: inputs are random, so that no two distances agree to rounding. */
START_TEST(nearest_two_matches_reference)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t t = 0; t < N_CASES; t++) {
            int n = cases[t].n, k = cases[t].k, d = cases[t].d;
            size_t x_size = (size_t)n * (size_t)d, c_size = (size_t)k * (size_t)d;
            float *x = guarded_floats(x_size), *centres = guarded_floats(c_size);
            fill_normal(x, x_size, 3, 2.0f);
            fill_normal(centres, c_size, 4, 1.0f);
            double *x64 = to_doubles(x, x_size), *c64 = to_doubles(centres, c_size);
            int32_t *got = test_alloc((size_t)n * sizeof(int32_t)),
                    *want = test_alloc((size_t)n * sizeof(int32_t));
            double *distance = test_alloc((size_t)n * sizeof(double)),
                   *second = test_alloc((size_t)n * sizeof(double));
            double *want_distance = test_alloc((size_t)n * sizeof(double)),
                   *want_second = test_alloc((size_t)n * sizeof(double));
            nearest_fwd_ref(want, want_distance, want_second, x64, c64, n, k, d);
            struct err err;
            ck_assert_int_eq(
                nearest_two_fwd(&device, got, distance, second, x, centres, n, k, d, &err),
                STATUS_OK);
            for (int j = 0; j < n; j++) {
                ck_assert_int_eq(got[j], want[j]);
                ck_assert(fabs(distance[j] - want_distance[j]) <=
                          squared_distance_fwd_tolerance(d) * want_distance[j]);
                ck_assert(second[j] == want_second[j] ||
                          fabs(second[j] - want_second[j]) <=
                              squared_distance_fwd_tolerance(d) * want_second[j]);
            }
            memset(want, 0, (size_t)n * sizeof *want);
            nearest_two_fwd_cpu(&device, want, NULL, NULL, x, centres, n, k, d);
            ck_assert_mem_eq(got, want, (size_t)n * sizeof *got);
            free(x64), free(c64), free(got), free(want), free(distance), free(second);
            free(want_distance), free(want_second);
            check_guarded(x, x_size);
            check_guarded(centres, c_size);
        }
        device_close(&device);
    }
}
END_TEST

/* Every distance agrees bitwise wherever a row or a centre lies in a tile. */
START_TEST(nearest_two_does_not_depend_on_company)
{
    enum { N = 37, K = 11, D = 29 };
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        float x[N * D], centres[K * D];
        fill_normal(x, N * D, 5, 1.0f);
        fill_normal(centres, K * D, 6, 1.0f);
        double all[N * K], one;
        squared_distance_fwd_cpu(&device, all, x, centres, N, K, D);
        for (int r = 0; r < N; r++)
            for (int c = 0; c < K; c++) {
                squared_distance_fwd_cpu(&device, &one, x + r * D, centres + c * D, 1, 1, D);
                if (memcmp(&one, &all[r * K + c], sizeof one) != 0)
                    ck_abort_msg("row %d, centre %d", r, c);
            }
        /* And in any number of pairs. */
        const float *rows[N], *others[N];
        double pairs[N];
        for (int n = 0; n <= N; n++) {
            for (int r = 0; r < n; r++)
                rows[r] = x + r * D, others[r] = centres + (r * 7 + n) % K * D;
            squared_distance_pairs_cpu(device.isa, pairs, rows, others, n, D);
            for (int r = 0; r < n; r++)
                if (memcmp(&pairs[r], &all[r * K + (r * 7 + n) % K], sizeof *pairs) != 0)
                    ck_abort_msg("pair %d of %d", r, n);
        }
        device_close(&device);
    }
}
END_TEST

START_TEST(nearest_two_breaks_ties_to_the_lowest)
{
    enum { K = 70, D = 5 }; /* more than a chunk */
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        float x[3 * D] = {0}, centres[K * D];
        fill_uniform(centres, K * D, 7, 4.0f, 5.0f);
        static const int equal[] = {3, 4, 30, 69}; /* at +1 and -1 from the rows, in turn */
        for (size_t e = 0; e < sizeof equal / sizeof *equal; e++)
            for (int j = 0; j < D; j++)
                centres[equal[e] * D + j] = j == 2 ? (e % 2 ? -1.0f : 1.0f) : 0.0f;
        int32_t label[3];
        double distance[3], second[3];
        nearest_two_fwd_cpu(&device, label, distance, second, x, centres, 3, K, D);
        for (int r = 0; r < 3; r++) {
            ck_assert_int_eq(label[r], 3);
            ck_assert(distance[r] == 1 && second[r] == 1);
        }
        device_close(&device);
    }
}
END_TEST

/* Distances of 2^-28 and 2^-28 + 2^-46 between points of norm 1000: the expansion of the square,
 * with its rounding of 10^6 * 2^-52, sees both as zero or worse. */
START_TEST(nearest_two_tells_near_centres_apart)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        float x[2] = {1000, 0};
        float centres[4] = {1000 + 0x1p-14f, 0x1p-23f, 1000 + 0x1p-14f, 0};
        int32_t label;
        double distance, second;
        nearest_two_fwd_cpu(&device, &label, &distance, &second, x, centres, 1, 2, 2);
        ck_assert_int_eq(label, 1);
        ck_assert(distance == 0x1p-28 && second == 0x1p-28 + 0x1p-46);
        device_close(&device);
    }
}
END_TEST

START_TEST(nearest_two_marks_rows_that_are_not_finite)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        float x[4 * 3], centres[2 * 3] = {0, 0, 0, 1, 1, 1};
        fill_normal(x, 12, 8, 1.0f);
        x[4] = NAN;
        x[6] = -INFINITY;
        int32_t label[4];
        double distance[4], second[4];
        nearest_two_fwd_cpu(&device, label, distance, second, x, centres, 4, 2, 3);
        for (int r = 0; r < 4; r++) {
            bool bad = r == 1 || r == 2;
            ck_assert_int_eq(label[r] < 0, bad);
            ck_assert_int_eq(isinf(distance[r]) != 0, bad);
            ck_assert_int_eq(isinf(second[r]) != 0, bad);
        }
        device_close(&device);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("nearest_two");
    TCase *tests = tcase_create("nearest_two");
    tcase_add_test(tests, squared_distance_matches_reference);
    tcase_add_test(tests, nearest_two_matches_reference);
    tcase_add_test(tests, nearest_two_does_not_depend_on_company);
    tcase_add_test(tests, nearest_two_breaks_ties_to_the_lowest);
    tcase_add_test(tests, nearest_two_tells_near_centres_apart);
    tcase_add_test(tests, nearest_two_marks_rows_that_are_not_finite);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
