/* Packed causal attention in the harness. */
#include <math.h>
#include "bench/operations.h"
#include "bench/rows/attention.h"
#include "kernels/attention.h"

enum { TEXTS, LENGTH, HEADS, KV_HEADS, HEAD_DIM };
enum { OUT, Q, K, V, CU_SEQLENS };
#define LIMIT 2.0 /* of operands' size */

int attention_shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
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

const char *attention_refuses(const int64_t *size)
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
    .shapes = attention_shapes,
    .refuse = attention_refuses,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};
