/* A trial from its operands to its verdict (struct trial: operation.h). */
#ifndef MIDASHI_BENCH_TRIAL_H
#define MIDASHI_BENCH_TRIAL_H

#include "bench/operation.h"

/* Makes the operands and puts them where the device has them. STATUS_RESOURCE: no memory, host's
 * or device's. Close it also when it fails. */
enum status trial_open(struct trial *trial, const struct bench_operation *operation,
                       const int64_t *size, struct device *device, struct err *err);
void trial_close(struct trial *trial);

/* One run, with the operands of the next turn. On a GPU it is queued, not waited for. */
enum status trial_run(struct trial *trial, struct err *err);

/* One run from the first contents, and its verdict. */
enum status trial_verify(struct trial *trial, struct verdict *verdict, struct err *err);

#endif
