/* What host and device code of the gradients by weights on a GPU share: the arguments of a launch.
 * No includes of the host's, since nvcc reads it too. */
#ifndef MIDASHI_KERNELS_WEIGHT_GRADIENT_PARTS_H
#define MIDASHI_KERNELS_WEIGHT_GRADIENT_PARTS_H

#include "kernels/dropout_mask.h"

/* One gradient: out[i,j] += sum over t of wide[t,i] * narrow[t,j], by units. wide is the operand
 * with more columns (a layer's input for A, the gradient of its output for B), narrow the other one
 * (of an adapter the one of its rank). */
struct gradient_part {
    float *out;
    const void *wide, *narrow;        /* bfloat16 */
    int wide_stride, narrow_stride;   /* elements from row to row */
    int n_wide, n_narrow;             /* columns that there are */
    int narrow_there;                 /* of narrow those that can be read, the others being 0 */
    int narrow_first;                 /* out is (n_narrow, n_wide), else (n_wide, n_narrow) */
    int wide_vectors, narrow_vectors; /* rows and columns are whole pieces of 16 bytes */
    int dropped;                      /* wide goes through a dropout over its n_wide columns */
    uint32_t stream;                  /* of it */
    int first_tile;                   /* of the launch's; tiles of narrow are next to one another */
    int narrow_tiles;
};

#define GRADIENT_PARTS 6 /* A and B of three adapters */

struct gradient_parts {
    int n_parts, n_units;
    const int32_t *units;   /* on the device */
    struct dropout dropout; /* but for its stream */
    struct gradient_part parts[GRADIENT_PARTS];
};

/* Columns of wide that a CTA takes; of narrow it takes 32 or 64, as the kernel's name says. */
#define GRADIENT_WIDE    64
#define GRADIENT_THREADS 128

#endif
