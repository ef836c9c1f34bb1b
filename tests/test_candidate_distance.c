/* Distances to candidates: against the float64 reference, and bit for bit in the order that the
 * header promises. */
#include "tests/candidate_inputs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/candidate_distance.h"

/* n rows, t candidates, d columns: none, one, around vectors of 8 and pairs of them, tiles of 2
 * rows by 6 and 1 by 12, chunks of 48, blocks of 16 and 64 rows, tasks of 64 rows and more; rows of
 * one piece and of several (5120 values of a tile's candidates). */
static const struct {
    int n, t, d;
} cases[] = {
    {0, 3, 5},      {3, 0, 5},      {1, 1, 1},      {1, 5, 2},     {2, 2, 7},    {3, 3, 8},
    {15, 4, 9},     {16, 5, 15},    {17, 6, 16},    {63, 7, 17},   {64, 8, 23},  {65, 9, 24},
    {33, 10, 25},   {31, 11, 31},   {66, 12, 32},   {40, 13, 33},  {129, 6, 64}, {513, 8, 64},
    {1025, 2, 33},  {9, 47, 40},    {21, 48, 65},   {70, 49, 11},  {5, 100, 19}, {65, 8, 576},
    {67, 12, 416},  {67, 12, 417},  {130, 12, 849}, {64, 6, 848},  {3, 6, 849},  {2, 1, 5121},
    {65, 1, 10243}, {129, 5, 4096}, {7, 13, 1500},  {66, 49, 700},
};
#define N_CASES (sizeof cases / sizeof *cases)

START_TEST(matches_reference)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t k = 0; k < N_CASES; k++) {
            int n = cases[k].n, t = cases[k].t, d = cases[k].d;
            size_t x_size = (size_t)n * (size_t)d, c_size = (size_t)t * (size_t)d;
            size_t size = (size_t)n * (size_t)t;
            float *x = guarded_floats(x_size), *c = guarded_floats(c_size);
            float *got = guarded_floats(size);
            fill_normal(x, x_size, 1, 2.0f);
            fill_normal(c, c_size, 2, 1.0f);
            double *x64 = to_doubles(x, x_size), *c64 = to_doubles(c, c_size);
            double *want = test_alloc(size * sizeof *want);
            candidate_distance_fwd_ref(want, x64, c64, n, t, d);
            struct err err;
            ck_assert_int_eq(candidate_distance_fwd(&device, got, x, c, n, t, d, &err), STATUS_OK);
            check_close(got, want, size, candidate_distance_fwd_least(d),
                        candidate_distance_fwd_tolerance(d), "%s %d x %d x %d",
                        test_device_name(&device), n, t, d);
            free(x64), free(c64), free(want);
            check_guarded(x, x_size);
            check_guarded(c, c_size);
            check_guarded(got, size);
        }
        device_close(&device);
    }
}
END_TEST

/* The contract, word by word. */
static float element(const float *x, const float *c, int d)
{
    float p[8] = {0};
    for (int l = 0; l < 8; l++)
        for (int j = l; j < d; j += 8) {
            float difference = x[j] - c[j];
            p[l] = fmaf(difference, difference, p[l]);
        }
    return ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
}

static void check_bits(const struct device *device, const float *got, const float *x,
                       const float *c, int n, int t, int d)
{
    for (int i = 0; i < n; i++)
        for (int trial = 0; trial < t; trial++) {
            float want = element(x + (size_t)i * (size_t)d, c + (size_t)trial * (size_t)d, d);
            float value = got[(size_t)i * (size_t)t + (size_t)trial];
            if (memcmp(&value, &want, sizeof value) != 0)
                ck_abort_msg("%s %d x %d x %d: row %d, candidate %d: %a, want %a",
                             test_device_name(device), n, t, d, i, trial, (double)value,
                             (double)want);
        }
}

/* So AVX2 and portable code, any number of threads, and an element's company are all the same. Last
 * come squares that are subnormal, and sums that overflow. */
START_TEST(every_bit_is_as_promised)
{
    static const int exponents[][2] = {{-2, 3}, {-30, 30}, {-80, -60}, {-149, -70}, {50, 66}};
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t k = 0; k < N_CASES; k++) {
            int n = cases[k].n, t = cases[k].t, d = cases[k].d;
            size_t x_size = (size_t)n * (size_t)d, c_size = (size_t)t * (size_t)d;
            float *x = guarded_floats(x_size), *c = guarded_floats(c_size);
            float *got = guarded_floats((size_t)n * (size_t)t);
            const int *range = exponents[k % (sizeof exponents / sizeof *exponents)];
            fill_any_size(x, x_size, 2 * k, range[0], range[1]);
            fill_any_size(c, c_size, 2 * k + 1, range[0], range[1]);
            candidate_distance_fwd_cpu(&device, got, x, c, n, t, d);
            check_bits(&device, got, x, c, n, t, d);
            check_guarded(got, (size_t)n * (size_t)t);
            check_guarded(x, x_size);
            check_guarded(c, c_size);
        }
        device_close(&device);
    }
}
END_TEST

/* Each range of sizes with each shape that has several rows of few columns. */
START_TEST(every_bit_is_as_promised_for_any_size)
{
    enum { N = 300, T = 7, D = 19 };
    static float x[N * D], c[T * D], got[N * T];
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (int low = -149; low < 120; low += 3) {
            fill_any_size(x, N * D, (uint64_t)(low + 200), low, low + 8);
            fill_any_size(c, T * D, (uint64_t)(low + 600), low, low + 8);
            candidate_distance_fwd_cpu(&device, got, x, c, N, T, D);
            check_bits(&device, got, x, c, N, T, D);
        }
        device_close(&device);
    }
}
END_TEST

/* Sums so near the middle of two float32 that float64 cannot tell: 2^-40 + 4097^2 lies above one,
 * and A^2 + b^2 below one, where A^2 lies 1703 below it and b^2 is little less than that. */
START_TEST(sums_are_rounded_once)
{
    enum { D = 9 };
    static const float pairs[][2] = {{0x1p-20f, 4097}, {0x1.4a23acp+5f, 8392155}};
    static const float want[] = {16785410, 70428261351424};
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (int p = 0; p < 2; p++) {
            float x[D] = {[0] = pairs[p][0], [8] = pairs[p][1]}, c[D] = {0}, got;
            candidate_distance_fwd_cpu(&device, &got, x, c, 1, 1, D);
            check_bits(&device, &got, x, c, 1, 1, D);
            ck_assert(got == want[p]);
        }
        device_close(&device);
    }
}
END_TEST

START_TEST(equal_rows_are_zero_apart)
{
    enum { N = 70, T = 12, D = 131 };
    static float x[N * D], c[T * D], got[N * T];
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        fill_normal(x, N * D, 5, 1e6f);
        for (int t = 0; t < T; t++)
            memcpy(c + t * D, x + 5 * t * D, D * sizeof *c);
        candidate_distance_fwd_cpu(&device, got, x, c, N, T, D);
        for (int r = 0; r < N; r++)
            for (int t = 0; t < T; t++)
                ck_assert_msg((got[r * T + t] == 0) == (r == 5 * t) && !signbit(got[r * T + t]),
                              "row %d, candidate %d: %g", r, t, (double)got[r * T + t]);
        device_close(&device);
    }
}
END_TEST

/* A value at the place `column` of row 4 or candidate 3, or of both, and what comes of it there. */
START_TEST(nan_and_infinities_stay_where_they_are)
{
    enum { N = 9, T = 8, D = 21 };
    static const struct {
        float x, c;
    } pairs[] = {{NAN, 0},
                 {0, NAN},
                 {INFINITY, 0},
                 {0, -INFINITY},
                 {NAN, INFINITY},
                 {INFINITY, INFINITY},
                 {INFINITY, -INFINITY},
                 {3e38f, -3e38f},
                 {2e19f, 0}};
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        for (size_t p = 0; p < sizeof pairs / sizeof *pairs; p++)
            for (int column = 0; column < D; column += 10) {
                float x[N * D], c[T * D], got[N * T];
                fill_normal(x, N * D, 6, 1.0f);
                fill_normal(c, T * D, 7, 1.0f);
                x[4 * D + column] = pairs[p].x, c[3 * D + column] = pairs[p].c;
                candidate_distance_fwd_cpu(&device, got, x, c, N, T, D);
                for (int r = 0; r < N; r++)
                    for (int t = 0; t < T; t++) {
                        float a = r == 4 ? pairs[p].x : 0, b = t == 3 ? pairs[p].c : 0;
                        float square = (a - b) * (a - b), value = got[r * T + t];
                        bool right = isfinite(square) ? isfinite(value)
                                     : isnan(square)  ? isnan(value)
                                                      : value == INFINITY;
                        ck_assert_msg(right, "pair %zu: row %d, candidate %d: %g", p, r, t,
                                      (double)value);
                    }
            }
        device_close(&device);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("candidate_distance");
    TCase *tests = tcase_create("candidate_distance");
    tcase_add_test(tests, matches_reference);
    tcase_add_test(tests, every_bit_is_as_promised);
    tcase_add_test(tests, every_bit_is_as_promised_for_any_size);
    tcase_add_test(tests, sums_are_rounded_once);
    tcase_add_test(tests, equal_rows_are_zero_apart);
    tcase_add_test(tests, nan_and_infinities_stay_where_they_are);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
