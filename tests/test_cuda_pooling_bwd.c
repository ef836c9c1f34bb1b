/* Pooling's gradient on a GPU against the float64 reference, through the product's own path. */
#include "tests/cuda_support.h"

#include <math.h>
#include <stdlib.h>
#include "kernels/pooling.h"
#include "tests/gradient_check.h"

#define U 0x1p-24

/* More texts than a warp looks at together; empty, single and longer ranges, which overlap, leave
 * rows out (45 to 49) and stand in any order. Row 51 has one from each side of the 32nd. */
#define N_TEXTS 36
#define N_ROWS  53

static void make_ranges(int32_t *begin, int32_t *end)
{
    for (int t = 0; t < N_TEXTS; t++)
        begin[t] = t, end[t] = t + t % 5; /* every fifth is empty */
    begin[7] = 0, end[7] = 45;
    begin[8] = 9, end[8] = 3;
    begin[30] = begin[34] = 50, end[30] = end[34] = 52;
}

static void check_pooling(int d, int n_texts, int n, enum pooling pooling, bool add)
{
    struct err err;
    size_t size = (size_t)n * (size_t)d, out_size = (size_t)n_texts * (size_t)d;
    int32_t begin[N_TEXTS], end[N_TEXTS];
    make_ranges(begin, end);
    float *dout = malloc(out_size * sizeof *dout + 1), *before = malloc(size * sizeof *before + 1);
    fill_normal(dout, out_size, (uint64_t)d, 1.0f);
    fill_normal(before, size, 2, 1.0f);
    struct cuda_tensor of_dout = cuda_send(PRECISION_F32, dout, out_size);
    struct cuda_tensor of_begin = cuda_send_ints(begin, (size_t)n_texts);
    struct cuda_tensor of_end = cuda_send_ints(end, (size_t)n_texts);
    struct cuda_tensor dhidden =
        add ? cuda_send(PRECISION_BF16, before, size) : cuda_spoiled(PRECISION_BF16, size);
    double *want = add ? to_doubles(before, size) : zero_doubles(size),
           *dout64 = zero_doubles(out_size);
    double *magnitude = zero_doubles(size);
    for (size_t i = 0; i < out_size; i++)
        dout64[i] = fabs(dout[i]);
    for (size_t i = 0; i < size; i++)
        magnitude[i] = fabs(want[i]);
    pooling_bwd_ref(magnitude, dout64, begin, end, n_texts, d, pooling);
    for (size_t i = 0; i < out_size; i++)
        dout64[i] = dout[i];
    pooling_bwd_ref(want, dout64, begin, end, n_texts, d, pooling);
    cuda_good(add ? pooling_bwd(&cuda_test, cuda_pointer(&dhidden), cuda_pointer(&of_dout),
                                cuda_pointer(&of_begin), cuda_pointer(&of_end), n_texts, n, d,
                                pooling, &err)
                  : pooling_bwd_cuda(&cuda_test, cuda_pointer(&dhidden), cuda_pointer(&of_dout),
                                     cuda_pointer(&of_begin), cuda_pointer(&of_end), n_texts, n, d,
                                     pooling, false, &err),
              &err);
    float *got = cuda_download(&dhidden);
    /* A row has at most six texts here: quotients, sums, and what it held. */
    for (size_t i = 0; i < size; i++) {
        double allowed = 8 * U * magnitude[i] + cuda_rounding(PRECISION_BF16) * fabs(want[i]);
        if (!(fabs((double)got[i] - want[i]) <= allowed))
            ck_abort_msg("pooling %d, width %d, add %d: element %zu is %.9g, want %.9g", pooling, d,
                         add, i, (double)got[i], want[i]);
    }
    cuda_drop(&of_dout), cuda_drop(&of_begin), cuda_drop(&of_end);
    free(got), free(dout), free(before), free(want), free(dout64), free(magnitude);
}

START_TEST(pooling_bwd_matches_reference)
{
    /* Round the vector of 8, the warp, and more than one block. */
    static const int of_pooling[] = {1, 7, 8, 31, 64, 172, 264, 2056};
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t w = 0; w < sizeof of_pooling / sizeof *of_pooling; w++)
        for (int i = 0; i < 4; i++)
            check_pooling(of_pooling[w], N_TEXTS, N_ROWS, i & 1 ? POOL_MEAN : POOL_LAST, i & 2);
    for (int i = 0; i < 2; i++) { /* no text, no row, one of both */
        check_pooling(9, 0, 5, POOL_MEAN, i);
        check_pooling(8, 0, 0, POOL_LAST, i);
        check_pooling(16, 2, 3, POOL_MEAN, i);
    }
    device_close(&cuda_test);
}
END_TEST

/* The rows of a text have the same bytes without the other texts; NaN stays in its text and column.
 */
START_TEST(pooling_bwd_does_not_see_other_texts)
{
    enum { D = 40, TEXTS = 3, ROWS = 50 };
    static const int32_t begin[] = {0, 13, 30, 0}, end[] = {13, 30, 50, 17};
    struct err err;
    float dout[TEXTS * D];
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    fill_normal(dout, TEXTS * D, 2, 1.0f);
    dout[5] = NAN;
    struct cuda_tensor of_dout = cuda_send(PRECISION_F32, dout, TEXTS * D);
    struct cuda_tensor begins = cuda_send_ints(begin, 4), ends = cuda_send_ints(end, 4);
    const int32_t *of_begin = cuda_pointer(&begins), *of_end = cuda_pointer(&ends);
    const float *douts = cuda_pointer(&of_dout);
    for (int pooling = POOL_LAST; pooling <= POOL_MEAN; pooling++) {
        struct cuda_tensor all = cuda_spoiled(PRECISION_BF16, ROWS * D);
        struct cuda_tensor one = cuda_spoiled(PRECISION_BF16, 17 * D);
        cuda_good(pooling_bwd_cuda(&cuda_test, cuda_pointer(&all), douts, of_begin, of_end, TEXTS,
                                   ROWS, D, (enum pooling)pooling, false, &err),
                  &err);
        cuda_good(pooling_bwd_cuda(&cuda_test, cuda_pointer(&one), douts + D, of_begin + 3,
                                   of_end + 3, 1, 17, D, (enum pooling)pooling, false, &err),
                  &err);
        float *among = cuda_download(&all), *alone = cuda_download(&one);
        ck_assert_mem_eq(among + 13 * D, alone, 17 * D * sizeof *alone);
        for (int i = 0; i < ROWS * D; i++) {
            bool bad = i % D == 5 && (pooling == POOL_MEAN ? i / D < 13 : i / D == 12);
            if (isnan(among[i]) != bad)
                ck_abort_msg("pooling %d: element %d is %g", pooling, i, (double)among[i]);
        }
        free(among), free(alone);
    }
    cuda_drop(&of_dout), cuda_drop(&begins), cuda_drop(&ends);
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_pooling_bwd");
    TCase *tests = tcase_create("cuda_pooling_bwd");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, pooling_bwd_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, pooling_bwd_does_not_see_other_texts, 0, CUDA_TEST_SETTINGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
