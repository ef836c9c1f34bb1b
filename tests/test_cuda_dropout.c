/* Dropout on a GPU: its mask is the CPU's bit for bit, and so are, rounded to bfloat16, its values.
 */
#include "tests/cuda_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/float16.h"
#include "kernels/dropout.h"

static float rounded(float x)
{
    return bf16_to_float(bf16_from_float(x));
}

/* Around the group of 8 and the block of 256 threads; widths that are whole groups and others; rows
 * whose first element is any of its group; elements beyond 2^32 and counters beyond it. */
static const struct {
    int n, d;
    int64_t first_row;
} cases[] = {
    {0, 8, 0},         {1, 1, 0},         {1, 1, 7},      {1, 7, 1},          {1, 8, 3},
    {2, 9, 5},         {3, 33, 1},        {5, 13, 12345}, {2, 64, 7},         {7, 172, 9},
    {1, 257, 3},       {3, 576, 1 << 24}, {9, 576, 0},    {3, 1001, 5000000}, {2, 4096, 1LL << 40},
    {2, 6, 1LL << 40},
};

/* The bytes are those of the CPU's result rounded to bfloat16; with add the sum is rounded once. */
static void check_dropout(size_t c, const struct dropout *given, bool add, bool in_place)
{
    struct err err;
    struct dropout dropout = *given;
    struct device cpu = device_cpu(&cuda_test);
    int n = cases[c].n, d = cases[c].d;
    size_t size = (size_t)n * (size_t)d;
    float *x = test_floats(size), *y = test_floats(size), *want = test_floats(size);
    dropout.first_row = cases[c].first_row;
    for (size_t i = 0; i < size; i++)
        y[i] = NAN;
    fill_normal(x, size, 1, 2.0f);
    if (add)
        fill_normal(y, size, 2, 1.0f);
    struct cuda_tensor of_x = cuda_send(PRECISION_BF16, x, size);
    struct cuda_tensor of_y = in_place ? of_x : cuda_send(PRECISION_BF16, y, size);
    dropout_fwd_cpu(&cpu, want, x, &dropout, n, d, false);
    cuda_good(dropout_fwd(&cuda_test, cuda_pointer(&of_y), cuda_pointer(&of_x), &dropout, n, d, add,
                          &err),
              &err);
    float *got = cuda_download(&of_y), scale = dropout_scale(dropout.threshold);
    for (size_t i = 0; i < size; i++) {
        float value = rounded(want[i]);
        if (add)
            value = want[i] == 0 ? y[i] : rounded(fmaf(x[i], scale, y[i]));
        if (!(got[i] == value))
            ck_abort_msg("case %zu, threshold %u, add %d: element %zu is %.9g, not %.9g", c,
                         dropout.threshold, add, i, (double)got[i], (double)value);
    }
    if (!in_place)
        cuda_drop(&of_x);
    free(got), free(x), free(y), free(want);
}

START_TEST(values_and_mask_are_the_cpus)
{
    static const struct dropout dropouts[] = {
        {.seed = 0x0123456789ABCDEF, .step = 7, .stream = 42, .threshold = 6554},
        {.seed = 1, .step = 0xFFFFFFFF, .stream = 0x80000000, .threshold = 32768},
        {.seed = 0, .step = 0, .stream = 0, .threshold = 1},
        {.seed = 99, .step = 500, .stream = 209, .threshold = 65535},
        {.threshold = 0},
    };
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (size_t k = 0; k < sizeof dropouts / sizeof *dropouts; k++)
            for (int way = 0; way < 3; way++)
                check_dropout(c, &dropouts[k], way == 1, way == 2);
    device_close(&cuda_test);
}
END_TEST

/* Row by row, from wherever a row of odd width begins: the same bytes, nothing beside them. */
START_TEST(bytes_do_not_depend_on_passes)
{
    static const int widths[] = {13, 96};
    enum { N = 9, LARGEST = 96 };
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (int w = 0; w < 2; w++) {
        struct err err;
        int d = widths[w];
        size_t size = (size_t)(N * d);
        float x[N * LARGEST], nothing[N * LARGEST];
        struct dropout dropout = {1, 2, 3, 100, 20000};
        fill_normal(x, size, 1, 1.0f);
        for (size_t i = 0; i < size; i++)
            nothing[i] = NAN;
        struct cuda_tensor of_x = cuda_send(PRECISION_BF16, x, size);
        struct cuda_tensor one = cuda_send(PRECISION_BF16, nothing, size), many = one;
        many = cuda_send(PRECISION_BF16, nothing, size);
        cuda_good(dropout_fwd_cuda(&cuda_test, cuda_pointer(&one), cuda_pointer(&of_x), &dropout, N,
                                   d, false, &err),
                  &err);
        for (int row = 0; row < N; row++) {
            dropout.first_row = 100 + row;
            cuda_good(dropout_fwd_cuda(&cuda_test, cuda_element(&many, (size_t)(row * d)),
                                       cuda_element(&of_x, (size_t)(row * d)), &dropout, 1, d,
                                       false, &err),
                      &err);
        }
        float *first = cuda_download(&one), *second = cuda_download(&many);
        ck_assert_mem_eq(first, second, size * sizeof *first);
        free(first), free(second), cuda_drop(&of_x);
    }
    device_close(&cuda_test);
}
END_TEST

/* What is dropped is 0, whatever it was; what is kept is not hidden. */
START_TEST(nan_stays_where_it_is_kept)
{
    enum { D = 64 };
    struct err err;
    struct dropout dropout = {4, 5, 6, 7, 32768};
    float x[D];
    double factor[D];
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    dropout_factors_ref(factor, &dropout, 1, D);
    for (int j = 0; j < D; j++)
        x[j] = j % 2 ? NAN : INFINITY;
    struct cuda_tensor of_x = cuda_send(PRECISION_BF16, x, D);
    cuda_good(dropout_fwd_cuda(&cuda_test, cuda_pointer(&of_x), cuda_pointer(&of_x), &dropout, 1, D,
                               false, &err),
              &err);
    float *y = cuda_download(&of_x);
    for (int j = 0; j < D; j++)
        ck_assert(factor[j] == 0 ? y[j] == 0 : j % 2 ? isnan(y[j]) : isinf(y[j]));
    free(y);
    device_close(&cuda_test);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_dropout");
    TCase *tests = tcase_create("cuda_dropout");
    tcase_add_loop_test(tests, values_and_mask_are_the_cpus, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, bytes_do_not_depend_on_passes, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, nan_stays_where_it_is_kept, 0, CUDA_TEST_SETTINGS);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
