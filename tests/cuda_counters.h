/* What softcuda counts of the kernels that a test runs. */
#ifndef MIDASHI_TESTS_CUDA_COUNTERS_H
#define MIDASHI_TESTS_CUDA_COUNTERS_H

/* Counts from now on, on the device that is open. */
void cuda_count_begin(void);

/* Ends it, and fails the test unless n kernels have run, each of which has touched shared and
 * global memory without a bank conflict, and moved no sector of 32 bytes for less than it holds. */
void cuda_count_end_touched_well(int n_kernels);

#endif
