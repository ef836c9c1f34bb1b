/* What this machine can do at best, measured: the bounds that bench holds the kernels against.
 *
 * Other work on the machine comes and goes, so a bound is measured in short slices between the runs
 * of a kernel, and the best slice is compared with the best run. A slice of arithmetic lasts as
 * long as a run, so that both have the same chance of not being interrupted. */
#ifndef MIDASHI_BENCH_LIMITS_H
#define MIDASHI_BENCH_LIMITS_H

#include "host/base/device.h"

double seconds_now(void); /* a monotonic clock */

/* Floating-point operations a second of all workers of the device together, in one slice of at
 * least the given length (and 1 ms): independent chains of fused multiply-adds in registers (AVX2),
 * of multiplication and addition in 128-bit vectors (portable). A multiply-add counts as two. */
double measure_arithmetic(struct device *device, double seconds);

/* Bytes read and written a second by memcpy of 64 MiB by the calling thread, in one slice. buffers:
 * two of COPY_BYTES. */
#define COPY_BYTES ((size_t)64 << 20)
double measure_copy(char *to, const char *from);

#endif
