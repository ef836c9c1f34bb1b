/* What this machine can do at best, measured: the bounds that rows are held against.
 *
 * Other work on the machine comes and goes, so a bound is measured in short slices between the runs
 * of an operation, and the best slice is compared with the best run. */
#ifndef MIDASHI_BENCH_LIMITS_H
#define MIDASHI_BENCH_LIMITS_H

#include "host/base/device.h"

/* Floating-point operations a second of all workers of the device together, in one slice of about
 * the given length, at most a second, on a processor of 3 GHz: independent chains of fused
 * multiply-adds in registers (AVX2), of multiplication and addition in 128-bit vectors (portable).
 * A multiply-add counts as two. */
double measure_arithmetic(struct device *device, double seconds);

/* Memory to be read and written as an operation must at least: as much of both, so that it
 * comes from the cache that would hold the operation's own. */
struct traffic {
    char *from, *to, *in_place;
    size_t read, written, updated; /* bytes */
};
/* updated: bytes read and written where they lie, beside the others. STATUS_RESOURCE: no memory.
 * Close it with traffic_close, also when it fails. */
enum status traffic_open(struct traffic *traffic, double read, double written, double updated,
                         struct err *err);
void traffic_close(struct traffic *traffic);
/* Seconds of one pass by so many workers: what is read here and written there is copied by memcpy,
 * the rest only read or only written. */
double measure_traffic(struct device *device, const struct traffic *traffic, int n_workers);

/* The machine's own, of a device on the CPU, each the best of some slices. */
struct cpu_limits {
    double arithmetic; /* operations a second, of the device's instruction set */
    double read, copy; /* bytes a second of memory, 128 MiB; a copied byte counts twice */
};
enum status measure_cpu_limits(struct cpu_limits *limits, struct device *device, struct err *err);

#endif
