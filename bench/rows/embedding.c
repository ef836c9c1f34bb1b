/* Embedding lookup in the harness. */
#include "bench/operations.h"
#include "kernels/embedding.h"

enum { N, VOCABULARY, D };
enum { Y, TOKENS, TABLE };

static int shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    int64_t counts[TOKEN_COUNTS_LARGEST];
    int n = token_counts(counts, full);
    for (int i = 0; i < n; i++) {
        shapes[i][N] = counts[i];
        shapes[i][VOCABULARY] = model->vocabulary;
        shapes[i][D] = model->hidden;
    }
    return n;
}

/* As a model on that device has its embeddings. */
static enum tensor_type table_type(const struct trial *trial)
{
    return trial->device->kind == DEVICE_CUDA ? TENSOR_BF16 : TENSOR_F32;
}

static enum status prepare(struct trial *trial, struct err *err)
{
    int64_t n = trial->size[N], rows = trial->size[VOCABULARY], d = trial->size[D];
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_WRITTEN, n * d, 0, err));
    TRY(trial_tensor(trial, TENSOR_I32, TENSOR_READ, n, 0, err));
    TRY(trial_tensor(trial, table_type(trial), TENSOR_PARTS, rows * d, 2, err));
    int32_t *tokens = trial->tensors[TOKENS].host;
    for (int64_t i = 0; i < n; i++) /* all over the table */
        tokens[i] = (int32_t)((uint64_t)i * 2654435761u % (uint64_t)rows);
    trial->bytes_read += (table_type(trial) == TENSOR_BF16 ? 2.0 : 4.0) * (double)(n * d);
    return STATUS_OK;
}

static struct dense_matrix table_of(const struct trial *trial, const void *data)
{
    enum precision type = table_type(trial) == TENSOR_BF16 ? PRECISION_BF16 : PRECISION_F32;
    return (struct dense_matrix){type, data, (int)trial->size[VOCABULARY], (int)trial->size[D]};
}

static enum status run(struct trial *trial, struct err *err)
{
    struct dense_matrix table = table_of(trial, trial_at(trial, TABLE));
    return embedding_fwd(trial->device, trial_at(trial, Y), trial_at(trial, TOKENS), &table,
                         (int)trial->size[N], err);
}

static enum status verify(struct trial *trial, struct verdict *verdict, struct err *err)
{
    int64_t n = trial->size[N], size = n * trial->size[D];
    struct dense_matrix table = table_of(trial, trial->tensors[TABLE].host);
    double *want = trial_wanted(trial, size);
    if (!want)
        return err_no_memory(err, "a reference", 0);
    embedding_fwd_ref(want, trial->tensors[TOKENS].host, &table, (int)n);
    verdict_floats(verdict, trial->tensors[Y].host, want, size, 0, 0);
    return STATUS_OK;
}

const struct bench_operation bench_embedding = {
    .name = "embedding_fwd",
    .dtype = "f32",
    .dimensions = {"n", "vocabulary", "d"},
    .cuda = true,
    .shapes = shapes,
    .prepare = prepare,
    .run = run,
    .verify = verify,
};
