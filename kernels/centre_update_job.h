/* The argument of launches for centres, which host and device code share. No includes of the
 * host's, since nvcc reads it too. Addresses are the device's; arrays as centre_update.h has them.
 */
#ifndef MIDASHI_KERNELS_CENTRE_UPDATE_JOB_H
#define MIDASHI_KERNELS_CENTRE_UPDATE_JOB_H

#include <stdint.h>
#include "kernels/run_list.h"

/* Chains of a sum over columns. */
#define CENTRE_CHAINS 32
/* At most, of a block. */
#define CENTRE_THREADS 256

struct centre_job {
    float *updated;
    double *moved, *gain;
    const double *sums;
    const int64_t *counts;
    const float *centres;
    const float *mean; /* (d) */
    int k, d, spherical;
    struct run_list runs;
};

#endif
