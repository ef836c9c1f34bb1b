/* Pooling against its float64 reference; the same bits from both instruction sets. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/pooling.h"
#include "tests/gradient_check.h"

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

/* ---- the gradient --------------------------------------------------------------------------- */

struct small {
    double *hidden, *out, *dout;
    const int32_t *begin, *end;
    enum pooling pooling;
};

static double loss(void *context)
{
    struct small *s = context;
    pooling_fwd_ref(s->out, s->hidden, s->begin, s->end, 5, 3, s->pooling);
    return weighted_sum(s->out, s->dout, 5 * 3);
}

START_TEST(pooling_bwd_reference_is_the_gradient)
{
    static const int32_t from[5] = {0, 2, 2, 5, 6}, to[5] = {2, 5, 2, 6, 3};
    for (int pooling = POOL_LAST; pooling <= POOL_MEAN; pooling++) {
        struct small s = {normal_doubles(7 * 3, 1, 1.0f),
                          zero_doubles(5 * 3),
                          normal_doubles(5 * 3, 2, 1.0f),
                          from,
                          to,
                          (enum pooling)pooling};
        double *dhidden = zero_doubles(7 * 3);
        pooling_bwd_ref(dhidden, s.dout, from, to, 5, 3, s.pooling);
        check_gradient(loss, &s, s.hidden, dhidden, 7 * 3, "pooling %d", pooling);
        free(s.hidden), free(s.out), free(s.dout), free(dhidden);
    }
}
END_TEST

/* The most texts of `begin` and `end` that share a row. */
#define SHARED 3

/* Each of them rounds a quotient and a sum, none of which is larger than the sum of magnitudes. */
#define BWD_TOLERANCE (2 * SHARED * 0x1p-24)

static void check_bwd(int d, enum pooling pooling)
{
    struct device device;
    size_t size = (size_t)N_ROWS * (size_t)d, out_size = (size_t)N_TEXTS * (size_t)d;
    float *dout = guarded_floats(out_size), *before = malloc(size * sizeof *before);
    float *first = malloc(size * sizeof *first);
    fill_normal(dout, out_size, 1, 1.0f);
    fill_normal(before, size, 2, 1.0f);
    double *dout64 = to_doubles(dout, out_size), *want = to_doubles(before, size);
    double *magnitude = to_doubles(before, size);
    pooling_bwd_ref(want, dout64, begin, end, N_TEXTS, d, pooling);
    for (size_t i = 0; i < out_size; i++)
        dout64[i] = fabs(dout64[i]);
    for (size_t i = 0; i < size; i++)
        magnitude[i] = fabs(magnitude[i]);
    pooling_bwd_ref(magnitude, dout64, begin, end, N_TEXTS, d, pooling);
    for (int i = 0; test_device(i, &device); i++) {
        struct err err;
        float *dhidden = guarded_floats(size);
        memcpy(dhidden, before, size * sizeof *dhidden);
        ck_assert_int_eq(
            pooling_bwd(&device, dhidden, dout, begin, end, N_TEXTS, N_ROWS, d, pooling, &err),
            STATUS_OK);
        for (size_t j = 0; j < size; j++)
            if (!(fabs(dhidden[j] - want[j]) <= BWD_TOLERANCE * magnitude[j]))
                ck_abort_msg("%s pooling %d, width %d: dhidden[%zu] = %.9g, want %.9g",
                             test_device_name(&device), pooling, d, j, (double)dhidden[j], want[j]);
        if (i == 0)
            memcpy(first, dhidden, size * sizeof *first);
        ck_assert_mem_eq(first, dhidden, size * sizeof *first);
        check_guarded(dhidden, size);
        device_close(&device);
    }
    free(dout64), free(want), free(magnitude), free(before), free(first);
    check_guarded(dout, out_size);
}

START_TEST(pooling_bwd_matches_reference)
{
    static const int more_widths[] = {1, 7, 63, 64, 65, 130, 576};
    for (size_t w = 0; w < sizeof more_widths / sizeof *more_widths; w++)
        for (int pooling = POOL_LAST; pooling <= POOL_MEAN; pooling++)
            check_bwd(more_widths[w], (enum pooling)pooling);
}
END_TEST

/* Rows of no text are left as they are, and a text's NaN stays in its rows and column. */
START_TEST(pooling_bwd_keeps_texts_apart)
{
    struct device device;
    for (int i = 0; test_device(i, &device); i++) {
        float dhidden[5 * 17], dout[2 * 17];
        for (int j = 0; j < 5 * 17; j++)
            dhidden[j] = 0.1f;
        fill_normal(dout, 2 * 17, 1, 1.0f);
        dout[17 + 16] = NAN;
        const int32_t from[2] = {0, 3}, to[2] = {2, 5};
        pooling_bwd_cpu(&device, dhidden, dout, from, to, 2, 5, 17, POOL_MEAN);
        for (int j = 0; j < 5 * 17; j++) {
            ck_assert(isnan(dhidden[j]) == (j == 3 * 17 + 16 || j == 4 * 17 + 16));
            ck_assert((dhidden[j] == 0.1f) == (j / 17 == 2));
        }
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
    tcase_add_test(tests, pooling_bwd_reference_is_the_gradient);
    tcase_add_test(tests, pooling_bwd_matches_reference);
    tcase_add_test(tests, pooling_bwd_keeps_texts_apart);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
