/* The machine: what it says of itself, and the device that a command computes on. */
#ifndef MIDASHI_TOOLS_SYSTEM_H
#define MIDASHI_TOOLS_SYSTEM_H

#include <stddef.h>
#include "host/base/device.h"
#include "tools/midashi/options.h"

/* The device of --device and --threads, for what commands compute. STATUS_RESOURCE for a GPU: the
 * operations of models and of k-means have no CUDA kernels yet. */
enum status open_device(struct device *device, const struct options *options, struct err *err);

/* The processor's name as the system gives it, "unknown processor" where it does not. */
void processor_name(char *text, size_t size);
/* What the system says of the clock of the first processor now, in MHz; 0 where it does not. */
double processor_clock(void);
int processor_count(void);    /* that are online */
size_t physical_memory(void); /* bytes, 0 where the system does not tell */

#endif
