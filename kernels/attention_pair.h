/* One block of query rows against one block of keys: the arithmetic of attention's gradient
 * (attention_pair.c), which attention_bwd.c puts in order. Nothing here is for other files.
 *
 * With s_ij = q_i . k_j, P_ij = exp(scale (s_ij - max_i)) / sum_i, and D_i = dout_i . out_i:
 *
 *     dS_ij = scale P_ij (dout_i . v_j - D_i)
 *     dq_i = sum_j dS_ij k_j      dk_j = sum_i dS_ij q_i      dv_j = sum_i P_ij dout_i
 *
 * (Dao et al. 2022, arXiv:2205.14135, appendix B). The rows of a text under a kv head are cut into
 * blocks of BLOCK_ROWS, its keys into blocks of BLOCK_KEYS. */
#ifndef MIDASHI_KERNELS_ATTENTION_PAIR_H
#define MIDASHI_KERNELS_ATTENTION_PAIR_H

#include "host/base/device.h"
#include "kernels/attention_tiles.h"

/* A multiple of TILE_ROWS, both as a tile of queries and as a tile of keys, and of PANEL. With
 * head_dim 64 a pair works on 220 KB: L2 holds it. */
#define BLOCK_KEYS 96
#define BLOCK_ROWS BLOCK_KEYS
#define TILES      (BLOCK_ROWS / TILE_ROWS)

struct attention_gradient {
    struct device *device;
    struct attention_shape shape;
    float *dq, *dk, *dv;
    const float *dout, *out, *q, *k, *v;
};

/* Maximum and sum of a block's rows, a tile a state. */
struct block_states {
    struct softmax_state tiles[TILES];
};

/* The key blocks that its rows see: first .. last. */
struct key_range {
    int first, last;
};

static inline struct key_range range_of(const struct attention_shape *shape,
                                        const struct row_block *rows)
{
    int group = heads_of_group(shape);
    return (struct key_range){first_visible(shape, rows->first / group) / BLOCK_KEYS,
                              (rows->last - 1) / group / BLOCK_KEYS};
}

/* Where they are the same, the pair finds maximum and sum by itself: no states are needed. */
static inline bool is_alone(const struct key_range *range)
{
    return range->first == range->last;
}

/* What of a worker's scratch the functions below use, from its start. */
size_t pair_scratch_bytes(int head_dim);
/* States in that scratch: they stay from a block's pair_find_states to its last pair_run. */
struct block_states *pair_states(const struct attention_gradient *g, int worker);

/* Finds maximum and sum of the rows, in a pass over their keys. */
void pair_find_states(struct block_states *states, const struct attention_gradient *g,
                      const struct row_block *rows, int worker);
/* Before the first pair of the rows on a worker. */
void pair_prepare_rows(const struct attention_gradient *g, const struct row_block *rows,
                       int worker);
/* The rows and key block j of the text, which has `length` tokens. Writes dq of rows whose last key
 * block this is, and dk and dv of keys whose first row block this is, and adds to others. */
void pair_run(const struct attention_gradient *g, const struct row_block *rows, int length, int j,
              struct block_states *states, int worker);

#endif
