/* Rows' distances to their own centres on a GPU: see own_distance.h. A quad has a row; what binds is
 * the larger of reading x once and, on GeForce cards, two float64 steps a value. */
#include "kernels/own_distance_job.h"
#include "kernels/squared_distance.cuh"

extern "C" __global__ void __launch_bounds__(4 * OWN_DISTANCE_ROWS)
    own_distance(const __grid_constant__ own_distance_cuda_job p)
{
    int row = blockIdx.x * OWN_DISTANCE_ROWS + threadIdx.x / 4, there = min(row, p.n - 1);
    double distance = quad_distance(p.x + (size_t)there * p.d,
                                    p.centres + (size_t)p.label[there] * p.d, p.d);
    if (row < p.n && threadIdx.x % 4 == 0)
        p.distance[row] = distance;
}
