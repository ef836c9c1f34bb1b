/* Which instruction set of the CPU computes: one of two, picked at run time. */
#ifndef MIDASHI_BASE_CPU_H
#define MIDASHI_BASE_CPU_H

#include "host/base/status.h"

enum cpu_isa {
    CPU_PORTABLE, /* plain C, no intrinsics */
    CPU_AVX2,     /* AVX2, FMA and F16C */
};

const char *cpu_isa_name(enum cpu_isa isa); /* "portable", "avx2" */
/* True when this machine can run isa. */
int cpu_has(enum cpu_isa isa);
/* The environment's MIDASHI_CPU=portable|avx2, or else the best that this machine can run.
 * STATUS_USAGE for another word, STATUS_RESOURCE for a set that the machine lacks. */
enum status cpu_choose(enum cpu_isa *isa, struct err *err);

#endif
