/* A folder for a while. */
#ifndef MIDASHI_BENCH_SCRATCH_H
#define MIDASHI_BENCH_SCRATCH_H

#include <limits.h>
#include "host/base/status.h"

/* Makes an empty one under TMPDIR, or /tmp. STATUS_RESOURCE: the system refuses. */
enum status scratch_open(char path[PATH_MAX], struct err *err);
/* Removes it with all that it holds. */
void scratch_remove(const char *path);

#endif
