/* See cuda_support.h. */
#include "tests/cuda_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "host/base/float16.h"

struct device cuda_test;

static const struct {
    const char *card, *order, *mma, *async;
} settings[CUDA_TEST_SETTINGS] = {
    {"rtx3080", "fixed", "ieee", "late"},     {"rtx4090", "fixed", "truncating", "early"},
    {"h100", "fixed", "truncating", "late"},  {"rtx3080", "shuffled", "truncating", "early"},
    {"rtx4090", "shuffled", "ieee", "early"}, {"h100", "shuffled", "ieee", "late"},
};

static enum status open_with(int setting, const char *checks, struct err *err)
{
    char driver[4096];
    snprintf(driver, sizeof driver, "%s/softcuda/libcuda.so.1", build_folder());
    setenv("MIDASHI_CUDA_DRIVER", driver, 1);
    setenv("SOFTCUDA_CARD", settings[setting].card, 1);
    setenv("SOFTCUDA_ORDER", settings[setting].order, 1);
    setenv("SOFTCUDA_MMA", settings[setting].mma, 1);
    setenv("SOFTCUDA_ASYNC", settings[setting].async, 1);
    setenv("SOFTCUDA_SEED", "11", 1);
    setenv("SOFTCUDA_CHECK", checks, 1);
    return device_open(&cuda_test, "cuda", 1, err);
}

enum status cuda_test_open(int setting, struct err *err)
{
    return open_with(setting, "all", err);
}

bool cuda_test_device(int setting)
{
    return cuda_test_device_with(setting, "all");
}

bool cuda_test_device_with(int setting, const char *checks)
{
    struct err err;
    if (!cuda_has_kernels())
        return false;
    ck_assert_msg(open_with(setting, checks, &err) == STATUS_OK, "%s", err.text);
    ck_assert_int_eq(cuda_test.kind, DEVICE_CUDA);
    ck_assert(cuda_test.cuda->driver.software);
    return true;
}

bool cuda_test_full(void)
{
    const char *tests = getenv("MIDASHI_CUDA_TESTS");
    return tests && strcmp(tests, "full") == 0;
}

/* Of the child: its exit code. */
static int run_with_failure(int n, enum status (*run)(void *context, struct err *err),
                            void *context)
{
    char text[16];
    struct err err = {0};
    snprintf(text, sizeof text, "%d", n);
    setenv("SOFTCUDA_FAIL_ALLOC", text, 1); /* a driver reads its settings once */
    enum status status = cuda_test_open(1, &err);
    if (status == STATUS_OK)
        status = run(context, &err);
    device_close(&cuda_test);
    bool one_line = err.text[0] && !strchr(err.text, '\n');
    one_line = one_line && (strstr(err.text, " MB") || strstr(err.text, " bytes") ||
                            strstr(err.text, "for the kernels of "));
    return status == STATUS_OK ? 0 : status == STATUS_RESOURCE && one_line ? CUDA_CLEAN_ERROR : 2;
}

int cuda_test_with_failure(int n, enum status (*run)(void *context, struct err *err), void *context)
{
    fflush(NULL);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) /* not _exit: softcuda looks for leaks at the end, and makes the code 99 */
        exit(run_with_failure(n, run, context));
    int result;
    ck_assert_int_eq(waitpid(child, &result, 0), child);
    return WIFEXITED(result) ? WEXITSTATUS(result) : 3;
}

void cuda_good(enum status status, const struct err *err)
{
    ck_assert_msg(status == STATUS_OK, "%s", err->text);
}

/* ---- tensors -------------------------------------------------------------------------------- */

#define CANARY      16 /* bytes behind each tensor */
#define CANARY_BYTE 0xC5

static enum status copy(CUdeviceptr to, const void *from, size_t bytes, struct err *err)
{
    struct cuda_device *cuda = cuda_test.cuda;
    CUDA_TRY(&cuda->driver, err, MemcpyHtoDAsync, to, from, bytes, cuda->stream);
    return cuda_synchronise(cuda, err);
}

static enum status fetch(void *to, CUdeviceptr from, size_t bytes, struct err *err)
{
    struct cuda_device *cuda = cuda_test.cuda;
    CUDA_TRY(&cuda->driver, err, MemcpyDtoHAsync, to, from, bytes, cuda->stream);
    return cuda_synchronise(cuda, err);
}

struct cuda_tensor cuda_empty(enum precision type, size_t n)
{
    struct err err;
    size_t size = type == PRECISION_F32 ? 4 : type == PRECISION_BF16 ? 2 : 1;
    struct cuda_tensor tensor = {type, n, n * size, 0};
    unsigned char canary[CANARY];
    memset(canary, CANARY_BYTE, CANARY);
    cuda_good(cuda_check(&cuda_test.cuda->driver,
                         cuda_test.cuda->driver.MemAlloc(&tensor.address, tensor.bytes + CANARY),
                         "cuMemAlloc", &err),
              &err);
    cuda_good(copy(tensor.address + tensor.bytes, canary, CANARY, &err), &err);
    return tensor;
}

static struct cuda_tensor filled(enum precision type, const void *bytes, size_t n)
{
    struct err err;
    struct cuda_tensor tensor = cuda_empty(type, n);
    if (tensor.bytes)
        cuda_good(copy(tensor.address, bytes, tensor.bytes, &err), &err);
    return tensor;
}

struct cuda_tensor cuda_send(enum precision type, float *x, size_t n)
{
    uint16_t *halves = malloc(n * sizeof *halves + 1);
    for (size_t i = 0; i < n && type == PRECISION_BF16; i++) {
        halves[i] = bf16_from_float(x[i]);
        x[i] = bf16_to_float(halves[i]);
    }
    struct cuda_tensor tensor =
        filled(type, type == PRECISION_BF16 ? (const void *)halves : (const void *)x, n);
    free(halves);
    return tensor;
}

struct cuda_tensor cuda_spoiled(enum precision type, size_t n)
{
    float *nothing = test_alloc(n * sizeof *nothing);
    for (size_t i = 0; i < n; i++)
        nothing[i] = NAN;
    struct cuda_tensor tensor = cuda_send(type, nothing, n);
    free(nothing);
    return tensor;
}

struct cuda_tensor cuda_send_bytes(const void *bytes, size_t n)
{
    return filled(PRECISION_NF4, bytes, n);
}

struct cuda_tensor cuda_send_ints(const int32_t *x, size_t n)
{
    return cuda_send_bytes(x, n * sizeof *x);
}

void *cuda_download_bytes(struct cuda_tensor *tensor)
{
    struct err err;
    unsigned char *bytes = malloc(tensor->bytes + 1);
    if (tensor->bytes)
        cuda_good(fetch(bytes, tensor->address, tensor->bytes, &err), &err);
    cuda_drop(tensor);
    return bytes;
}

void cuda_drop(struct cuda_tensor *tensor)
{
    struct err err;
    unsigned char canary[CANARY];
    cuda_good(fetch(canary, tensor->address + tensor->bytes, CANARY, &err), &err);
    for (int i = 0; i < CANARY; i++)
        if (canary[i] != CANARY_BYTE)
            ck_abort_msg("byte %d behind the end was written", i);
    ck_assert_int_eq(cuda_test.cuda->driver.MemFree(tensor->address), CUDA_SUCCESS);
}

float *cuda_download(struct cuda_tensor *tensor)
{
    size_t n = tensor->n;
    bool halves = tensor->type == PRECISION_BF16;
    void *bytes = cuda_download_bytes(tensor);
    if (!halves)
        return bytes;
    float *x = malloc(n * sizeof *x + 1);
    for (size_t i = 0; i < n; i++)
        x[i] = bf16_to_float(((uint16_t *)bytes)[i]);
    free(bytes);
    return x;
}

void *cuda_pointer(const struct cuda_tensor *tensor)
{
    return (void *)(uintptr_t)tensor->address;
}

void *cuda_element(const struct cuda_tensor *tensor, size_t i)
{
    return (uint16_t *)cuda_pointer(tensor) + i;
}

double cuda_rounding(enum precision type)
{
    return type == PRECISION_BF16 ? 0x1p-8 : 0x1p-24;
}

double cuda_bfloat16_allowed(double want, double sums)
{
    return sums + cuda_rounding(PRECISION_BF16) * (fabs(want) + sums) + 0x1p-133;
}
