/* Sums over rows on a GPU: those of row_chunks_mean, bit for bit, in one call or several. */
#include "tests/cuda_support.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/row_chunks.h"
#include "kernels/column_sums.h"

/* total (d) += the sums, with x in pieces of `piece` rows. */
static void add(double *total, const float *x, int n, int d, int piece)
{
    struct err err;
    size_t width = (size_t)d;
    struct cuda_tensor sums = cuda_send_bytes(total, width * sizeof *total);
    struct cuda_tensor rows = cuda_send_bytes(x, (size_t)n * width * sizeof *x);
    for (int first = 0, size; first < n || first == 0; first += size) {
        size = n - first < piece ? n - first : piece;
        struct cuda_tensor scratch =
            cuda_empty(PRECISION_NF4, column_sums_cuda_scratch_bytes(size, d));
        cuda_good(column_sums_add_cuda(&cuda_test, cuda_pointer(&sums),
                                       (const float *)cuda_pointer(&rows) + (size_t)first * width,
                                       size, d, cuda_pointer(&scratch), &err),
                  &err);
        cuda_drop(&scratch);
        if (size == 0)
            break;
    }
    double *got = cuda_download_bytes(&sums);
    memcpy(total, got, width * sizeof *total);
    free(got);
    cuda_drop(&rows);
}

/* As the CPU's mean is: from 0, divided by n. */
static void check_mean(const float *x, int n, int d, int piece, const char *what)
{
    struct device cpu = device_cpu(&cuda_test);
    struct row_chunks rows = row_chunks_of(&cpu, x, n, d);
    struct err err;
    double *want = test_alloc((size_t)d * sizeof *want);
    double *got = test_alloc((size_t)d * sizeof *got);
    memset(got, 0, (size_t)d * sizeof *got);
    add(got, x, n, d, piece);
    cuda_good(row_chunks_mean(&rows, want, &err), &err);
    for (int j = 0; j < d; j++) {
        got[j] /= n;
        if (memcmp(&got[j], &want[j], sizeof *got) != 0)
            ck_abort_msg("%s, %d x %d: mean %d is %.17g and not %.17g", what, n, d, j, got[j],
                         want[j]);
    }
    row_chunks_close(&rows);
    free(want), free(got);
}

/* n round the 16 rows under way at a time and the 512 of a chain, d round a block's 64 columns. */
static const int shapes[][2] = {
    {1, 1},   {15, 3},   {16, 64},  {17, 65},    {40, 130}, {511, 5},
    {512, 7}, {513, 63}, {1024, 2}, {1543, 129}, {5000, 9},
};

/* Large means, so that sums are rounded at every step. */
START_TEST(sums_are_the_cpus)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t t = 0; t < sizeof shapes / sizeof *shapes; t++) {
        int n = shapes[t][0], d = shapes[t][1];
        size_t size = (size_t)n * (size_t)d;
        float *x = test_alloc(size * sizeof *x);
        fill_normal(x, size, 1, 1.0f);
        for (size_t i = 0; i < size; i++) /* of magnitudes 2^-30 to 2^33 */
            x[i] = ldexpf(x[i] + 0.25f, (int)(mix64(2, i) % 64) - 30);
        check_mean(x, n, d, n, "at once");
        check_mean(x, n, d, 512, "in pieces of a block");
        check_mean(x, n, d, 1024, "in pieces of two");
        free(x);
    }
    device_close(&cuda_test);
}
END_TEST

START_TEST(sums_are_added_to_what_was_there)
{
    enum { N = 700, D = 70 };
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    static float x[N * D];
    double got[D], want[D], size[D];
    fill_normal(x, N * D, 1, 1.0f);
    for (int j = 0; j < D; j++)
        got[j] = want[j] = 100.0 * j, size[j] = fabs(want[j]);
    double *x64 = to_doubles(x, N * D);
    column_sums_add_ref(want, size, x64, N, D);
    add(got, x, N, D, N);
    for (int j = 0; j < D; j++)
        ck_assert(fabs(got[j] - want[j]) <= column_sums_tolerance(N) * size[j]);
    memcpy(want, got, sizeof got);
    add(got, x, 0, D, 512);
    ck_assert_mem_eq(got, want, sizeof got);
    free(x64);
    device_close(&cuda_test);
}
END_TEST

/* Zeros of both signs, values below the least normal number, the largest; and those that are none
 * in a column of their own. */
START_TEST(values_of_any_size)
{
    static const float odd[] = {0,         -0.0f,   0x1p-149f, -0x1.8p-130f, 0x1.fffffcp-127f,
                                0x1p-126f, FLT_MAX, -FLT_MAX,  0x1p127f,     1};
    enum { N = 600, D = 67, ODD = sizeof odd / sizeof *odd };
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    static float x[N * D];
    double got[D] = {0};
    for (int i = 0; i < N * D; i++) {
        int tiny = i % D % 2; /* of zeros and subnormals alone */
        x[i] = odd[mix64(1, (uint64_t)i) % (tiny ? 5 : ODD)];
    }
    for (int i = 0; i < N; i++)
        x[i * D + 4] = -0.0f;
    check_mean(x, N, D, N, "odd values");
    x[5 * D + 7] = NAN, x[520 * D + 8] = INFINITY, x[599 * D + 9] = -INFINITY;
    add(got, x, N, D, N);
    for (int j = 0; j < D; j++)
        ck_assert_int_eq(isfinite(got[j]) == 0, j >= 7 && j <= 9);
    ck_assert(isnan(got[7]) && got[8] == INFINITY && got[9] == -INFINITY);
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_column_sums");
    TCase *tests = tcase_create("cuda_column_sums");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, sums_are_the_cpus, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, sums_are_added_to_what_was_there, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, values_of_any_size, 0, CUDA_TEST_SETTINGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
