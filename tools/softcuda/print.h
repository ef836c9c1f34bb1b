/* printf and assert of kernels. */
#ifndef SOFTCUDA_PRINT_H
#define SOFTCUDA_PRINT_H

#include "tools/softcuda/machine.h"

/* vprintf(format, arguments): a line a lane, in ascending order, to standard output. */
enum next print_lanes(struct warp *warp, const struct instruction *instruction, uint32_t lanes);
/* __assertfail(message, file, line, function, size): reports and stops the launch. */
enum next print_assertion(struct warp *warp, const struct instruction *instruction, uint32_t lanes);

#endif
