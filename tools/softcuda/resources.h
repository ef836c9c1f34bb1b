/* Registers of kernels: PTX does not say how many a thread gets, ptxas does.
 *
 * The file that SOFTCUDA_RESOURCES names is written at build time from `ptxas -v`, one object a
 * kernel and in it one a card's architecture:
 *
 *   {"rmsnorm_bf16": {"sm_86": {"registers": 32, "spill_stores": 0, "spill_loads": 0,
 *                               "stack": 0, "shared": 128, "constant": 400}, "sm_89": {...}}, ...}
 *
 * Numbers are bytes but for registers. Of an architecture that is missing, the nearest older one
 * counts. */
#ifndef SOFTCUDA_RESOURCES_H
#define SOFTCUDA_RESOURCES_H

#include <stdbool.h>
#include "host/base/status.h"
#include "tools/softcuda/program.h"

struct resources {
    int registers;                 /* a thread */
    int spill_stores, spill_loads; /* bytes, static */
    int stack, shared, constant;   /* bytes */
    bool known;                    /* from the file; false: registers is a guess, the rest is 0 */
};

/* path: NULL for none. STATUS_MISSING, STATUS_BAD_DATA: the text names the file. */
enum status resources_open(const char *path, struct err *err);

/* Of a kernel on an architecture (86 for sm_86). Without an entry: as many registers as launch
 * bounds allow (.maxntid times .minnctapersm threads share 65,536), 64 where there are none. */
struct resources resources_of(const struct program *program, int architecture);

#endif
