/* RMSNorm and the residual add on a GPU against the float64 references, through the product's own
 * path: device, module, launch; and what a device says that cannot. tests/test_cuda_rows.c and
 * test_cuda_nf4.c have the other kernels that go row by row. */
#include "tests/cuda_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/nearest.h"
#include "kernels/residual_add.h"
#include "kernels/rmsnorm.h"

/* ---- RMSNorm -------------------------------------------------------------------------------- */

/* Widths round the vector (4, 8), the warp and the block of rmsnorm.cu, the models' own, and odd
 * ones; rows none to several. */
static const struct {
    int n, d;
} rows[] = {
    {0, 8},    {1, 1},    {3, 4},    {2, 7},    {2, 8},    {3, 31},  {2, 32},
    {3, 33},   {2, 63},   {2, 65},   {2, 255},  {1, 257},  {3, 576}, {1, 1023},
    {2, 1024}, {1, 2047}, {2, 4096}, {1, 4100}, {1, 8192},
};

/* Float32: sums in at most d / 2048 + 1 steps of a thread with 4 elements each (of single elements
 * d / 512 + 1), 5 of a warp and 5 of the block, of relative error 2^-24 each; the root halves them;
 * root, division and two products add 4. */
static double rmsnorm_tolerance(enum precision type, int d)
{
    double steps = d / 512.0 + 4 + 10;
    return 0x1p-24 * (steps / 2 + 4) + cuda_rounding(type);
}

static void check_rmsnorm(enum precision type, int n, int d, bool in_place)
{
    struct err err;
    size_t size = (size_t)n * (size_t)d;
    float *x = malloc(size * sizeof *x + 1), *weight = malloc((size_t)d * sizeof *weight);
    fill_normal(x, size, (uint64_t)d, 3.0f);
    fill_uniform(weight, (size_t)d, 2, -2.0f, 2.0f);
    struct cuda_tensor on_device = cuda_send(type, x, size),
                       of_weight = cuda_send(PRECISION_F32, weight, (size_t)d);
    struct cuda_tensor y = on_device;
    if (!in_place) {
        float *nothing = malloc(size * sizeof *nothing + 1);
        for (size_t i = 0; i < size; i++)
            nothing[i] = NAN;
        y = cuda_send(type, nothing, size);
        free(nothing);
    }
    double *x64 = to_doubles(x, size), *weight64 = to_doubles(weight, (size_t)d);
    double *want = malloc(size * sizeof *want + 1);
    rmsnorm_fwd_ref(want, x64, weight64, n, d, 1e-5);
    cuda_good(type == PRECISION_BF16
                  ? rmsnorm_fwd(&cuda_test, cuda_pointer(&y), cuda_pointer(&on_device),
                                cuda_pointer(&of_weight), n, d, 1e-5f, &err)
                  : rmsnorm_fwd_cuda(&cuda_test, type, cuda_pointer(&y), cuda_pointer(&on_device),
                                     cuda_pointer(&of_weight), n, d, 1e-5f, &err),
              &err);
    float *got = cuda_download(&y);
    /* 2^-133 is half of bf16's least subnormal. */
    check_close(got, want, size, 0x1p-133, rmsnorm_tolerance(type, d), "%s %d x %d%s",
                type == PRECISION_BF16 ? "bf16" : "f32", n, d, in_place ? " in place" : "");
    free(got);
    if (!in_place)
        free(cuda_download(&on_device));
    free(cuda_download(&of_weight));
    free(x), free(weight), free(x64), free(weight64), free(want);
}

START_TEST(rmsnorm_matches_reference)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int j = 0; j < 4; j++)
            check_rmsnorm(j & 1 ? PRECISION_BF16 : PRECISION_F32, rows[i].n, rows[i].d, j & 2);
    device_close(&cuda_test);
}
END_TEST

/* A row has the same bytes alone and among others. */
START_TEST(rmsnorm_does_not_see_other_rows)
{
    enum { ROWS = 5, WIDTH = 576 };
    struct err err;
    float x[ROWS * WIDTH], weight[WIDTH];
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    fill_normal(x, ROWS * WIDTH, 5, 1.0f);
    fill_uniform(weight, WIDTH, 6, 0.5f, 2.0f);
    x[3 * WIDTH + 9] = NAN;
    for (int i = 0; i < 2; i++) {
        enum precision type = i ? PRECISION_BF16 : PRECISION_F32;
        struct cuda_tensor w = cuda_send(PRECISION_F32, weight, WIDTH);
        struct cuda_tensor all = cuda_send(type, x, ROWS * WIDTH),
                           one = cuda_send(type, x + WIDTH, WIDTH);
        cuda_good(rmsnorm_fwd_cuda(&cuda_test, type, cuda_pointer(&all), cuda_pointer(&all),
                                   cuda_pointer(&w), ROWS, WIDTH, 1e-6f, &err),
                  &err);
        cuda_good(rmsnorm_fwd_cuda(&cuda_test, type, cuda_pointer(&one), cuda_pointer(&one),
                                   cuda_pointer(&w), 1, WIDTH, 1e-6f, &err),
                  &err);
        float *among = cuda_download(&all), *alone = cuda_download(&one);
        ck_assert_mem_eq(among + WIDTH, alone, WIDTH * sizeof *alone);
        for (int row = 0; row < ROWS; row++)
            ck_assert_int_eq(isnan(among[row * WIDTH + 100]), row == 3);
        free(among), free(alone);
        free(cuda_download(&w));
    }
    device_close(&cuda_test);
}
END_TEST

/* ---- the residual add ----------------------------------------------------------------------- */

static const struct {
    int n, d;
} sizes[] = {
    {0, 5},  {1, 1},  {1, 3},  {1, 4},   {1, 7},    {1, 8},    {1, 9},
    {3, 31}, {1, 32}, {5, 33}, {2, 576}, {3, 1024}, {7, 4096}, {1, 2047},
};

static void check_residual_add(enum precision type, int n, int d)
{
    struct err err;
    size_t size = (size_t)n * (size_t)d;
    float *x = malloc(size * sizeof *x + 1), *y = malloc(size * sizeof *y + 1);
    fill_normal(x, size, 1, 3.0f);
    fill_normal(y, size, 2, 1.0f);
    struct cuda_tensor of_x = cuda_send(type, x, size), of_y = cuda_send(type, y, size);
    double *x64 = to_doubles(x, size), *want = to_doubles(y, size);
    residual_add_fwd_ref(want, x64, n, d);
    cuda_good(type == PRECISION_BF16 ? residual_add_fwd(&cuda_test, cuda_pointer(&of_y),
                                                        cuda_pointer(&of_x), n, d, &err)
                                     : residual_add_fwd_cuda(&cuda_test, type, cuda_pointer(&of_y),
                                                             cuda_pointer(&of_x), n, d, &err),
              &err);
    float *got = cuda_download(&of_y);
    /* A float32 addition, and one rounding to the type. */
    check_close(got, want, size, 0, cuda_rounding(PRECISION_F32) + cuda_rounding(type),
                "%s %d x %d", type == PRECISION_BF16 ? "bf16" : "f32", n, d);
    free(got);
    free(cuda_download(&of_x));
    free(x), free(y), free(x64), free(want);
}

START_TEST(residual_add_matches_reference)
{
    if (!cuda_test_device(_i))
        SKIP("needs nvcc");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_residual_add(PRECISION_F32, sizes[i].n, sizes[i].d);
        check_residual_add(PRECISION_BF16, sizes[i].n, sizes[i].d);
    }
    device_close(&cuda_test);
}
END_TEST

/* ---- what a device says --------------------------------------------------------------------- */

START_TEST(errors_are_one_line)
{
    struct err err;
    CUdeviceptr p;
    if (!cuda_test_device(0))
        SKIP("needs nvcc");
    struct cuda_launch launch = {.image = "absent", .name = "absent", .grid = {1, 1, 1}};
    ck_assert_int_eq(cuda_launch(cuda_test.cuda, &launch, &err), STATUS_RESOURCE);
    ck_assert_str_eq(err.text, "cuda: this build has no kernels of absent");
    launch.image = "rmsnorm";
    ck_assert_int_eq(cuda_launch(cuda_test.cuda, &launch, &err), STATUS_RESOURCE);
    ck_assert_str_eq(err.text,
                     "cuda: cuModuleGetFunction: CUDA_ERROR_NOT_FOUND: named symbol not found");
    CUresult result = cuda_test.cuda->driver.MemAlloc(&p, (size_t)1 << 40);
    ck_assert_int_eq(cuda_check(&cuda_test.cuda->driver, result, "cuMemAlloc", &err),
                     STATUS_RESOURCE);
    ck_assert_str_eq(err.text, "cuda: cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory");
    /* An operation that has no kernel yet. */
    ck_assert_int_eq(nearest_fwd(&cuda_test, NULL, NULL, NULL, NULL, 1, NULL, &err),
                     STATUS_RESOURCE);
    ck_assert_str_eq(err.text, "nearest: no kernel for this device; use --device cpu");
    device_close(&cuda_test);
    ck_assert_int_eq(device_open(&cuda_test, "cuda:1", 1, &err), STATUS_RESOURCE);
    ck_assert_str_eq(err.text, "cuda:1: this machine has 1 GPU; see midashi devices");
    ck_assert_int_eq(device_open(&cuda_test, "cuda:x", 1, &err), STATUS_USAGE);
    ck_assert_int_eq(device_open(&cuda_test, "cudax", 1, &err), STATUS_USAGE);
    setenv("MIDASHI_CUDA_DRIVER", "/absent/libcuda.so.1", 1);
    ck_assert_int_eq(device_open(&cuda_test, "cuda", 1, &err), STATUS_RESOURCE);
    ck_assert(strstr(err.text, "MIDASHI_CUDA_DRIVER=/absent/libcuda.so.1: cannot be loaded: "));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_kernels");
    TCase *tests = tcase_create("cuda_kernels");
    tcase_add_loop_test(tests, rmsnorm_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, rmsnorm_does_not_see_other_rows, 0, CUDA_TEST_SETTINGS);
    tcase_add_loop_test(tests, residual_add_matches_reference, 0, CUDA_TEST_SETTINGS);
    tcase_add_test(tests, errors_are_one_line);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
