/* The machine: what it says of itself, and the device that a command computes on. */
#ifndef MIDASHI_TOOLS_SYSTEM_H
#define MIDASHI_TOOLS_SYSTEM_H

#include <stddef.h>
#include "host/base/device.h"
#include "host/base/precision.h"
#include "tools/midashi/options.h"
#include "tools/midashi/progress.h"

/* The device of --device and --threads. A GPU is a note, and one that `auto` had to pass over. */
enum status open_device(struct device *device, const struct options *options, struct meter *meter,
                        struct err *err);
/* The same for a model: with `auto`, one whose precision GPUs do not have is the CPU's. */
enum status open_model_device(struct device *device, const struct options *options,
                              enum precision precision, struct meter *meter, struct err *err);
/* For commands that compute on the CPU alone. STATUS_USAGE for a GPU. */
enum status open_cpu_device(struct device *device, const struct options *options, struct err *err);

/* The processor's name as the system gives it, "unknown processor" where it does not. */
void processor_name(char *text, size_t size);
/* What the system says of the clock of the first processor now, in MHz; 0 where it does not. */
double processor_clock(void);
int processor_count(void);    /* that are online */
size_t physical_memory(void); /* bytes, 0 where the system does not tell */

/* --memory: "auto", a share of what is free (on a GPU, of its memory), or a number with K, M, G or
 * T (powers of 1000) behind it, or Ki to Ti (of 1024); a B may follow. */
enum status parse_memory(size_t *bytes, const char *word, const struct device *device,
                         struct err *err);

#endif
