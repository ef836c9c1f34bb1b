/* The gradient of packed causal attention in the harness. */
#include <math.h>
#include "bench/operations.h"
#include "bench/rows/attention.h"
#include "kernels/attention.h"

enum { TEXTS, LENGTH, HEADS, KV_HEADS, HEAD_DIM };
enum { DQ, DK, DV, DOUT, OUT, Q, K, V, CU_SEQLENS };
#define LIMIT 2.0 /* of operands' size */

static float scale_of(const struct trial *trial)
{
    return 1 / sqrtf((float)trial->size[HEAD_DIM]);
}

static enum status prepare(struct trial *trial, struct err *err)
{
    const int64_t *size = trial->size;
    int64_t n = size[TEXTS] * size[LENGTH];
    int64_t q_size = n * size[HEADS] * size[HEAD_DIM];
    int64_t k_size = n * size[KV_HEADS] * size[HEAD_DIM];
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_WRITTEN, q_size, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_WRITTEN, k_size, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_WRITTEN, k_size, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, q_size, LIMIT, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, q_size, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, q_size, LIMIT, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, k_size, LIMIT, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, k_size, LIMIT, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_READ, size[TEXTS] + 1, 0, err));
    int32_t *cu_seqlens = trial->tensors[CU_SEQLENS].host;
    for (int64_t t = 0; t <= size[TEXTS]; t++)
        cu_seqlens[t] = (int32_t)(t * size[LENGTH]);
    attention_fwd_cpu(trial->device, trial->tensors[OUT].host, trial->tensors[Q].host,
                      trial->tensors[K].host, trial->tensors[V].host, cu_seqlens, (int)size[TEXTS],
                      (int)size[HEADS], (int)size[KV_HEADS], (int)size[HEAD_DIM], scale_of(trial),
                      0);
    /* Five products of the causal half: scores, dout v', and the three gradients. Scores once more,
     * for maximum and sum, are the kernel's own affair. */
    trial->operations = 5.0 * (double)size[TEXTS] * (double)(size[LENGTH] * (size[LENGTH] + 1)) *
                        (double)(size[HEADS] * size[HEAD_DIM]);
    return STATUS_OK;
}

static enum status run(struct trial *trial, struct err *err)
{
    const int64_t *size = trial->size;
    return attention_bwd(trial->device, trial_at(trial, DQ), trial_at(trial, DK),
                         trial_at(trial, DV), trial_at(trial, DOUT), trial_at(trial, OUT),
                         trial_at(trial, Q), trial_at(trial, K), trial_at(trial, V),
                         trial_at(trial, CU_SEQLENS), (int)(size[TEXTS] * size[LENGTH]),
                         (int)size[TEXTS], (int)size[HEADS], (int)size[KV_HEADS],
                         (int)size[HEAD_DIM], scale_of(trial), 0, err);
}

static void compare(struct verdict *verdict, const struct tensor *got, const double *want,
                    const double *magnitude, double tolerance)
{
    for (size_t i = 0; i < got->n; i++)
        verdict_value(verdict, (double)((const float *)got->host)[i], want[i],
                      tolerance * magnitude[i]);
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    const int64_t *size = trial->size;
    int64_t q_size = (int64_t)trial->tensors[DQ].n, k_size = (int64_t)trial->tensors[DK].n;
    double *dout = trial_doubles(trial, DOUT), *q = trial_doubles(trial, Q);
    double *k = trial_doubles(trial, K), *v = trial_doubles(trial, V);
    double *dq = trial_wanted(trial, 2 * q_size), *dk = trial_wanted(trial, 2 * k_size);
    double *dv = trial_wanted(trial, 2 * k_size), *scores = trial_wanted(trial, 2 * size[LENGTH]);
    if (!dout || !q || !k || !v || !dq || !dk || !dv || !scores)
        return err_no_memory(err, "a reference", 0);
    attention_bwd_ref(dq, dk, dv, dq + q_size, dk + k_size, dv + k_size, dout, q, k, v,
                      trial->tensors[CU_SEQLENS].host, (int)size[TEXTS], (int)size[HEADS],
                      (int)size[KV_HEADS], (int)size[HEAD_DIM], (double)scale_of(trial), 0, scores);
    double score = LIMIT * LIMIT * (double)size[HEAD_DIM] * (double)scale_of(trial);
    double tolerance = attention_bwd_tolerance(
        (int)size[HEAD_DIM], (int)(size[LENGTH] * (size[HEADS] / size[KV_HEADS])), score);
    compare(verdict, &trial->tensors[DQ], dq, dq + q_size, tolerance);
    compare(verdict, &trial->tensors[DK], dk, dk + k_size, tolerance);
    compare(verdict, &trial->tensors[DV], dv, dv + k_size, tolerance);
    return STATUS_OK;
}

const struct bench_operation bench_attention_bwd = {
    .name = "attention_bwd",
    .dtype = "f32",
    .dimensions = {"texts", "length", "heads", "kv", "dim"},
    .shapes = attention_shapes,
    .refuse = attention_refuses,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};
