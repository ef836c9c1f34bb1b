/* What a classification head's products on a GPU may differ by; what is right, matmul_ref.c says.
 */
#include "kernels/head.h"

/* A lane's chain has an FMA for each of its columns, four in every 128; a butterfly over 32 lanes.
 */
double head_fwd_tolerance(int d)
{
    return 0x1p-24 * (4 * ((d + 127) / 128) + 5);
}

/* One chain. */
double head_bwd_input_tolerance(int n_labels)
{
    return 0x1p-24 * n_labels;
}
