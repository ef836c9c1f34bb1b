/* What the bounds of the nearest centre have in common on the CPU and on a GPU. */
#ifndef MIDASHI_KERNELS_NEAREST_BOUND_H
#define MIDASHI_KERNELS_NEAREST_BOUND_H

#include <math.h>

/* The least float that is not below value. */
static inline float nearest_rounded_up(double value)
{
    float rounded = (float)value;
    return (double)rounded < value ? nextafterf(rounded, INFINITY) : rounded;
}

/* What two of float64's distances of d columns may be wrong by together, as a share of the sum of
 * the squares of a row's and a centre's length (docs/numerics.md, "The nearest centre": 4 t). */
static inline double nearest_distance_error(int d)
{
    return 4 * ((double)d / 4 + 16) * 0x1p-53;
}

#endif
