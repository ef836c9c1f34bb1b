/* Rotary position embedding, and back, in the harness. */
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

static enum status prepare(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], half = trial->size[HEAD_DIM] / 2;
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_UPDATED, n * trial->size[HEADS] * half * 2,
                     4, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_READ, n, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_PARTS, N_POSITIONS * half, 0, err));
    TRY(trial_tensor(trial, TENSOR_F32, TENSOR_PARTS, N_POSITIONS * half, 0, err));
    double *inv_freq = trial->own = trial_alloc(trial, half, sizeof(double));
    if (!inv_freq)
        return err_no_memory(err, "a bench row's operands", 0);
    rope_frequencies(inv_freq, (int)half * 2, &(struct rope_config){.theta = 10000});
    rope_table(trial->tensors[COS].host, trial->tensors[SIN].host, inv_freq, N_POSITIONS,
               (int)half * 2);
    int32_t *positions = trial->tensors[POSITIONS].host;
    for (int64_t i = 0; i < n; i++)
        positions[i] = (int32_t)(i % N_POSITIONS);
    trial->bytes_read += 8.0 * (double)(n * half);
    return STATUS_OK;
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
