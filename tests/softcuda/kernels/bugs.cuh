/* Kernels with one bug each, and their repaired twins: a template over whether the bug is there.
 * A line with the remark "BUG: NAME" is where the checkers must point; test_softcuda_bugs.c has the
 * table of what they must say.
 *
 * in: 4096 floats; out: 4096 floats, never written; zeros: 256 words; n: the table's. */
#define PARAMETERS const float *in, float *out, unsigned *zeros, int n
#define TWINS(name)                                \
    template __global__ void name<true>(PARAMETERS);  \
    template __global__ void name<false>(PARAMETERS);
