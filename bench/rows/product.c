/* See product.h. */
#include "bench/rows/product.h"

#include <math.h>
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
};

static struct way way_of(const struct trial *trial, bool back)
{
    int64_t n = trial->size[PRODUCT_N], k = trial->size[PRODUCT_K];
    return (struct way){.n = back ? k : n, .k = back ? n : k, .back = back};
}

enum status product_prepare(struct trial *trial, bool back, struct err *err)
{
    struct way way = way_of(trial, back);
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

static void verify_product(struct trial *trial, const struct way *way, int64_t i, int64_t j,
                           struct verdict *verdict)
{
    const float *y = trial->tensors[PRODUCT_Y].host;
    int k = (int)way->k;
    double want, magnitude;
    double tolerance =
        trial->device->kind == DEVICE_CUDA ? matmul_fwd_cuda_tolerance(k) : matmul_fwd_tolerance(k);
    matmul_fwd_ref(&want, &magnitude, way->x + i * way->k, weights_of(way, j), 1, 1, k, false);
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

enum status product_verify(struct trial *trial, bool back, const double *w, struct verdict *verdict,
                           struct err *err)
{
    struct way way = way_of(trial, back);
    int64_t m = trial->size[PRODUCT_M];
    way.w = w;
    way.x = trial_doubles(trial, PRODUCT_X);
    way.column = trial_wanted(trial, way.k);
    if (!way.w || !way.x || !way.column)
        return err_no_memory(err, "a reference", 0);
    int64_t step = (int64_t)fmin(trial->operations / 2 / SAMPLE_COST, (double)(way.n - 1)) + 1;
    step -= step % 2 == 0;
    for (int64_t i = 0; i < m; i++)
        verify_row(trial, &way, i, i == 0 || i == m - 1 ? 1 : step, verdict);
    return STATUS_OK;
}
