/* Contrastive loss in float64, pair by pair; the gradient of a cosine by its quotient rule. */
#include "kernels/contrastive.h"

#include <math.h>
#include <stdbool.h>

struct pair {
    double cosine, a_length, p_length;
};

static double length_of(const double *x, int d)
{
    double sum = 0;
    for (int k = 0; k < d; k++)
        sum += x[k] * x[k];
    return sqrt(sum);
}

static struct pair pair_of(const double *a, const double *p, int d)
{
    struct pair pair = {0, length_of(a, d), length_of(p, d)};
    for (int k = 0; k < d; k++)
        pair.cosine += a[k] * p[k];
    pair.cosine /= fmax(pair.a_length, 1e-8) * fmax(pair.p_length, 1e-8);
    return pair;
}

/* dx += factor * the derivative by x, of the given length, of its cosine with y. */
static void add_cosine_gradient(double *dx, const double *x, const double *y, double length,
                                double y_length, double cosine, double factor, int d)
{
    if (length < 1e-8)
        return;
    for (int k = 0; k < d; k++)
        dx[k] +=
            factor * (y[k] / (length * fmax(y_length, 1e-8)) - cosine * x[k] / (length * length));
}

static bool meets(const uint8_t *excluded, int i, int j, int n)
{
    return i == j || !excluded || !excluded[i * n + j];
}

/* The largest cosine that an anchor has with those it meets. */
static double largest_cosine(const double *a, const double *positive, const uint8_t *excluded,
                             int i, int n, int d)
{
    double largest = -INFINITY;
    for (int j = 0; j < n; j++)
        if (meets(excluded, i, j, n))
            largest = fmax(largest, pair_of(a, positive + (size_t)j * (size_t)d, d).cosine);
    return largest;
}

void contrastive_ref(double *losses, double *danchor, double *dpositive, const double *anchor,
                     const double *positive, const uint8_t *excluded, int n, int d,
                     double temperature, double weight)
{
    size_t width = (size_t)d;
    for (size_t k = 0; danchor && k < (size_t)n * width; k++)
        danchor[k] = dpositive[k] = 0;
    for (int i = 0; i < n; i++) {
        const double *a = anchor + (size_t)i * width;
        double own = pair_of(a, positive + (size_t)i * width, d).cosine, sum = 0, others = 0;
        double largest = largest_cosine(a, positive, excluded, i, n, d);
        for (int j = 0; j < n; j++)
            if (meets(excluded, i, j, n))
                sum += exp((pair_of(a, positive + (size_t)j * width, d).cosine - largest) /
                           temperature);
        losses[i] = log(sum) + (largest - own) / temperature;
        /* The own one last, with minus what the others had. */
        for (int step = 1; danchor && step <= n; step++) {
            int j = (i + step) % n;
            const double *p = positive + (size_t)j * width;
            struct pair pair = pair_of(a, p, d);
            if (!meets(excluded, i, j, n))
                continue;
            double share = exp((pair.cosine - largest) / temperature) / sum;
            double factor = weight / temperature * (j == i ? -others : share);
            others += share;
            add_cosine_gradient(danchor + (size_t)i * width, a, p, pair.a_length, pair.p_length,
                                pair.cosine, factor, d);
            add_cosine_gradient(dpositive + (size_t)j * width, p, a, pair.p_length, pair.a_length,
                                pair.cosine, factor, d);
        }
    }
}

/* A cosine errs by d / 4 + 10 roundings, an exponent by that and its own over the temperature, and
 * a softmax by two of them and its sum of n; a gradient is a sum of n such with factors that add up
 * to at most 2. All of it in float64, on both sides. */
double contrastive_tolerance(int n, int d, double temperature)
{
    return 4 * 0x1p-52 * (d + 2 * n + 16) * (1 + 1 / temperature);
}
