/* A GPU's products into the ranks of all adapters of a joined matrix, forwards and backwards, in
 * the harness; with the report's dropout of 0.1. */
#include <math.h>
#include "bench/operations.h"
#include "bench/rows/adapters.h"
#include "host/base/float16.h"
#include "kernels/lora.h"

/* WIDTH: columns of x, or a part's rows. */
enum { M, WIDTH, RANK, PARTS };
enum { OUT, IN, W };

static const struct dropout dropout = {.seed = 1, .step = 2, .threshold = 6554};

static int shapes_of(int64_t shapes[][SHAPE_DIMENSIONS], const int weights[4][2], bool full)
{
    static const int counts[] = {704, 176, 64};
    int n = 0;
    for (int c = 0; c < (full ? 3 : 1); c++)
        for (int w = 0; w < 4; w++, n++) {
            shapes[n][M] = counts[c], shapes[n][RANK] = 32;
            shapes[n][WIDTH] = weights[w][0], shapes[n][PARTS] = weights[w][1];
        }
    return n;
}

/* q, k and v; o; gate and up; down. */
static int shapes_s(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    const int weights[4][2] = {{model->hidden, 3},
                               {model->heads * model->head_dim, 1},
                               {model->hidden, 2},
                               {model->intermediate, 1}};
    return shapes_of(shapes, weights, full);
}

static int shapes_ds(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    const int weights[4][2] = {{model->heads * model->head_dim, 3},
                               {model->hidden, 1},
                               {model->intermediate, 2},
                               {model->hidden, 1}};
    return shapes_of(shapes, weights, full);
}

static const char *refuse(const int64_t *size)
{
    return adapters_refuse(size[PARTS]);
}

/* The adapters' table, of equal parts; back: WIDTH is a part's rows. */
static struct lora_parts table_of(const struct trial *trial, bool back)
{
    const int64_t *size = trial->size;
    int64_t width = size[WIDTH];
    struct lora_parts table = adapters_table(size[PARTS], size[PARTS] * width, width, size[RANK]);
    for (int i = 0; i < table.n_parts; i++) {
        struct lora_part *part = &table.parts[i];
        char *w = (char *)trial_at(trial, W) + 2 * (size_t)part->first_rank * (size_t)width;
        part->a_copy = back ? NULL : w;
        part->b_transposed = back ? w : NULL;
    }
    return table;
}

static enum status prepare(struct trial *trial, bool back, struct err *err)
{
    const int64_t *size = trial->size;
    int64_t in = back ? size[PARTS] * size[WIDTH] : size[WIDTH];
    int64_t padded = adapters_padded(size[RANK]);
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_WRITTEN, size[M] * size[PARTS] * padded, 0,
                     err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, size[M] * in, 1, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, size[PARTS] * padded * size[WIDTH],
                     0.1, err));
    trial->operations =
        2.0 * (double)size[M] * (double)size[WIDTH] * (double)(size[RANK] * size[PARTS]);
    return STATUS_OK;
}

static enum status prepare_s(struct trial *trial, struct err *err)
{
    return prepare(trial, false, err);
}

static enum status prepare_ds(struct trial *trial, struct err *err)
{
    return prepare(trial, true, err);
}

static enum status run_s(struct trial *trial, struct err *err)
{
    struct lora_parts table = table_of(trial, false);
    return lora_s_cuda(trial->device, trial_at(trial, OUT), trial_at(trial, IN), table.columns,
                       &table, &dropout, (int)trial->size[M], err);
}

static enum status run_ds(struct trial *trial, struct err *err)
{
    struct lora_parts table = table_of(trial, true);
    return lora_ds_cuda(trial->device, trial_at(trial, OUT), trial_at(trial, IN), &table,
                        (int)trial->size[M], err);
}

/* x as a part's product sees it: dropped, and rounded once more. */
static void drop(double *x, const double *factor, int64_t n)
{
    float scale = dropout_scale(dropout.threshold);
    for (int64_t i = 0; i < n; i++)
        x[i] = factor[i] > 0 ? (double)bf16_to_float(bf16_from_float((float)x[i] * scale)) : 0;
}

static enum status verify(struct trial *trial, bool back, struct verdict *verdict, struct err *err)
{
    struct lora_parts table = table_of(trial, back);
    int64_t m = trial->size[M], width = trial->size[WIDTH], stride = back ? table.rows : width;
    const float *got = trial->tensors[OUT].host, *in = trial->tensors[IN].host;
    double *x = trial_wanted(trial, m * width), *factor = trial_wanted(trial, m * width);
    double *w = trial_doubles(trial, W);
    if (!x || !factor || !w)
        return err_no_memory(err, "a reference", 0);
    double share = lora_s_cuda_tolerance((int)width);
    for (int p = 0; p < table.n_parts; p++) {
        const struct lora_part *part = &table.parts[p];
        struct dropout of_part = dropout;
        of_part.stream = part->stream;
        for (int64_t i = 0; i < m * width; i++)
            x[i] = (double)in[i / width * stride + (back ? part->first_row : 0) + i % width];
        if (!back) {
            dropout_factors_ref(factor, &of_part, (int)m, (int)width);
            drop(x, factor, m * width);
        }
        for (int64_t i = 0; i < m * part->rank; i++) {
            int64_t t = i / part->rank, r = i % part->rank + part->first_rank;
            double want = 0, size = 0;
            for (int64_t k = 0; k < width; k++) {
                double term = (double)part->scale * x[t * width + k] * w[r * width + k];
                want += term, size += fabs(term);
            }
            verdict_value(verdict, (double)got[t * table.padded + r], want,
                          share * size + trial_rounding(trial) * (fabs(want) + share * size));
        }
    }
    return STATUS_OK;
}

static enum status verify_s(struct trial *trial, struct verdict *verdict, struct err *err)
{
    return verify(trial, false, verdict, err);
}

static enum status verify_ds(struct trial *trial, struct verdict *verdict, struct err *err)
{
    return verify(trial, true, verdict, err);
}

const struct bench_operation bench_lora_s = {
    .name = "lora_s",
    .dtype = "bf16",
    .dimensions = {"m", "columns", "rank", "parts"},
    .cuda = true,
    .not_cpu = true,
    .shapes = shapes_s,
    .refuse = refuse,
    .prepare = prepare_s,
    .run = run_s,
    .verify = verify_s,
};

const struct bench_operation bench_lora_ds = {
    .name = "lora_ds",
    .dtype = "bf16",
    .dimensions = {"m", "rows", "rank", "parts"},
    .cuda = true,
    .not_cpu = true,
    .shapes = shapes_ds,
    .refuse = refuse,
    .prepare = prepare_ds,
    .run = run_ds,
    .verify = verify_ds,
};
