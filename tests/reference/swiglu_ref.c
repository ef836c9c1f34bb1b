/* SwiGLU in float64. */
#include "kernels/swiglu.h"

#include <math.h>

void swiglu_fwd_ref(double *y, const double *gate, const double *up, int n, int d)
{
    for (size_t i = 0; i < (size_t)n * (size_t)d; i++)
        y[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
}
