/* What host and device code of own_distance share. No includes of the host's, since nvcc reads it
 * too. Addresses are the device's. */
#ifndef MIDASHI_KERNELS_OWN_DISTANCE_JOB_H
#define MIDASHI_KERNELS_OWN_DISTANCE_JOB_H

#include <stdint.h>

/* Rows of a block: few, so that the last blocks leave few multiprocessors idle. */
#define OWN_DISTANCE_ROWS 16

struct own_distance_cuda_job {
    double *distance;
    const float *x, *centres;
    const int32_t *label;
    int n, d;
};

#endif
