/* See gradient_check.h. */
#include "tests/gradient_check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "tests/support.h"

#define STEP 0x1p-10
/* Of a derivative, and of the root mean square of all of them. The formula below errs by
 * STEP^4 / 30 of a fifth derivative, 3e-14 for what is as smooth as its inputs are large, and by
 * rounding of the loss, 2^-52 / STEP = 2e-13 of it; a loss is some hundred times a derivative at
 * most, a fifth derivative (of a softmax with a low temperature) some 10^5 times. */
#define TOLERANCE 1e-7

/* Of fourth order: its error falls as the fourth power of the step, so that a step may be large
 * enough for rounding not to matter. */
static double difference(gradient_loss *loss, void *context, double *x)
{
    static const double steps[4] = {-2, -1, 1, 2}, weights[4] = {1, -8, 8, -1};
    double at = *x, sum = 0;
    for (int i = 0; i < 4; i++) {
        *x = at + steps[i] * STEP;
        sum += weights[i] * loss(context);
    }
    *x = at;
    return sum / (12 * STEP);
}

double gradient_error(gradient_loss *loss, void *context, double *x, const double *gradient,
                      size_t n, size_t *worst)
{
    double square = 0, largest = 0;
    for (size_t i = 0; i < n; i++)
        square += gradient[i] * gradient[i];
    double size = sqrt(square / (double)n);
    for (size_t i = 0; i < n; i++) {
        double error = fabs(difference(loss, context, x + i) - gradient[i]);
        double share = error == 0 ? 0 : error / (TOLERANCE * (fabs(gradient[i]) + size));
        if (share <= largest) /* false for NaN */
            continue;
        largest = isnan(share) ? INFINITY : share;
        if (worst)
            *worst = i;
    }
    return largest;
}

void check_gradient(gradient_loss *loss, void *context, double *x, const double *gradient, size_t n,
                    const char *what, ...)
{
    char name[256];
    va_list arguments;
    va_start(arguments, what);
    vsnprintf(name, sizeof name, what, arguments);
    va_end(arguments);
    size_t worst = 0;
    double error = gradient_error(loss, context, x, gradient, n, &worst);
    ck_assert_msg(error <= 1, "%s: element %zu: %.9g, by differences %.9g, %.3g times the limit",
                  name, worst, gradient[worst], difference(loss, context, x + worst), error);
}

double weighted_sum(const double *y, const double *dy, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += y[i] * dy[i];
    return sum;
}

double *normal_doubles(size_t n, uint64_t seed, float deviation)
{
    float *values = malloc(n * sizeof *values + 1);
    ck_assert_ptr_nonnull(values);
    fill_normal(values, n, seed, deviation);
    double *x = to_doubles(values, n);
    free(values);
    return x;
}

double *zero_doubles(size_t n)
{
    double *x = calloc(n + 1, sizeof *x);
    ck_assert_ptr_nonnull(x);
    return x;
}
