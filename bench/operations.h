/* The operations that have rows, in the order of a pass through the model. An operation's file in
 * bench/rows defines bench_NAME. */
#ifndef MIDASHI_BENCH_OPERATIONS_H
#define MIDASHI_BENCH_OPERATIONS_H

#include "bench/operation.h"

#define BENCH_OPERATIONS(X)                                                                        \
    X(embedding)                                                                                   \
    X(rmsnorm)                                                                                     \
    X(rmsnorm_bwd)                                                                                 \
    X(nf4_matmul)                                                                                  \
    X(nf4_matmul_few)                                                                              \
    X(matmul_f32)                                                                                  \
    X(matmul_bf16)                                                                                 \
    X(nf4_matmul_lora)                                                                             \
    X(matmul_lora)                                                                                 \
    X(nf4_matmul_bwd_input)                                                                        \
    X(matmul_bwd_input_f32)                                                                        \
    X(matmul_bwd_input_bf16)                                                                       \
    X(dropout)                                                                                     \
    X(lora)                                                                                        \
    X(lora_bwd)                                                                                    \
    X(lora_s)                                                                                      \
    X(lora_ds)                                                                                     \
    X(weight_gradient)                                                                             \
    X(lora_gradients)                                                                              \
    X(bias)                                                                                        \
    X(rope)                                                                                        \
    X(rope_bwd)                                                                                    \
    X(rope_norm_bwd)                                                                               \
    X(attention)                                                                                   \
    X(attention_bwd)                                                                               \
    X(residual_add)                                                                                \
    X(swiglu)                                                                                      \
    X(swiglu_bwd)                                                                                  \
    X(pooling)                                                                                     \
    X(pooling_bwd)                                                                                 \
    X(head)                                                                                        \
    X(head_bwd_input)                                                                              \
    X(head_gradient)                                                                               \
    X(softmax)                                                                                     \
    X(cross_entropy)                                                                               \
    X(linear_cross_entropy)                                                                        \
    X(contrastive)                                                                                 \
    X(sum_of_squares)                                                                              \
    X(gradient_norm)                                                                               \
    X(adamw)                                                                                       \
    X(nf4_quantize)                                                                                \
    X(nf4_quantize_absmax)                                                                         \
    X(nf4_dequantize)                                                                              \
    X(candidate_distance)                                                                          \
    X(potential_fwd)                                                                               \
    X(potential_keep)                                                                              \
    X(potential_draw)                                                                              \
    X(squared_distance)                                                                            \
    X(nearest)                                                                                     \
    X(nearest_bounded)                                                                             \
    X(nearest_clusters)                                                                            \
    X(nearest_two)                                                                                 \
    X(nearest_cuda)                                                                                \
    X(nearest_split_cuda)                                                                          \
    X(column_sums)                                                                                 \
    X(own_distance)                                                                                \
    X(cluster_sums)                                                                                \
    X(cluster_sums_cuda)                                                                           \
    X(cluster_moves_cuda)                                                                          \
    X(centre_update)                                                                               \
    X(centre_gain)

#define BENCH_DECLARE(name) extern const struct bench_operation bench_##name;
BENCH_OPERATIONS(BENCH_DECLARE)
#undef BENCH_DECLARE

/* All of them, NULL at the end (bench/operations.c). */
extern const struct bench_operation *const bench_operations[];

#endif
