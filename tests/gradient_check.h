/* Holds a gradient against central differences, in float64: how the reference of a backward
 * operation is checked, by nothing but the reference of the forward one.
 *
 *   struct case { double *x, *y; const double *dy; int n; };
 *   static double loss(void *context)
 *   {
 *       struct case *c = context;
 *       thing_fwd_ref(c->y, c->x, c->n);
 *       return weighted_sum(c->y, c->dy, c->n);            whose gradient by y is dy
 *   }
 *   thing_bwd_ref(dx, dy, x, n);
 *   check_gradient(loss, &c, x, dx, n, "thing, n = %d", n);
 *
 * A kernel is held against its backward reference, not against differences. */
#ifndef MIDASHI_TESTS_GRADIENT_CHECK_H
#define MIDASHI_TESTS_GRADIENT_CHECK_H

#include <stddef.h>
#include <stdint.h>

/* A number that depends on what lies in memory now; called again after each change of an x. */
typedef double gradient_loss(void *context);

/* Fails unless gradient[i] is the derivative of loss by x[i], for each i. x is changed an element
 * at a time and put back. what names the case. Inputs should be of size 1 or so, and loss smooth
 * within 2^-9 of them: the step is 2^-10. */
void check_gradient(gradient_loss *loss, void *context, double *x, const double *gradient, size_t n,
                    const char *what, ...) __attribute__((format(printf, 6, 7)));
/* The largest error, as a multiple of what check_gradient allows; *worst, if not NULL, is where. */
double gradient_error(gradient_loss *loss, void *context, double *x, const double *gradient,
                      size_t n, size_t *worst);

/* sum_i y[i] dy[i] */
double weighted_sum(const double *y, const double *dy, size_t n);

/* n float64 in new memory, to be freed with free(): Gaussian as fill_normal makes them (so each is
 * a float32), or zeros. */
double *normal_doubles(size_t n, uint64_t seed, float deviation);
double *zero_doubles(size_t n);

#endif
