/* See rates.h.
 *
 * Sources: CUDA C++ Programming Guide 11, table 3, "Throughput of Native Arithmetic Instructions"
 * (which has moved to section 12.1.1 of the Best Practices Guide since): results in a clock and
 * multiprocessor, 8.6 as the newest. What stands for 8.9 and 9.0 and differs from 8.6 is from
 * NVIDIA's whitepapers of AD102 and the H100. Programming Guide 13, 5.1, "Memory Information" and
 * "Shared Memory Capacity": L1 and shared memory together.
 *
 * half: guide 11 has 256 results for 8.6, 128 pairs; but outside tensor cores these cards are
 * specified as fast in float16 as in float32, and a pair takes both float32 pipes (NVIDIA forum,
 * "Separate CUDA core pipeline for FP16 and FP32", 302018): 64 pairs, of 8.9 too (guide 12: 128
 * results). The H100 has 133.8 TFLOP/s of float16, twice its float32: 128.
 *
 * convert: 64 is the row of 8 and 16-bit integers; what makes or takes numbers of floating point is
 * 16 ("all other type conversions"), which one class for all of them cannot tell: a projection is
 * too good there.
 *
 * integer: additions, multiplications, shifts, logic and comparisons are 64 each, counting bits and
 * the like 16.
 *
 * memory: load and store units by NVIDIA's whitepapers, 4 in each of an SM's four parts on GA102
 * and AD102, 8 on the H100. gpu-cache of gpu-benches (see card.c) has the same: loads of 4 bytes
 * bring 64 bytes a clock and SM on an A40 and an L40, "close to 128" on an H100.
 *
 * wavefronts: 128 bytes a clock ("128 bytes/clock per SM", whitepaper of GA102), which takes
 * loads of 8 or 16 bytes a lane there.
 *
 * l1_latency: 39.9 clocks on an RTX 4090, 39.6 on an H100 ([latency] in card.c); 8.6 as 8.9. */
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
        .half = 64,
        .float64 = 2,
        .special = 16,
        .convert = 64,
        .shuffle = 32,
        .memory = 16,
        .wavefronts = 1,
        .l1_latency = 40,
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
        .memory = 16,
        .wavefronts = 1,
        .l1_latency = 40,
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
        .l1_latency = 40,
    },
};

const struct sm_rates *sm_rates_of(const struct card *card)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].major == card->major && table[i].minor == card->minor)
            return &table[i];
    return &table[0];
}
