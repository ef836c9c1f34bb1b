/* See cuda_rope.h. */
#include "tests/cuda_rope.h"

#include <stdlib.h>

#define N_POSITIONS 300

void rope_case_open(struct rope_case *c, int n, int head_dim)
{
    size_t table_size = N_POSITIONS * (size_t)(head_dim / 2), width = (size_t)head_dim;
    float *cos_table = test_floats(table_size), *sin_table = test_floats(table_size);
    ck_assert_int_le(n, (int)(sizeof c->position / sizeof *c->position));
    rope_frequencies(c->inv_freq, head_dim, &(struct rope_config){.theta = 10000});
    rope_table(cos_table, sin_table, c->inv_freq, N_POSITIONS, head_dim);
    for (int i = 0; i < n; i++)
        c->position[i] = i == 0 ? N_POSITIONS - 1 : 3 * i;
    c->norms = test_floats(2 * width);
    fill_uniform(c->norms, 2 * width, 3, -2, 2);
    c->cos_table = cuda_send(PRECISION_F32, cos_table, table_size);
    c->sin_table = cuda_send(PRECISION_F32, sin_table, table_size);
    c->positions = cuda_send_ints(c->position, (size_t)n);
    c->q_norm = cuda_send(PRECISION_F32, c->norms, width);
    c->k_norm = cuda_send(PRECISION_F32, c->norms + width, width);
    free(cos_table), free(sin_table);
}

void rope_case_close(struct rope_case *c)
{
    cuda_drop(&c->cos_table), cuda_drop(&c->sin_table), cuda_drop(&c->positions);
    cuda_drop(&c->q_norm), cuda_drop(&c->k_norm);
    free(c->norms);
}

struct rope_cuda rope_case_of(const struct rope_case *c, size_t stride, int n_heads, int n_kv_heads,
                              int head_dim, bool normed)
{
    return (struct rope_cuda){
        .x = cuda_pointer(&c->x),
        .stride = stride,
        .positions = cuda_pointer(&c->positions),
        .cos_table = cuda_pointer(&c->cos_table),
        .sin_table = cuda_pointer(&c->sin_table),
        .n_heads = n_heads,
        .n_kv_heads = n_kv_heads,
        .head_dim = head_dim,
        .q_norm = normed ? cuda_pointer(&c->q_norm) : NULL,
        .k_norm = normed ? cuda_pointer(&c->k_norm) : NULL,
        .eps = (float)ROPE_EPS,
    };
}
