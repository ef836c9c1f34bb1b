/* SwiGLU in float64. */
#include "kernels/swiglu.h"

#include <math.h>

void swiglu_fwd_ref(double *y, const double *gate, const double *up, int n, int d)
{
    for (size_t i = 0; i < (size_t)n * (size_t)d; i++)
        y[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
}

/* silu' as the derivative of a quotient: with e = exp(-x), (1 + e + x e) / (1 + e)^2, which is
 * written with exp(x) below 0, where e may overflow. */
static void silu_slope(double *slope, double *magnitude, double x)
{
    double e = exp(-fabs(x)), square = (1 + e) * (1 + e);
    *slope = x < 0 ? e * (1 + e + x) / square : (1 + e + x * e) / square;
    *magnitude = (x < 0 ? e * (1 + e - x) : 1 + e + x * e) / square;
}

void swiglu_bwd_ref(double *dgate, double *dup, double *magnitude, const double *dy,
                    const double *gate, const double *up, int n, int d)
{
    for (size_t i = 0; i < (size_t)n * (size_t)d; i++) {
        double slope, slope_magnitude;
        silu_slope(&slope, &slope_magnitude, gate[i]);
        dgate[i] = dy[i] * up[i] * slope;
        dup[i] = dy[i] * gate[i] / (1 + exp(-gate[i]));
        if (magnitude)
            magnitude[i] = fabs(dy[i] * up[i]) * slope_magnitude;
    }
}
