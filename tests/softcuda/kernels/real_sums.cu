/* Sums over a grid, and k-means. */

/* sum (1) of x (n): the last block to come adds what all have left in parts (grid). counter is 0
 * before and after. */
extern "C" __global__ void grid_sum(double *sum, double *parts, const float *x, unsigned *counter,
                                    int n)
{
    __shared__ double warps[8];
    __shared__ bool last;
    int t = threadIdx.x;
    double own = 0;
    for (int i = 256 * blockIdx.x + t; i < n; i += 256 * gridDim.x)
        own += x[i];
    for (int round = 0; round < 2; round++) {
        for (int d = 16; d > 0; d >>= 1)
            own += __shfl_xor_sync(0xFFFFFFFFu, own, d);
        if (t % 32 == 0)
            warps[t / 32] = own;
        __syncthreads();
        if (t == 0) {
            own = 0;
            for (int w = 0; w < 8; w++)
                own += warps[w];
            if (round == 0) {
                parts[blockIdx.x] = own;
                __threadfence();
                last = atomicInc(counter, gridDim.x - 1) == gridDim.x - 1;
            } else {
                *sum = own;
            }
        }
        __syncthreads();
        if (round == 0) {
            if (!last)
                return;
            own = 0;
            for (int b = t; b < gridDim.x; b += 256)
                own += parts[b];
        }
    }
}

/* nearest (n): of x (n, d) the row of centres (k, d) at the least distance, the first of equals.
 * Centres come through shared memory in tiles of 32; a warp has a row of x. */
extern "C" __global__ void assign(int *nearest, const float *x, const float *centres, int n, int k,
                                  int d)
{
    extern __shared__ float tile[]; /* (32, d + 1) */
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int row = (blockDim.x / 32) * blockIdx.x + warp;
    float best = INFINITY;
    int at = 0;
    for (int k0 = 0; k0 < k; k0 += 32) {
        for (int i = threadIdx.x; i < 32 * d; i += blockDim.x)
            tile[(i / d) * (d + 1) + i % d] = k0 + i / d < k ? centres[(size_t)k0 * d + i] : 0.0f;
        __syncthreads();
        if (row < n && k0 + lane < k) {
            float sum = 0;
            for (int j = 0; j < d; j++) {
                float difference = x[(size_t)row * d + j] - tile[lane * (d + 1) + j];
                sum += difference * difference;
            }
            if (sum < best) {
                best = sum;
                at = k0 + lane;
            }
        }
        __syncthreads();
    }
    for (int step = 16; step > 0; step >>= 1) {
        float other = __shfl_xor_sync(0xFFFFFFFFu, best, step);
        int there = __shfl_xor_sync(0xFFFFFFFFu, at, step);
        if (other < best || (other == best && there < at)) {
            best = other;
            at = there;
        }
    }
    if (row < n && lane == 0)
        nearest[row] = at;
}

/* Adds rows to the sums of their centres (k, d), and counts (k) them: atomics in no order. */
extern "C" __global__ void accumulate(float *sums, unsigned *counts, const float *x,
                                      const int *nearest, int n, int d)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n * d; i += gridDim.x * blockDim.x)
        atomicAdd(&sums[(size_t)nearest[i / d] * d + i % d], x[i]);
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(&counts[nearest[i]], 1u);
}

/* A phase for all blocks, then the next: x is read shifted by what others wrote. */
extern "C" __global__ void phases(float *x, unsigned *barrier, int n_phases)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x, n = gridDim.x * blockDim.x;
    for (int phase = 0; phase < n_phases; phase++) {
        float value = x[(i + 33) % n];
        for (int half = 0; half < 2; half++) {
            if (half == 1)
                x[i] = value + 1.0f;
            __syncthreads();
            if (threadIdx.x == 0) {
                __threadfence();
                unsigned goal = (2 * phase + half + 1) * gridDim.x;
                atomicAdd(barrier, 1u);
                while (*(volatile unsigned *)barrier < goal)
                    ;
                __threadfence();
            }
            __syncthreads();
        }
    }
}
