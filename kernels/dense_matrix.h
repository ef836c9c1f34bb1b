/* A weight matrix that is not quantised: a borrowed view of row-major (rows, columns) elements. */
#ifndef MIDASHI_KERNELS_DENSE_MATRIX_H
#define MIDASHI_KERNELS_DENSE_MATRIX_H

#include "host/base/precision.h"

struct dense_matrix {
    enum precision type; /* PRECISION_F32 (float) or PRECISION_BF16 (uint16_t) */
    const void *data;
    int rows, columns;
};

#endif
