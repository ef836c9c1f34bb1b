/* What a multiprocessor does in a clock, by compute capability: for caches and projections. */
#ifndef SOFTCUDA_RATES_H
#define SOFTCUDA_RATES_H

#include "tools/softcuda/card.h"

struct sm_rates {
    int major, minor;
    int l1_bytes; /* of L1 and shared memory together */
    int issue;    /* warp instructions */
    /* Lanes. Of half those of pairs: f16x2 and bf16x2. */
    int float32, integer, half, float64, special, convert, shuffle, memory;
    int wavefronts; /* of 128 bytes, shared memory and L1 together */
    int l1_latency; /* clocks */
};

/* Those of the card's compute capability; of 8.6 where it is not in the table. */
const struct sm_rates *sm_rates_of(const struct card *card);

#endif
