/* Distances to rows' own centres, in float64. */
#include "kernels/own_distance.h"

void own_distance_fwd_ref(double *distance, const double *x, const double *centres,
                          const int32_t *label, int n, int d)
{
    for (int i = 0; i < n; i++) {
        distance[i] = 0;
        for (int j = 0; j < d; j++) {
            double difference = x[(size_t)i * (size_t)d + (size_t)j] -
                                centres[(size_t)label[i] * (size_t)d + (size_t)j];
            distance[i] += difference * difference;
        }
    }
}
