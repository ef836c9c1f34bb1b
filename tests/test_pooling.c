/* Pooling against its float64 reference; the same bits from both instruction sets. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/pooling.h"

/* Empty, single and longer ranges; ranges may overlap, leave rows out, and stand in any order. */
static const int32_t begin[] = {0, 0, 1, 5, 5, 44, 45, 100, 30, 0, 7};
static const int32_t end[] = {0, 1, 5, 5, 44, 45, 100, 400, 60, 400, 3};
#define N_TEXTS ((int)(sizeof begin / sizeof *begin))
#define N_ROWS  400

/* Round the 16 columns that are summed side by side. */
static const int widths[] = {1, 7, 15, 16, 17, 31, 33, 576};

/* The sum of n float64 values errs by n * 2^-53 of its absolute sum, which is nothing here; the
 * mean is rounded to float32 once. */
#define RELATIVE (1.001 * 0x1p-24)
#define ABSOLUTE (N_ROWS * 4 * 0x1p-53)

START_TEST(pooling_matches_reference)
{
    struct device device;
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (int pooling = POOL_LAST; pooling <= POOL_MEAN; pooling++) {
            int d = widths[w];
            size_t size = (size_t)N_ROWS * (size_t)d, out_size = (size_t)N_TEXTS * (size_t)d;
            float *hidden = guarded_floats(size), *first = malloc(out_size * sizeof *first);
            fill_normal(hidden, size, 1, 1.0f);
            double *hidden64 = to_doubles(hidden, size);
            double *want = malloc(out_size * sizeof *want);
            pooling_fwd_ref(want, hidden64, begin, end, N_TEXTS, d, (enum pooling)pooling);
            for (int i = 0; test_device(i, &device); i++) {
                float *out = guarded_floats(out_size);
                struct err err;
                ck_assert_int_eq(pooling_fwd(&device, out, hidden, begin, end, N_TEXTS, d,
                                             (enum pooling)pooling, &err),
                                 STATUS_OK);
                check_close(out, want, out_size, ABSOLUTE, RELATIVE, "%s pooling %d, width %d",
                            test_device_name(&device), pooling, d);
                if (i == 0)
                    memcpy(first, out, out_size * sizeof *out);
                ck_assert_mem_eq(first, out, out_size * sizeof *out);
                check_guarded(out, out_size);
                device_close(&device);
            }
            free(hidden64), free(want), free(first);
            check_guarded(hidden, size);
        }
}
END_TEST

/* The mean of values whose float32 sum would lose them: 2^24 once and ones. */
START_TEST(pooling_sums_in_double)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        float hidden[8 * 16], out[16];
        for (int j = 0; j < 8 * 16; j++)
            hidden[j] = j < 16 ? 0x1p24f : 1;
        const int32_t from = 0, to = 8;
        pooling_fwd_cpu(&device, out, hidden, &from, &to, 1, 16, POOL_MEAN);
        for (int j = 0; j < 16; j++)
            ck_assert(out[j] == (float)((0x1p24 + 7) / 8));
        device_close(&device);
    }
}
END_TEST

START_TEST(pooling_keeps_texts_apart)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        float hidden[4 * 17], out[2 * 17];
        fill_normal(hidden, 4 * 17, 1, 1.0f);
        hidden[2 * 17 + 16] = NAN;
        const int32_t from[2] = {0, 2}, to[2] = {2, 4};
        pooling_fwd_cpu(&device, out, hidden, from, to, 2, 17, POOL_MEAN);
        for (int j = 0; j < 2 * 17; j++)
            ck_assert(isnan(out[j]) == (j == 2 * 17 - 1));
        device_close(&device);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pooling");
    TCase *tests = tcase_create("pooling");
    tcase_add_test(tests, pooling_matches_reference);
    tcase_add_test(tests, pooling_sums_in_double);
    tcase_add_test(tests, pooling_keeps_texts_apart);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
