/* How a model keeps its weights in memory. */
#ifndef MIDASHI_BASE_PRECISION_H
#define MIDASHI_BASE_PRECISION_H

enum precision {
    PRECISION_NF4, /* 4-bit NormalFloat, double-quantised (kernels/nf4.h) */
    PRECISION_BF16,
    PRECISION_F32,
};

#endif
