/* Rotary position embedding, and back, in the harness; back through the norms of heads too. */
#include <math.h>
#include "bench/operations.h"
#include "kernels/rope.h"

enum { N, HEADS, HEAD_DIM };
enum { X, POSITIONS, COS, SIN };
#define N_POSITIONS 2048

static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    int64_t counts[TOKEN_COUNTS_LARGEST];
    int n = token_counts(counts, full);
    for (int i = 0; i < n; i++) {
        shapes[i][N] = counts[i];
        shapes[i][HEADS] = model->heads;
        shapes[i][HEAD_DIM] = model->head_dim;
    }
    return n;
}

static const char *refuse(const int64_t *size)
{
    if (size[HEAD_DIM] % 2 || size[HEAD_DIM] > 1024)
        return "dim is even, at most 1024";
    bool many = size[N] * size[HEADS] > INT32_MAX || size[HEADS] * size[HEAD_DIM] > INT32_MAX;
    return many ? "n times heads and heads times dim are below 2^31" : NULL;
}

/* Positions and tables, behind x. */
static enum status prepare_turn(struct trial *trial, int head_dim, struct err *err)
{
    int64_t n = trial->size[N], half = head_dim / 2;
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_READ, n, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_PARTS, N_POSITIONS * half, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_PARTS, N_POSITIONS * half, 0, err));
    double *inv_freq = trial->own = trial_alloc(trial, half, sizeof(double));
    if (!inv_freq)
        return err_no_memory(err, "a bench row's operands", 0);
    rope_frequencies(inv_freq, head_dim, &(struct rope_config){.theta = 10000});
    rope_table(trial->tensors[COS].host, trial->tensors[SIN].host, inv_freq, N_POSITIONS, head_dim);
    int32_t *positions = trial->tensors[POSITIONS].host;
    for (int64_t i = 0; i < n; i++)
        positions[i] = (int32_t)(i % N_POSITIONS);
    trial->bytes_read += 8.0 * (double)(n * half);
    return STATUS_OK;
}

static enum status prepare(struct trial *trial, struct err *err)
{
    const int64_t *size = trial->size;
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_UPDATED,
                     size[N] * size[HEADS] * size[HEAD_DIM], 4, err));
    return prepare_turn(trial, (int)size[HEAD_DIM], err);
}

static enum status run(struct trial *trial, struct err *err)
{
    return rope_fwd(trial->device, trial_at(trial, X), trial_at(trial, POSITIONS),
                    trial_at(trial, COS), trial_at(trial, SIN), (int)trial->size[N],
                    (int)trial->size[HEADS], (int)trial->size[HEAD_DIM], err);
}

/* Two products of |x| <= 4 with rounded table values, a sum (tests/test_rope.c). */
static enum status compare(struct trial *trial, struct verdict *verdict, const double *want)
{
    verdict_floats(verdict, trial->tensors[X].host, want, (int64_t)trial->tensors[X].n,
                   16 * 0x1p-24, trial_rounding(trial));
    return STATUS_OK;
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    double *want = trial_doubles(trial, X);
    if (!want)
        return err_no_memory(err, "a reference", 0);
    rope_fwd_ref(want, trial->tensors[POSITIONS].host, trial->own, (int)trial->size[N],
                 (int)trial->size[HEADS], (int)trial->size[HEAD_DIM]);
    return compare(trial, verdict, want);
}

static enum status run_bwd(struct trial *trial, struct err *err)
{
    return rope_bwd(trial->device, trial_at(trial, X), trial_at(trial, POSITIONS),
                    trial_at(trial, COS), trial_at(trial, SIN), (int)trial->size[N],
                    (int)trial->size[HEADS], (int)trial->size[HEAD_DIM], err);
}

static enum status verify_bwd(struct trial *trial, struct verdict *verdict, struct err *err)
{
    double *want = trial_doubles(trial, X);
    if (!want)
        return err_no_memory(err, "a reference", 0);
    rope_bwd_ref(want, trial->tensors[POSITIONS].host, trial->own, (int)trial->size[N],
                 (int)trial->size[HEADS], (int)trial->size[HEAD_DIM]);
    return compare(trial, verdict, want);
}

const struct bench_operation bench_rope = {
    .name = "rope_fwd",
    .dtype = "f32",
    .dimensions = {"n", "heads", "dim"},
    .cuda = true,
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};

const struct bench_operation bench_rope_bwd = {
    .name = "rope_bwd",
    .dtype = "f32",
    .dimensions = {"n", "heads", "dim"},
    .cuda = true,
    .shapes = shapes,
    .refuse = refuse,
    .prepare = prepare,
    .run = run_bwd,
    .verify = verify_bwd,
};

/* ---- a GPU's, through the norms of heads ---------------------------------------------------- */

enum { NORM_N, NORM_HEADS, NORM_KV, NORM_HEAD_DIM };
enum { RAW = SIN + 1, Q_NORM, K_NORM };
#define EPS 1e-6f

static int norm_shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model,
                       bool full)
{
    int64_t counts[TOKEN_COUNTS_LARGEST];
    int n = token_counts(counts, full);
    for (int i = 0; i < n; i++) {
        shapes[i][NORM_N] = counts[i];
        shapes[i][NORM_HEADS] = model->heads;
        shapes[i][NORM_KV] = model->kv_heads;
        shapes[i][NORM_HEAD_DIM] = model->head_dim;
    }
    return n;
}

static const char *norm_refuse(const int64_t *size)
{
    const int64_t all[] = {size[NORM_N], size[NORM_HEADS] + size[NORM_KV], size[NORM_HEAD_DIM]};
    return refuse(all);
}

static int64_t all_heads(const struct trial *trial)
{
    return trial->size[NORM_HEADS] + trial->size[NORM_KV];
}

static enum status prepare_norm(struct trial *trial, struct err *err)
{
    int64_t head_dim = trial->size[NORM_HEAD_DIM];
    int64_t n = trial->size[NORM_N] * all_heads(trial) * head_dim;
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_UPDATED, n, 1, err));
    TRY(prepare_turn(trial, (int)head_dim, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, n, 4, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_READ, head_dim, 2, err));
    return trial_tensor(trial, TENSOR_F32, TENSOR_READ, head_dim, 2, err);
}

static enum status run_norm(struct trial *trial, struct err *err)
{
    size_t stride = (size_t)(all_heads(trial) * trial->size[NORM_HEAD_DIM]);
    const struct rope_cuda rope = {
        .x = trial_at(trial, X),
        .stride = stride,
        .positions = trial_at(trial, POSITIONS),
        .cos_table = trial_at(trial, COS),
        .sin_table = trial_at(trial, SIN),
        .n_heads = (int)trial->size[NORM_HEADS],
        .n_kv_heads = (int)trial->size[NORM_KV],
        .head_dim = (int)trial->size[NORM_HEAD_DIM],
        .q_norm = trial_at(trial, Q_NORM),
        .k_norm = trial_at(trial, K_NORM),
        .eps = EPS,
        .raw = trial_at(trial, RAW),
        .raw_stride = stride,
    };
    return rope_bwd_cuda(trial->device, &rope, (int)trial->size[NORM_N], err);
}

static enum status verify_norm(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int64_t d = trial->size[NORM_HEAD_DIM], n_heads = all_heads(trial);
    const float *got = trial->tensors[X].host;
    const int32_t *positions = trial->tensors[POSITIONS].host;
    double *want = trial_doubles(trial, X), *raw = trial_doubles(trial, RAW);
    double *q_norm = trial_doubles(trial, Q_NORM), *k_norm = trial_doubles(trial, K_NORM);
    double *error = trial_wanted(trial, d);
    if (!want || !raw || !q_norm || !k_norm || !error)
        return err_no_memory(err, "a reference", 0);
    for (int64_t head = 0; head < trial->size[NORM_N] * n_heads; head++) {
        const double *norm = head % n_heads < trial->size[NORM_HEADS] ? q_norm : k_norm;
        rope_norm_bwd_ref(want + head * d, error, raw + head * d, norm, positions[head / n_heads],
                          trial->own, (int)d, (double)EPS);
        for (int64_t i = 0; i < d; i++)
            verdict_value(verdict, (double)got[head * d + i], want[head * d + i],
                          error[i] + trial_rounding(trial) * (fabs(want[head * d + i]) + error[i]));
    }
    return STATUS_OK;
}

const struct bench_operation bench_rope_norm_bwd = {
    .name = "rope_norm_bwd",
    .dtype = "bf16",
    .dimensions = {"n", "heads", "kv", "dim"},
    .cuda = true,
    .not_cpu = true,
    .shapes = norm_shapes,
    .refuse = norm_refuse,
    .prepare = prepare_norm,
    .run = run_norm,
    .verify = verify_norm,
};
