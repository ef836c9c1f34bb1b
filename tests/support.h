/* What the tests share: devices to test on, reproducible inputs, strict comparison, skipping by
 * name, and files under the test data folders. Implementation: support.c. */
#ifndef MIDASHI_TESTS_SUPPORT_H
#define MIDASHI_TESTS_SUPPORT_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "host/base/device.h"
#include "host/base/status.h"

/* Runs one suite: main() of every test program is `return run_suite(suite)`. Each test prints a
 * line of TAP to the file named by MIDASHI_TAP, if that is set. */
int run_suite(Suite *suite);

/* Ends this test as skipped, with the reason: SKIP("needs ../shared/data"); */
#define SKIP(...)                                                                                  \
    do {                                                                                           \
        skip_report(__func__, __VA_ARGS__);                                                        \
        return;                                                                                    \
    } while (0)
void skip_report(const char *test, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What a test takes of memory is not what it takes in this build: AddressSanitizer adds its own.
 * gcc tells it by a macro, clang by a feature. */
#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER true
#endif
#endif
#ifndef ADDRESS_SANITIZER
#define ADDRESS_SANITIZER false
#endif

/* Devices to hold against the reference: for (int i = 0; test_device(i, &device); i++) { ... }.
 * CPU portable with 1 thread, then AVX2 (where there is) with 1 and with 3 threads. */
bool test_device(int i, struct device *device); /* close it with device_close */
const char *test_device_name(const struct device *device);

/* Reproducible: uniform in [low, high) by a 64-bit mix of (seed, index). */
void fill_uniform(float *x, size_t n, uint64_t seed, float low, float high);
/* Gaussian, mean 0. */
void fill_normal(float *x, size_t n, uint64_t seed, float deviation);
/* Normal, times powers of two from 2^-30 to 2^30: sums of them are rounded in float64 too, where
 * float32 of like size add up exactly, in any order. */
void fill_wide(float *x, size_t n, uint64_t seed);
uint64_t mix64(uint64_t seed, uint64_t index);

/* Garbage, a byte at least; fails the test where there is no memory. The caller frees. */
void *test_alloc(size_t bytes);
float *test_floats(size_t n);

/* float32 buffers with canaries before and behind; released by check_guarded. Not cleared: filled
 * with NaN, so that an element that is not written fails a comparison. */
float *guarded_floats(size_t n);
void check_guarded(float *x, size_t n); /* fails the test where a canary was overwritten; frees */
double *to_doubles(const float *x, size_t n); /* caller frees with free() */

/* |got - want| / |want|, n elements as a vector. */
double relative_distance(const float *got, const float *want, size_t n);

/* Fails unless |got - want| <= absolute + relative * |want| for each element (NaN fails), and the
 * mean square error is at most relative^2 times the mean square of want, plus absolute^2. what
 * names the case in the message. */
void check_close(const float *got, const double *want, size_t n, double absolute, double relative,
                 const char *what, ...) __attribute__((format(printf, 6, 7)));

/* Fails unless got is want and the error says so: its status is want, its text holds part and is
 * one line. what names the case. */
void check_error(enum status got, const struct err *err, enum status want, const char *part,
                 const char *what);

/* Something to run under a lack of memory: it releases all that it holds, also when it fails. */
typedef enum status memory_path(void *context, struct err *err);
/* Runs path with its n-th and all later allocations failing, for n = 1, 2, ... (in growing steps
 * from 200 on) until n is beyond the last one. Each run before must return STATUS_RESOURCE and a
 * line that says "not enough memory", the last one STATUS_OK. what names the case. Returns n - 1:
 * about as many allocations as path makes. That nothing leaks is for LeakSanitizer to see. */
long check_lack_of_memory(memory_path *path, void *context, const char *what);
/* The same for reading the corpus at path, with default settings. */
long check_corpus_lacks_memory(const char *path, const char *what);

/* The path of a file under ../shared/data (or MIDASHI_SHARED_DATA), or NULL where it is not there.
 * The answer is a static buffer of 8 rotating ones. */
const char *shared_data(const char *relative);
/* A file under tests/golden, which is always there. */
const char *golden(const char *relative);
/* models/NAME, or NULL. */
const char *local_model(const char *name);
/* Where this build's outputs lie: MIDASHI_BUILD (tests/run.sh sets it), else "build". */
const char *build_folder(void);
/* A fresh empty folder for this test, removed when the program ends. */
const char *temporary_folder(void);
/* Writes bytes to FOLDER/NAME and returns its path (rotating buffer). */
const char *write_file(const char *folder, const char *name, const void *bytes, size_t n);

#endif
