/* See product.h. */
#include "bench/rows/product.h"

#include <math.h>
#include "bench/rows/adapters.h"
#include "kernels/matmul.h"

int product_shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model, bool full)
{
    int q = model->heads * model->head_dim, kv = model->kv_heads * model->head_dim;
    const int weights[][2] = {{q, model->hidden},
                              {kv, model->hidden},
                              {model->intermediate, model->hidden},
                              {model->hidden, model->intermediate}};
    int64_t counts[TOKEN_COUNTS_LARGEST];
    int n_counts = token_counts(counts, full), n = 0;
    for (int i = 0; i < n_counts; i++)
        for (int w = 0; w < 4; w++) {
            if (w == 1 && kv == q)
                continue;
            shapes[n][PRODUCT_M] = counts[i];
            shapes[n][PRODUCT_N] = weights[w][0];
            shapes[n++][PRODUCT_K] = weights[w][1];
        }
    return n;
}

const char *product_refuse(const int64_t *size)
{
    return size[PRODUCT_N] * size[PRODUCT_K] > INT32_MAX ? "n times k is below 2^31" : NULL;
}

/* As this way has them: y (m, n), x (m, k); of element j of y, k weights `stride` apart. */
struct way {
    int64_t n, k;
    const double *x, *w;
    bool back;
    double *column; /* k: those weights, side by side */

    struct lora_parts adapters; /* padded 0: none */
    const double *s, *b;
};

static struct way way_of(const struct trial *trial, enum product_way which)
{
    int64_t n = trial->size[PRODUCT_N], k = trial->size[PRODUCT_K];
    bool back = which == PRODUCT_BACK;
    return (struct way){.n = back ? k : n, .k = back ? n : k, .back = back};
}

enum status product_prepare(struct trial *trial, enum product_way which, struct err *err)
{
    struct way way = way_of(trial, which);
    int64_t m = trial->size[PRODUCT_M];
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_WRITTEN, m * way.n, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, m * way.k, 1, err));
    trial->operations = 2.0 * (double)m * (double)way.n * (double)way.k;
    return STATUS_OK;
}

/* Multiply-adds that the sample of products may cost: some 20 ms. */
#define SAMPLE_COST 0x1p24

static const double *weights_of(const struct way *way, int64_t j)
{
    if (!way->back)
        return way->w + j * way->k;
    for (int64_t i = 0; i < way->k; i++)
        way->column[i] = way->w[i * way->n + j];
    return way->column;
}

/* Adds the term of element j's part to it. Returns how many products it is of. */
static int add_low_rank(double *want, double *magnitude, const struct way *way, int64_t i,
                        int64_t j)
{
    const struct lora_parts *table = &way->adapters;
    int p = 0;
    double more, more_magnitude;
    if (table->padded == 0)
        return 0;
    while (j >= table->parts[p].first_row + table->parts[p].rows)
        p++;
    const struct lora_part *part = &table->parts[p];
    matmul_fwd_ref(&more, &more_magnitude, way->s + i * table->padded + part->first_rank,
                   way->b + j * part->padded, 1, 1, part->padded, false);
    *want += more, *magnitude += more_magnitude;
    return part->padded;
}

static void verify_product(struct trial *trial, const struct way *way, int64_t i, int64_t j,
                           struct verdict *verdict)
{
    const float *y = trial->tensors[PRODUCT_Y].host;
    int k = (int)way->k;
    double want, magnitude;
    matmul_fwd_ref(&want, &magnitude, way->x + i * way->k, weights_of(way, j), 1, 1, k, false);
    k += add_low_rank(&want, &magnitude, way, i, j); /* a longer chain */
    double tolerance =
        trial->device->kind == DEVICE_CUDA ? matmul_fwd_cuda_tolerance(k) : matmul_fwd_tolerance(k);
    verdict_value(verdict, y[i * way->n + j], want,
                  tolerance * magnitude +
                      trial_rounding(trial) * (fabs(want) + tolerance * magnitude));
}

/* Every `step`th column, in each row from another one on: an odd step meets all lanes of vectors.
 */
static void verify_row(struct trial *trial, const struct way *way, int64_t i, int64_t step,
                       struct verdict *verdict)
{
    const float *y = (const float *)trial->tensors[PRODUCT_Y].host + i * way->n;
    for (int64_t j = 0; j < way->n; j++)
        verdict_value(verdict, y[j], 0, INFINITY); /* finite */
    for (int64_t j = (int64_t)((uint64_t)i * 2654435761u % (uint64_t)step); j < way->n; j += step)
        verify_product(trial, way, i, j, verdict);
}

enum status product_verify(struct trial *trial, enum product_way which, const double *w,
                           struct verdict *verdict, struct err *err)
{
    struct way way = way_of(trial, which);
    int64_t m = trial->size[PRODUCT_M];
    way.w = w;
    way.x = trial_doubles(trial, PRODUCT_X);
    way.column = trial_wanted(trial, way.k);
    if (which == PRODUCT_ADAPTED) {
        way.adapters = product_adapters(trial);
        way.s = trial_doubles(trial, trial->n_tensors - 2);
        way.b = trial_doubles(trial, trial->n_tensors - 1);
    }
    if (!way.w || !way.x || !way.column || !way.s != !way.adapters.padded || !way.s != !way.b)
        return err_no_memory(err, "a reference", 0);
    int64_t step = (int64_t)fmin(trial->operations / 2 / SAMPLE_COST, (double)(way.n - 1)) + 1;
    step -= step % 2 == 0;
    for (int64_t i = 0; i < m; i++)
        verify_row(trial, &way, i, i == 0 || i == m - 1 ? 1 : step, verdict);
    return STATUS_OK;
}

/* ---- with adapters -------------------------------------------------------------------------- */

int product_adapted_shapes(int64_t shapes[][SHAPE_DIMENSIONS], const struct model_sizes *model,
                           bool full)
{
    int q = model->heads * model->head_dim, kv = model->kv_heads * model->head_dim;
    const int weights[4][3] = {{q + 2 * kv, model->hidden, 3},
                               {model->hidden, q, 1},
                               {2 * model->intermediate, model->hidden, 2},
                               {model->hidden, model->intermediate, 1}};
    static const int counts[] = {704, 176, 64};
    int n = 0;
    for (int c = 0; c < (full ? 3 : 1); c++)
        for (int w = 0; w < 4; w++, n++) {
            shapes[n][PRODUCT_M] = counts[c], shapes[n][PRODUCT_RANK] = 32;
            shapes[n][PRODUCT_N] = weights[w][0], shapes[n][PRODUCT_K] = weights[w][1];
            shapes[n][PRODUCT_PARTS] = weights[w][2];
        }
    return n;
}

const char *product_adapted_refuse(const int64_t *size)
{
    const char *reason = adapters_refuse(size[PRODUCT_PARTS]);
    if (!reason && size[PRODUCT_N] < size[PRODUCT_PARTS])
        reason = "n is not less than parts";
    return reason ? reason : product_refuse(size);
}

static struct lora_parts table_of(const struct trial *trial)
{
    const int64_t *size = trial->size;
    return adapters_table(size[PRODUCT_PARTS], size[PRODUCT_N], size[PRODUCT_K],
                          size[PRODUCT_RANK]);
}

enum status product_prepare_adapters(struct trial *trial, struct err *err)
{
    const int64_t *size = trial->size;
    struct lora_parts table = table_of(trial);
    for (int i = 0; i < 2; i++) {
        int64_t n = i == 0 ? size[PRODUCT_M] * table.padded
                           : size[PRODUCT_N] * adapters_padded(size[PRODUCT_RANK]);
        TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, n, i == 0 ? 1 : 0.05, err));
        adapters_clear(&trial->tensors[trial->n_tensors - 1], &table);
    }
    trial->operations +=
        2.0 * (double)size[PRODUCT_M] * (double)size[PRODUCT_N] * (double)size[PRODUCT_RANK];
    return STATUS_OK;
}

struct lora_parts product_adapters(const struct trial *trial)
{
    struct lora_parts table = table_of(trial);
    uint16_t *b = trial_at(trial, trial->n_tensors - 1);
    for (int i = 0; i < table.n_parts; i++) {
        struct lora_part *part = &table.parts[i];
        part->b_copy = b + (size_t)part->first_row * (size_t)part->padded;
    }
    return table;
}

void *product_adapters_s(const struct trial *trial)
{
    return trial_at(trial, trial->n_tensors - 2);
}
