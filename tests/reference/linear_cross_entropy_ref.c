/* A linear head and its cross-entropy in float64, a row at a time. */
#include "kernels/linear_cross_entropy.h"

#include <math.h>
#include "kernels/cross_entropy.h"
#include "kernels/matmul.h"

/* logits = W x. Returns the largest sum of magnitudes. */
static double row_logits(double *logits, const double *x, const double *w, int rows, int columns)
{
    double largest = 0;
    for (int v = 0; v < rows; v++) {
        double magnitude = 0;
        logits[v] = 0;
        for (int k = 0; k < columns; k++) {
            double product = w[(size_t)v * (size_t)columns + (size_t)k] * x[k];
            logits[v] += product;
            magnitude += fabs(product);
        }
        largest = fmax(largest, magnitude);
    }
    return largest;
}

/* dx = Wᵀ g. Returns the largest sum of magnitudes. */
static double row_gradient(double *dx, const double *g, const double *w, int rows, int columns)
{
    double largest = 0;
    for (int k = 0; k < columns; k++) {
        double magnitude = 0;
        dx[k] = 0;
        for (int v = 0; v < rows; v++) {
            double product = g[v] * w[(size_t)v * (size_t)columns + (size_t)k];
            dx[k] += product;
            magnitude += fabs(product);
        }
        largest = fmax(largest, magnitude);
    }
    return largest;
}

static double range_of(const double *x, int d)
{
    double low = x[0], high = x[0];
    for (int j = 1; j < d; j++)
        low = fmin(low, x[j]), high = fmax(high, x[j]);
    return high - low;
}

static double largest_of(const double *x, int d)
{
    double largest = 0;
    for (int j = 0; j < d; j++)
        largest = fmax(largest, fabs(x[j]));
    return largest;
}

/* What the steps err by: a product, the cross-entropy, a rounding to the type. */
struct steps {
    double logits, probability, loss, dx, rounding;
};

static struct steps steps_of(enum precision type, int rows, int columns, double range)
{
    if (type == PRECISION_BF16)
        return (struct steps){
            matmul_fwd_cuda_tolerance(columns), softmax_fwd_cuda_tolerance(type, rows, range),
            cross_entropy_cuda_tolerance(type, rows), matmul_fwd_cuda_tolerance(rows), 0x1p-8};
    return (struct steps){matmul_fwd_tolerance(columns), softmax_fwd_tolerance(rows, range),
                          cross_entropy_tolerance(rows), matmul_fwd_tolerance(rows), 0};
}

/* An error of e / 2 in each logit is one of at most e in the loss, and a relative one of exp(e) - 1
 * in a probability and in the sum of the others. To that comes what cross_entropy errs by, the
 * second product, and of bfloat16 three roundings: a logit's, dlogits', dx's. (Probabilities below
 * 2^-126 are lost: far below that product's rounding.) */
void linear_cross_entropy_ref(double *losses, double *dx, double *allowed, const double *x,
                              const double *w, const int32_t *labels, int n, int rows, int columns,
                              double weight, double *scratch, enum precision type)
{
    double *logits = scratch, *gradient = scratch + rows;
    for (int i = 0; i < n; i++) {
        size_t at = (size_t)i * (size_t)columns;
        double magnitude = row_logits(logits, x + at, w, rows, columns);
        struct steps steps = steps_of(type, rows, columns, 0);
        double e = 2 * (steps.logits * magnitude +
                        steps.rounding * (largest_of(logits, rows) + steps.logits * magnitude));
        steps = steps_of(type, rows, columns, range_of(logits, rows) + e);
        double relative = expm1(e) + steps.probability + steps.dx + 2 * steps.rounding;
        cross_entropy_ref(losses + i, dx ? gradient : NULL, logits, labels + i, 1, rows, weight);
        magnitude = dx ? row_gradient(dx + at, gradient, w, rows, columns) : 0;
        if (allowed) {
            allowed[2 * i] = e + steps.loss + 0x1p-24 * losses[i];
            allowed[2 * i + 1] = relative * (1 + 2 * steps.rounding) * magnitude;
        }
    }
}
