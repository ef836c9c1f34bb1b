/* Packed causal attention and its gradient in the harness. */
#include <math.h>
#include "bench/operations.h"
#include "kernels/attention.h"

enum { TEXTS, LENGTH, HEADS, KV_HEADS, HEAD_DIM };
enum { OUT, Q, K, V, CU_SEQLENS };
#define LIMIT 2.0 /* of operands' size */

static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    /* 16 titles of 44 tokens, and one long text; */
    static const int batches[][2] = {{16, 44}, {1, 512}, {64, 16}, {4, 256}, {1, 2048}};
    int n = full ? 5 : 2;
    for (int i = 0; i < n; i++) {
        shapes[i][TEXTS] = batches[i][0], shapes[i][LENGTH] = batches[i][1];
        shapes[i][HEADS] = model->heads, shapes[i][KV_HEADS] = model->kv_heads;
        shapes[i][HEAD_DIM] = model->head_dim;
    }
    return n;
}

static const char *refuse(const int64_t *size)
{
    if (size[HEADS] % size[KV_HEADS])
        return "kv divides heads";
    if (size[HEADS] > ATTENTION_HEADS_LARGEST || size[HEAD_DIM] > ATTENTION_HEAD_DIM_LARGEST)
        return "at most 512 heads of 1024";
    if ((size[LENGTH] + 1) * size[TEXTS] > ATTENTION_ROWS_LARGEST)
        return "at most 2 million tokens";
    return NULL;
}

static enum status prepare(struct trial *trial, struct err *err)
{
    const int64_t *size = trial->size;
    int64_t n = size[TEXTS] * size[LENGTH];
    int64_t q_size = n * size[HEADS] * size[HEAD_DIM];
    int64_t k_size = n * size[KV_HEADS] * size[HEAD_DIM];
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_WRITTEN, q_size, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, q_size, LIMIT, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, k_size, LIMIT, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, k_size, LIMIT, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_READ, size[TEXTS] + 1, 0, err));
    int32_t *cu_seqlens = trial->tensors[CU_SEQLENS].host;
    for (int64_t t = 0; t <= size[TEXTS]; t++)
        cu_seqlens[t] = (int32_t)(t * size[LENGTH]);
    /* The causal half only: L (L + 1) / 2 pairs, a product of d for the score and one for the sum.
     */
    trial->operations = 2.0 * (double)size[TEXTS] * (double)(size[LENGTH] * (size[LENGTH] + 1)) *
                        (double)(size[HEADS] * size[HEAD_DIM]);
    return STATUS_OK;
}

static float scale_of(const struct trial *trial)
{
    return 1 / sqrtf((float)trial->size[HEAD_DIM]);
}

static enum status run(struct trial *trial, struct err *err)
{
    const int64_t *size = trial->size;
    return attention_fwd(trial->device, trial_at(trial, OUT), trial_at(trial, Q),
                         trial_at(trial, K), trial_at(trial, V), trial_at(trial, CU_SEQLENS),
                         (int)(size[TEXTS] * size[LENGTH]), (int)size[TEXTS], (int)size[HEADS],
                         (int)size[KV_HEADS], (int)size[HEAD_DIM], scale_of(trial), 0, err);
}

/* On a GPU it is relative to the average of |v|, which is below LIMIT. */
static double tolerance(const struct trial *trial)
{
    int head_dim = (int)trial->size[HEAD_DIM], length = (int)trial->size[LENGTH];
    double magnitude = head_dim * LIMIT * LIMIT * (double)scale_of(trial);
    return trial->device->kind == DEVICE_CUDA
               ? LIMIT * attention_fwd_cuda_tolerance(head_dim, length, magnitude)
               : attention_fwd_tolerance(head_dim, length);
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    const int64_t *size = trial->size;
    double *q = trial_doubles(trial, Q), *k = trial_doubles(trial, K), *v = trial_doubles(trial, V);
    double *want = trial_wanted(trial, (int64_t)trial->tensors[OUT].n);
    double *scores = trial_wanted(trial, size[LENGTH]);
    if (!q || !k || !v || !want || !scores)
        return err_no_memory(err, "a reference", 0);
    attention_fwd_ref(want, q, k, v, trial->tensors[CU_SEQLENS].host, (int)size[TEXTS],
                      (int)size[HEADS], (int)size[KV_HEADS], (int)size[HEAD_DIM],
                      (double)scale_of(trial), 0, scores);
    verdict_floats(verdict, trial->tensors[OUT].host, want, (int64_t)trial->tensors[OUT].n,
                   tolerance(trial), trial_rounding(trial));
    return STATUS_OK;
}

const struct bench_operation bench_attention = {
    .name = "attention_fwd",
    .dtype = "f32",
    .dimensions = {"texts", "length", "heads", "kv", "dim"},
    .cuda = true,
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};

/* ---- the gradient --------------------------------------------------------------------------- */

enum {
    BWD_DQ,
    BWD_DK,
    BWD_DV,
    BWD_DOUT,
    BWD_OUT,
    BWD_Q,
    BWD_K,
    BWD_V,
    BWD_CU_SEQLENS,
    BWD_SCRATCH, /* on a GPU */
};

static enum status prepare_bwd(struct trial *trial, struct err *err)
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
    int32_t *cu_seqlens = trial->tensors[BWD_CU_SEQLENS].host;
    for (int64_t t = 0; t <= size[TEXTS]; t++)
        cu_seqlens[t] = (int32_t)(t * size[LENGTH]);
    attention_fwd_cpu(trial->device, trial->tensors[BWD_OUT].host, trial->tensors[BWD_Q].host,
                      trial->tensors[BWD_K].host, trial->tensors[BWD_V].host, cu_seqlens,
                      (int)size[TEXTS], (int)size[HEADS], (int)size[KV_HEADS], (int)size[HEAD_DIM],
                      scale_of(trial), 0);
    /* What one launch leaves for the other need not be moved, so its bytes are not counted. */
    if (trial->device->kind == DEVICE_CUDA)
        TRY(trial_tensor(trial, TENSOR_F32, TENSOR_PARTS, 4 * n * size[HEADS], 0, err));
    /* Five products of the causal half: scores, dout v', and the three gradients. What is computed
     * twice (scores for maximum and sum; on a GPU scores and dout v') is the kernel's own affair.
     */
    trial->operations = 5.0 * (double)size[TEXTS] * (double)(size[LENGTH] * (size[LENGTH] + 1)) *
                        (double)(size[HEADS] * size[HEAD_DIM]);
    return STATUS_OK;
}

static enum status run_bwd(struct trial *trial, struct err *err)
{
    const int64_t *size = trial->size;
    int q_row = (int)(size[HEADS] * size[HEAD_DIM]), k_row = (int)(size[KV_HEADS] * size[HEAD_DIM]);
    if (trial->device->kind == DEVICE_CUDA)
        return attention_bwd_cuda(
            trial->device, trial_at(trial, BWD_DQ), q_row, trial_at(trial, BWD_DK),
            trial_at(trial, BWD_DV), k_row, trial_at(trial, BWD_DOUT), trial_at(trial, BWD_OUT),
            trial_at(trial, BWD_Q), q_row, trial_at(trial, BWD_K), trial_at(trial, BWD_V), k_row,
            trial_at(trial, BWD_CU_SEQLENS), (int)(size[TEXTS] * size[LENGTH]), (int)size[TEXTS],
            (int)size[HEADS], (int)size[KV_HEADS], (int)size[HEAD_DIM], scale_of(trial), 0,
            trial_at(trial, BWD_SCRATCH), err);
    return attention_bwd(trial->device, trial_at(trial, BWD_DQ), trial_at(trial, BWD_DK),
                         trial_at(trial, BWD_DV), trial_at(trial, BWD_DOUT),
                         trial_at(trial, BWD_OUT), trial_at(trial, BWD_Q), trial_at(trial, BWD_K),
                         trial_at(trial, BWD_V), trial_at(trial, BWD_CU_SEQLENS),
                         (int)(size[TEXTS] * size[LENGTH]), (int)size[TEXTS], (int)size[HEADS],
                         (int)size[KV_HEADS], (int)size[HEAD_DIM], scale_of(trial), 0, err);
}

/* rounding: of a result to a narrower type, relative; 0 where there is none. */
static void compare(struct verdict *verdict, const struct tensor *got, const double *want,
                    const double *magnitude, double tolerance, double rounding)
{
    for (size_t i = 0; i < got->n; i++) {
        double allowed = tolerance * magnitude[i];
        verdict_value(verdict, (double)((const float *)got->host)[i], want[i],
                      allowed + rounding * (fabs(want[i]) + allowed));
    }
}

static enum status verify_bwd(struct trial *trial, struct verdict *verdict, struct err *err)
{
    const int64_t *size = trial->size;
    int64_t q_size = (int64_t)trial->tensors[BWD_DQ].n, k_size = (int64_t)trial->tensors[BWD_DK].n;
    double *dout = trial_doubles(trial, BWD_DOUT), *q = trial_doubles(trial, BWD_Q);
    double *k = trial_doubles(trial, BWD_K), *v = trial_doubles(trial, BWD_V);
    double *dq = trial_wanted(trial, 2 * q_size), *dk = trial_wanted(trial, 2 * k_size);
    double *dv = trial_wanted(trial, 2 * k_size), *scores = trial_wanted(trial, 2 * size[LENGTH]);
    if (!dout || !q || !k || !v || !dq || !dk || !dv || !scores)
        return err_no_memory(err, "a reference", 0);
    attention_bwd_ref(dq, dk, dv, dq + q_size, dk + k_size, dv + k_size, dout, q, k, v,
                      trial->tensors[BWD_CU_SEQLENS].host, (int)size[TEXTS], (int)size[HEADS],
                      (int)size[KV_HEADS], (int)size[HEAD_DIM], (double)scale_of(trial), 0, scores);
    double score = LIMIT * LIMIT * (double)size[HEAD_DIM] * (double)scale_of(trial);
    bool cuda = trial->device->kind == DEVICE_CUDA;
    int length = (int)size[LENGTH], n_terms = (int)(size[LENGTH] * (size[HEADS] / size[KV_HEADS]));
    double rounding = cuda ? trial_rounding(trial) : 0;
    double tolerance =
        cuda ? attention_bwd_cuda_tolerance((int)size[HEAD_DIM], length, n_terms, score)
             : attention_bwd_tolerance((int)size[HEAD_DIM], n_terms, score);
    compare(verdict, &trial->tensors[BWD_DQ], dq, dq + q_size, tolerance, rounding);
    compare(verdict, &trial->tensors[BWD_DK], dk, dk + k_size, tolerance, rounding);
    compare(verdict, &trial->tensors[BWD_DV], dv, dv + k_size, tolerance, rounding);
    return STATUS_OK;
}

const struct bench_operation bench_attention_bwd = {
    .name = "attention_bwd",
    .dtype = "f32",
    .dimensions = {"texts", "length", "heads", "kv", "dim"},
    .cuda = true,
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare_bwd,
    .run = run_bwd,
    .verify = verify_bwd,
};
