/* The GPU's kernels against the float64 references, through the product's own path: device, module,
 * launch. They run on softcuda, as each of its cards, in fixed and in shuffled order; each
 * combination in a process of its own, since a driver reads its settings once. */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/cuda_device.h"
#include "host/base/float16.h"
#include "kernels/bias.h"
#include "kernels/residual_add.h"
#include "kernels/rmsnorm.h"

static const char *const settings[][2] = {
    {"rtx3080", "fixed"},    {"rtx4090", "fixed"},    {"h100", "fixed"},
    {"rtx3080", "shuffled"}, {"rtx4090", "shuffled"}, {"h100", "shuffled"},
};
#define N_SETTINGS ((int)(sizeof settings / sizeof *settings))

static struct device device;

/* false: there are no kernels in this build, skip. */
static bool open_device(int i)
{
    char driver[4096];
    struct err err;
    if (!cuda_has_kernels())
        return false;
    snprintf(driver, sizeof driver, "%s/softcuda/libcuda.so.1", build_folder());
    setenv("MIDASHI_CUDA_DRIVER", driver, 1);
    setenv("SOFTCUDA_CARD", settings[i][0], 1);
    setenv("SOFTCUDA_ORDER", settings[i][1], 1);
    setenv("SOFTCUDA_SEED", "11", 1);
    setenv("SOFTCUDA_CHECK", "all", 1);
    ck_assert_msg(device_open(&device, "cuda", 1, &err) == STATUS_OK, "%s", err.text);
    ck_assert_int_eq(device.kind, DEVICE_CUDA);
    ck_assert(device.cuda->driver.software);
    return true;
}

/* ---- tensors of either type ----------------------------------------------------------------- */

#define CANARY 16 /* bytes behind each tensor */

struct tensor {
    enum precision type;
    size_t n, bytes;
    CUdeviceptr address;
};

static void good(enum status status, const struct err *err)
{
    ck_assert_msg(status == STATUS_OK, "%s", err->text);
}

static enum status copy(CUdeviceptr to, const void *from, size_t bytes, struct err *err)
{
    CUDA_TRY(&device.cuda->driver, err, MemcpyHtoDAsync, to, from, bytes, device.cuda->stream);
    return STATUS_OK;
}

static enum status fetch(void *to, CUdeviceptr from, size_t bytes, struct err *err)
{
    CUDA_TRY(&device.cuda->driver, err, MemcpyDtoHAsync, to, from, bytes, device.cuda->stream);
    return cuda_synchronise(device.cuda, err);
}

/* x as the device holds it; afterwards x is what it holds, rounded. */
static struct tensor upload(enum precision type, float *x, size_t n)
{
    struct err err;
    struct tensor tensor = {type, n, n * (type == PRECISION_BF16 ? 2 : 4), 0};
    unsigned char *bytes = malloc(tensor.bytes + CANARY);
    for (size_t i = 0; i < n; i++) {
        uint16_t half = bf16_from_float(x[i]);
        if (type == PRECISION_BF16) {
            x[i] = bf16_to_float(half);
            memcpy(bytes + 2 * i, &half, 2);
        } else {
            memcpy(bytes + 4 * i, &x[i], 4);
        }
    }
    memset(bytes + tensor.bytes, 0xC5, CANARY);
    good(cuda_check(&device.cuda->driver,
                    device.cuda->driver.MemAlloc(&tensor.address, tensor.bytes + CANARY),
                    "cuMemAlloc", &err),
         &err);
    good(copy(tensor.address, bytes, tensor.bytes + CANARY, &err), &err);
    free(bytes);
    return tensor;
}

/* As floats, which the caller frees; the tensor is gone, and nothing was written behind it. */
static float *download(struct tensor *tensor)
{
    struct err err;
    unsigned char *bytes = malloc(tensor->bytes + CANARY);
    float *x = malloc(tensor->n * sizeof *x + 1);
    good(fetch(bytes, tensor->address, tensor->bytes + CANARY, &err), &err);
    for (size_t i = 0; i < tensor->n; i++) {
        uint16_t half;
        if (tensor->type == PRECISION_BF16) {
            memcpy(&half, bytes + 2 * i, 2);
            x[i] = bf16_to_float(half);
        } else {
            memcpy(&x[i], bytes + 4 * i, 4);
        }
    }
    for (int i = 0; i < CANARY; i++)
        if (bytes[tensor->bytes + (size_t)i] != 0xC5)
            ck_abort_msg("byte %d behind the end was written", i);
    free(bytes);
    ck_assert_int_eq(device.cuda->driver.MemFree(tensor->address), CUDA_SUCCESS);
    return x;
}

static void *pointer(const struct tensor *tensor)
{
    return (void *)(uintptr_t)tensor->address;
}

/* Rounding to the type of the result, to nearest: half a unit in the last of 8 or 24 bits. */
static double rounding(enum precision type)
{
    return type == PRECISION_BF16 ? 0x1p-8 : 0x1p-24;
}

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

/* Float32: sums in at most d / 512 + 1 steps of a thread with 4 or 8 elements each, 5 of a warp and
 * 5 of the block, of relative error 2^-24 each; the root halves them; root, division and two
 * products add 4. */
static double rmsnorm_tolerance(enum precision type, int d)
{
    double steps = d / 64.0 + 8 + 10;
    return 0x1p-24 * (steps / 2 + 4) + rounding(type);
}

static void check_rmsnorm(enum precision type, int n, int d, bool in_place)
{
    struct err err;
    size_t size = (size_t)n * (size_t)d;
    float *x = malloc(size * sizeof *x + 1), *weight = malloc((size_t)d * sizeof *weight);
    fill_normal(x, size, (uint64_t)d, 3.0f);
    fill_uniform(weight, (size_t)d, 2, -2.0f, 2.0f);
    struct tensor on_device = upload(type, x, size),
                  of_weight = upload(PRECISION_F32, weight, (size_t)d);
    struct tensor y = on_device;
    if (!in_place) {
        float *nothing = malloc(size * sizeof *nothing + 1);
        for (size_t i = 0; i < size; i++)
            nothing[i] = NAN;
        y = upload(type, nothing, size);
        free(nothing);
    }
    double *x64 = to_doubles(x, size), *weight64 = to_doubles(weight, (size_t)d);
    double *want = malloc(size * sizeof *want + 1);
    rmsnorm_fwd_ref(want, x64, weight64, n, d, 1e-5);
    good(type == PRECISION_BF16 ? rmsnorm_fwd(&device, pointer(&y), pointer(&on_device),
                                              pointer(&of_weight), n, d, 1e-5f, &err)
                                : rmsnorm_fwd_cuda(&device, type, pointer(&y), pointer(&on_device),
                                                   pointer(&of_weight), n, d, 1e-5f, &err),
         &err);
    float *got = download(&y);
    /* 2^-133 is half of bf16's least subnormal. */
    check_close(got, want, size, 0x1p-133, rmsnorm_tolerance(type, d), "%s %d x %d%s",
                type == PRECISION_BF16 ? "bf16" : "f32", n, d, in_place ? " in place" : "");
    free(got);
    if (!in_place)
        free(download(&on_device));
    free(download(&of_weight));
    free(x), free(weight), free(x64), free(weight64), free(want);
}

START_TEST(rmsnorm_matches_reference)
{
    if (!open_device(_i))
        SKIP("needs nvcc");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int j = 0; j < 4; j++)
            check_rmsnorm(j & 1 ? PRECISION_BF16 : PRECISION_F32, rows[i].n, rows[i].d, j & 2);
    device_close(&device);
}
END_TEST

/* A row has the same bytes alone and among others. */
START_TEST(rmsnorm_does_not_see_other_rows)
{
    enum { ROWS = 5, WIDTH = 576 };
    struct err err;
    float x[ROWS * WIDTH], weight[WIDTH];
    if (!open_device(_i))
        SKIP("needs nvcc");
    fill_normal(x, ROWS * WIDTH, 5, 1.0f);
    fill_uniform(weight, WIDTH, 6, 0.5f, 2.0f);
    x[3 * WIDTH + 9] = NAN;
    for (int i = 0; i < 2; i++) {
        enum precision type = i ? PRECISION_BF16 : PRECISION_F32;
        struct tensor w = upload(PRECISION_F32, weight, WIDTH);
        struct tensor all = upload(type, x, ROWS * WIDTH), one = upload(type, x + WIDTH, WIDTH);
        good(rmsnorm_fwd_cuda(&device, type, pointer(&all), pointer(&all), pointer(&w), ROWS, WIDTH,
                              1e-6f, &err),
             &err);
        good(rmsnorm_fwd_cuda(&device, type, pointer(&one), pointer(&one), pointer(&w), 1, WIDTH,
                              1e-6f, &err),
             &err);
        float *among = download(&all), *alone = download(&one);
        ck_assert_mem_eq(among + WIDTH, alone, WIDTH * sizeof *alone);
        for (int row = 0; row < ROWS; row++)
            ck_assert_int_eq(isnan(among[row * WIDTH + 100]), row == 3);
        free(among), free(alone);
        free(download(&w));
    }
    device_close(&device);
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
    struct tensor of_x = upload(type, x, size), of_y = upload(type, y, size);
    double *x64 = to_doubles(x, size), *want = to_doubles(y, size);
    residual_add_fwd_ref(want, x64, n, d);
    good(type == PRECISION_BF16
             ? residual_add_fwd(&device, pointer(&of_y), pointer(&of_x), n, d, &err)
             : residual_add_fwd_cuda(&device, type, pointer(&of_y), pointer(&of_x), n, d, &err),
         &err);
    float *got = download(&of_y);
    /* A float32 addition, and one rounding to the type. */
    check_close(got, want, size, 0, rounding(PRECISION_F32) + rounding(type), "%s %d x %d",
                type == PRECISION_BF16 ? "bf16" : "f32", n, d);
    free(got);
    free(download(&of_x));
    free(x), free(y), free(x64), free(want);
}

START_TEST(residual_add_matches_reference)
{
    if (!open_device(_i))
        SKIP("needs nvcc");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_residual_add(PRECISION_F32, sizes[i].n, sizes[i].d);
        check_residual_add(PRECISION_BF16, sizes[i].n, sizes[i].d);
    }
    device_close(&device);
}
END_TEST

/* ---- what a device says --------------------------------------------------------------------- */

START_TEST(errors_are_one_line)
{
    struct err err;
    CUdeviceptr p;
    if (!open_device(0))
        SKIP("needs nvcc");
    struct cuda_launch launch = {.image = "absent", .name = "absent", .grid = {1, 1, 1}};
    ck_assert_int_eq(cuda_launch(device.cuda, &launch, &err), STATUS_RESOURCE);
    ck_assert_str_eq(err.text, "cuda: this build has no kernels of absent");
    launch.image = "rmsnorm";
    ck_assert_int_eq(cuda_launch(device.cuda, &launch, &err), STATUS_RESOURCE);
    ck_assert_str_eq(err.text,
                     "cuda: cuModuleGetFunction: CUDA_ERROR_NOT_FOUND: named symbol not found");
    CUresult result = device.cuda->driver.MemAlloc(&p, (size_t)1 << 40);
    ck_assert_int_eq(cuda_check(&device.cuda->driver, result, "cuMemAlloc", &err), STATUS_RESOURCE);
    ck_assert_str_eq(err.text, "cuda: cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory");
    /* An operation that has no kernel yet. */
    ck_assert_int_eq(bias_fwd(&device, NULL, NULL, 1, 1, &err), STATUS_RESOURCE);
    ck_assert_str_eq(err.text, "bias: no kernel for this device");
    device_close(&device);
    ck_assert_int_eq(device_open(&device, "cuda:1", 1, &err), STATUS_RESOURCE);
    ck_assert_str_eq(err.text, "cuda:1: this machine has 1 GPU; see midashi devices");
    ck_assert_int_eq(device_open(&device, "cuda:x", 1, &err), STATUS_USAGE);
    ck_assert_int_eq(device_open(&device, "cudax", 1, &err), STATUS_USAGE);
    setenv("MIDASHI_CUDA_DRIVER", "/absent/libcuda.so.1", 1);
    ck_assert_int_eq(device_open(&device, "cuda", 1, &err), STATUS_RESOURCE);
    ck_assert(strstr(err.text, "MIDASHI_CUDA_DRIVER=/absent/libcuda.so.1: cannot be loaded: "));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cuda_kernels");
    TCase *tests = tcase_create("cuda_kernels");
    tcase_add_loop_test(tests, rmsnorm_matches_reference, 0, N_SETTINGS);
    tcase_add_loop_test(tests, rmsnorm_does_not_see_other_rows, 0, N_SETTINGS);
    tcase_add_loop_test(tests, residual_add_matches_reference, 0, N_SETTINGS);
    tcase_add_test(tests, errors_are_one_line);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
