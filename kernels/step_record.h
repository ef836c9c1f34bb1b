/* What a training step on a GPU leaves behind for the host, which reads it when it likes: the
 * step's kernels wait for nobody. One for each step that is under way, on the device, zeroed before
 * the step. No includes of the host's, since nvcc reads it too. */
#ifndef MIDASHI_KERNELS_STEP_RECORD_H
#define MIDASHI_KERNELS_STEP_RECORD_H

#include <stdint.h>

struct step_record {
    double loss;          /* the sum of the step's losses (cross_entropy.h) */
    double norm;          /* of the gradient, before it is clipped (adamw.h) */
    int64_t correct;      /* of the labels, those that were predicted */
    float gradient_scale; /* clipping's */
    int32_t stopped;      /* 0, or the first step whose loss or norm was not finite */
};

#endif
