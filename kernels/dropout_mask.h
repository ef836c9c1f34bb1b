/* Which elements a dropout keeps (dropout.h has the formula). No includes of the host's, since nvcc
 * reads it too. */
#ifndef MIDASHI_KERNELS_DROPOUT_MASK_H
#define MIDASHI_KERNELS_DROPOUT_MASK_H

#include <stdint.h>

struct dropout {
    uint64_t seed;
    uint32_t step, stream; /* the training step; what draws: an adapter's input */
    int64_t first_row;     /* of this pass within the step, >= 0 */
    uint32_t threshold;    /* 0: no dropout, and nothing above is read */
};

#endif
