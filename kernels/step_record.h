/* What a training step on a GPU leaves behind, one record a step, in the GPU's memory: the host
 * reads it a step late. No includes of the host's, since nvcc reads it too. */
#ifndef MIDASHI_KERNELS_STEP_RECORD_H
#define MIDASHI_KERNELS_STEP_RECORD_H

#include <stdint.h>

struct step_record {
    double loss, norm;
    int64_t correct;
    float gradient_scale;
    int32_t stopped;
};

#endif
