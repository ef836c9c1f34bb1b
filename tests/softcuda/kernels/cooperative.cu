/* Blocks that wait for each other as the programming guide has it: cooperative groups. */
#include <cooperative_groups.h>

/* x (gridDim.x * blockDim.x) turns by `rounds` places, one a round. */
extern "C" __global__ void turn(int *x, int rounds)
{
    cooperative_groups::grid_group grid = cooperative_groups::this_grid();
    int n = (int)grid.size(), i = (int)grid.thread_rank();
    for (int round = 0; round < rounds; round++) {
        int next = x[(i + 1) % n];
        grid.sync();
        x[i] = next;
        grid.sync();
    }
}
