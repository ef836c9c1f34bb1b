/* See rates.h.
 *
 * Sources: CUDA C++ Programming Guide, "Throughput of Native Arithmetic Instructions" (results in a
 * clock and multiprocessor; halves of a pair are two results) and the sections on compute
 * capabilities (size of L1 and shared memory). Memory instructions: one warp a clock, and 128 bytes
 * a wavefront, from the tuning guides. Latency of L1: Luo et al., arXiv:2402.13499, measured. */
#include "tools/softcuda/rates.h"

#include <stddef.h>

#define KB 1024

static const struct sm_rates table[] = {
    {
        .major = 8,
        .minor = 6,
        .l1_bytes = 128 * KB,
        .issue = 4,
        .float32 = 128,
        .integer = 64,
        .half = 128,
        .float64 = 2,
        .special = 16,
        .convert = 64,
        .shuffle = 32,
        .memory = 32,
        .wavefronts = 1,
        .l1_latency = 43,
    },
    {
        .major = 8,
        .minor = 9,
        .l1_bytes = 128 * KB,
        .issue = 4,
        .float32 = 128,
        .integer = 64,
        .half = 64,
        .float64 = 2,
        .special = 16,
        .convert = 64,
        .shuffle = 32,
        .memory = 32,
        .wavefronts = 1,
        .l1_latency = 43,
    },
    {
        .major = 9,
        .minor = 0,
        .l1_bytes = 256 * KB,
        .issue = 4,
        .float32 = 128,
        .integer = 64,
        .half = 128,
        .float64 = 64,
        .special = 16,
        .convert = 64,
        .shuffle = 32,
        .memory = 32,
        .wavefronts = 1,
        .l1_latency = 41,
    },
};

const struct sm_rates *sm_rates_of(const struct card *card)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].major == card->major && table[i].minor == card->minor)
            return &table[i];
    return &table[0];
}
