/* `midashi bench roofline`: a stored run as a picture. */
#ifndef MIDASHI_TOOLS_BENCH_ROOFLINE_H
#define MIDASHI_TOOLS_BENCH_ROOFLINE_H

#include "host/base/status.h"

/* Draws the rows on the CPU of a run that --json wrote: useful operations a second over operations
 * a byte, under the run's own limits (Williams, Waterman, Patterson 2009). Rows that count no
 * operations are left out. STATUS_BAD_DATA: no such file, or nothing to draw. */
enum status bench_roofline(const char *run_path, const char *output, struct err *err);

#endif
