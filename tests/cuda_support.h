/* What the tests of the GPU's kernels share: softcuda opened as each of its cards and ways to run,
 * and tensors on it with canaries behind them. */
#ifndef MIDASHI_TESTS_CUDA_SUPPORT_H
#define MIDASHI_TESTS_CUDA_SUPPORT_H

#include "host/base/cuda_device.h"
#include "host/base/precision.h"
#include "tests/support.h"

/* Each card, in fixed and in shuffled order, with both models of mma's sums and of when cp.async
 * lands. */
#define CUDA_TEST_SETTINGS 6

/* The device under test. A driver reads its settings once: one setting a test, each of which runs
 * in a process of its own (loop tests over 0 .. CUDA_TEST_SETTINGS-1). */
extern struct device cuda_test;

/* Opens it with all checkers; close it with device_close(&cuda_test), which makes softcuda look for
 * leaks. false: there are no kernels in this build; SKIP("needs nvcc"). */
bool cuda_test_device(int setting);
/* With fewer checkers, for what takes long and has run under all elsewhere: softcuda's list, or
 * "none". */
bool cuda_test_device_with(int setting, const char *checks);
/* The same where opening may fail; there are kernels. */
enum status cuda_test_open(int setting, struct err *err);

/* The long form of tests is asked for: MIDASHI_CUDA_TESTS=full, which `make check-cuda` sets. */
bool cuda_test_full(void);

/* Runs in a process of its own, with the device open, while the n-th allocation of the GPU's or of
 * page-locked memory fails; run releases all that it has taken. 0: all went well;
 * CUDA_CLEAN_ERROR: one line that tells what could not be had, so many bytes or kernels, and
 * nothing leaked; else wrong. */
#define CUDA_CLEAN_ERROR 71 /* 1 is a sanitizer's own, 99 softcuda's */
int cuda_test_with_failure(int n, enum status (*run)(void *context, struct err *err),
                           void *context);

/* Fails the test with the error's text unless status is STATUS_OK. */
void cuda_good(enum status status, const struct err *err);

/* n elements on the device, behind which a canary lies. */
struct cuda_tensor {
    enum precision type; /* PRECISION_F32 or PRECISION_BF16; of bytes PRECISION_NF4 */
    size_t n, bytes;
    CUdeviceptr address;
};

/* x as the device holds it; afterwards x is what it holds, rounded. */
struct cuda_tensor cuda_send(enum precision type, float *x, size_t n);
/* Uninitialised to the checkers: reading it is an error. */
struct cuda_tensor cuda_empty(enum precision type, size_t n);
/* Of NaN, so that what a kernel leaves out is seen. */
struct cuda_tensor cuda_spoiled(enum precision type, size_t n);
struct cuda_tensor cuda_send_bytes(const void *bytes, size_t n);
struct cuda_tensor cuda_send_ints(const int32_t *x, size_t n);
/* As floats, which the caller frees; the tensor is gone, and nothing was written behind it. */
float *cuda_download(struct cuda_tensor *tensor);
/* Of a tensor of bytes. */
void *cuda_download_bytes(struct cuda_tensor *tensor);
/* The tensor is gone, and nothing was written behind it. */
void cuda_drop(struct cuda_tensor *tensor);
void *cuda_pointer(const struct cuda_tensor *tensor);

/* The elements of a bfloat16 tensor from the i-th on. */
void *cuda_element(const struct cuda_tensor *tensor, size_t i);

/* Rounding to the type of a result, to nearest: half a unit in the last of 8 or 24 bits. */
double cuda_rounding(enum precision type);
/* What a bfloat16 result may be off by whose float32 value may be off by `sums`: that, and the
 * rounding of a value that is (2^-133: half of the least subnormal). */
double cuda_bfloat16_allowed(double want, double sums);

#endif
