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

enum status product_prepare(struct trial *trial, struct err *err)
{
    int64_t m = trial->size[PRODUCT_M], n = trial->size[PRODUCT_N], k = trial->size[PRODUCT_K];
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_WRITTEN, m * n, 0, err));
    TRY(trial_tensor(trial, TENSOR_ACTIVATIONS, TENSOR_READ, m * k, 1, err));
    trial->operations = 2.0 * (double)m * (double)n * (double)k;
    return STATUS_OK;
}

enum status product_verify(struct trial *trial, const double *w, struct verdict *verdict,
                           struct err *err)
{
    int64_t m = trial->size[PRODUCT_M], n = trial->size[PRODUCT_N], k = trial->size[PRODUCT_K];
    double *x = trial_doubles(trial, PRODUCT_X), *want = trial_wanted(trial, n);
    double *magnitude = trial_wanted(trial, n);
    double tolerance = trial->device->kind == DEVICE_CUDA ? matmul_fwd_cuda_tolerance((int)k)
                                                          : matmul_fwd_tolerance((int)k);
    if (!w || !x || !want || !magnitude)
        return err_no_memory(err, "a reference", 0);
    for (int64_t i = 0; i<m; i += m> 1 ? m - 1 : 1) {
        const float *got = (const float *)trial->tensors[PRODUCT_Y].host + i * n;
        matmul_fwd_ref(want, magnitude, x + i * k, w, 1, (int)n, (int)k, false);
        for (int64_t j = 0; j < n; j++)
            verdict_value(verdict, got[j], want[j],
                          tolerance * magnitude[j] +
                              trial_rounding(trial) * (fabs(want[j]) + tolerance * magnitude[j]));
    }
    return STATUS_OK;
}
