/* Pooling in float64. */
#include "kernels/pooling.h"

void pooling_fwd_ref(double *out, const double *hidden, const int32_t *begin, const int32_t *end,
                     int n_texts, int d, enum pooling pooling)
{
    for (int t = 0; t < n_texts; t++)
        for (int j = 0; j < d; j++) {
            double sum = 0;
            for (int i = begin[t]; i < end[t]; i++)
                if (pooling == POOL_MEAN || i == end[t] - 1)
                    sum += hidden[(size_t)i * (size_t)d + (size_t)j];
            if (pooling == POOL_MEAN && end[t] > begin[t])
                sum /= end[t] - begin[t];
            out[(size_t)t * (size_t)d + (size_t)j] = sum;
        }
}

void pooling_bwd_ref(double *dhidden, const double *dout, const int32_t *begin, const int32_t *end,
                     int n_texts, int d, enum pooling pooling)
{
    for (int t = 0; t < n_texts; t++)
        for (int i = begin[t]; i < end[t]; i++)
            for (int j = 0; j < d; j++) {
                double share = pooling == POOL_MEAN ? 1.0 / (end[t] - begin[t]) : i == end[t] - 1;
                dhidden[(size_t)i * (size_t)d + (size_t)j] +=
                    share * dout[(size_t)t * (size_t)d + (size_t)j];
            }
}
