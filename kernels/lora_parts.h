/* The adapters of a joined matrix on a GPU (q, k and v; gate and up; or one alone). No includes of
 * the host's, since nvcc reads it too.
 *
 * Master values are float32 and lie where the optimiser has them (lora.h's layout: A (rank,
 * columns), B (rows, rank)). What tensor cores read are copies in bfloat16, made again after each
 * step, whose rank is filled up with zeros to a multiple of 16 and which lie in both directions, so
 * that in every product the dimension that is summed over is the one in a row:
 *
 *   s  = scale * drop(x) · Aᵀ     over columns    a            (padded, columns)
 *   y += s · Bᵀ                   over ranks      b            (rows, padded)
 *   ds = scale * dy · B           over rows       b_transposed (padded, rows)
 *   dx += mask ∘ (ds · A)         over ranks      a_transposed (columns, padded)
 *
 * s and ds are (m, padded of all parts) bfloat16, part after part; a part without an adapter has
 * none. Each part has a dropout of its own, by its stream. */
#ifndef MIDASHI_KERNELS_LORA_PARTS_H
#define MIDASHI_KERNELS_LORA_PARTS_H

#include <stdint.h>

#define LORA_PARTS     3
#define LORA_RANK_STEP 16

struct lora_part {
    int rows, first_row;    /* of y's columns; first_row is where the part before it ends */
    int rank;               /* 0: no adapter */
    int padded, first_rank; /* rank filled up; where in a row of s it begins */
    float scale;            /* alpha / rank, or alpha / sqrt(rank) */
    uint32_t stream;        /* of its dropout */
    const float *a, *b;     /* masters */
    /* bfloat16, at multiples of 16 bytes; NULL: not made, where only the others are read. */
    void *a_copy, *a_transposed, *b_copy, *b_transposed;
};

struct lora_parts {
    int n_parts, columns;
    int rows;   /* of all parts */
    int padded; /* of all parts: a row of s */
    struct lora_part parts[LORA_PARTS];
};

#endif
