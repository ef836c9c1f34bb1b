/* What host and device code of a potential share: a draw, and the arguments of launches. No
 * includes of the host's, since nvcc reads it too. Addresses are the device's. */
#ifndef MIDASHI_KERNELS_POTENTIAL_JOB_H
#define MIDASHI_KERNELS_POTENTIAL_JOB_H

#include "kernels/run_list.h"

/* Of a block, which has one sum. */
#define POTENTIAL_ROWS 512

/* Where a draw falls: how much all blocks before its own have, and the place among all rows'. */
struct potential_draw {
    double before, place;
    int block;
};

#endif
