/* Linear and cross-entropy: built of matmul_fwd, cross_entropy in place, and matmul_bwd_input; on a
 * GPU too. */
#include "kernels/linear_cross_entropy.h"

#include <assert.h>
#include "kernels/cross_entropy.h"
#include "kernels/matmul.h"

static enum status chunks_cpu(struct device *device, float *losses, float *dx, const float *x,
                              const struct dense_matrix *w, const int32_t *labels, int n,
                              float weight, float *logits, int chunk_rows, struct err *err)
{
    for (int first = 0, rows; first < n; first += rows) {
        rows = n - first < chunk_rows ? n - first : chunk_rows;
        size_t at = (size_t)first * (size_t)w->columns;
        TRY(matmul_fwd(device, logits, x + at, w, rows, false, err));
        TRY(cross_entropy(device, losses + first, dx ? logits : NULL, logits, labels + first, rows,
                          w->rows, weight, err));
        if (dx)
            TRY(matmul_bwd_input(device, dx + at, logits, w, rows, false, err));
    }
    return STATUS_OK;
}

/* Activations are 2 bytes an element. */
enum status linear_cross_entropy_cuda(struct device *device, float *losses, void *dx, const void *x,
                                      const struct dense_matrix *w, const int32_t *labels, int n,
                                      float weight, void *logits, int chunk_rows, struct err *err)
{
    for (int first = 0, rows; first < n; first += rows) {
        rows = n - first < chunk_rows ? n - first : chunk_rows;
        size_t at = 2 * (size_t)first * (size_t)w->columns;
        TRY(matmul_fwd_cuda(device, logits, (const char *)x + at, w, NULL, rows, false, err));
        TRY(cross_entropy_cuda(device, PRECISION_BF16, losses + first, dx ? logits : NULL, logits,
                               labels + first, NULL, rows, w->rows, weight, err));
        if (dx)
            TRY(matmul_bwd_input_cuda(device, (char *)dx + at, logits, w, rows, false, NULL, NULL,
                                      NULL, err));
    }
    return STATUS_OK;
}

enum status linear_cross_entropy(struct device *device, float *losses, void *dx, const void *x,
                                 const struct dense_matrix *w, const int32_t *labels, int n,
                                 float weight, void *logits, int chunk_rows, struct err *err)
{
    assert(chunk_rows >= 1);
    switch (device->kind) {
    case DEVICE_CPU:
        return chunks_cpu(device, losses, dx, x, w, labels, n, weight, logits, chunk_rows, err);
    case DEVICE_CUDA:
        return linear_cross_entropy_cuda(device, losses, dx, x, w, labels, n, weight, logits,
                                         chunk_rows, err);
    }
    return err_set(err, STATUS_RESOURCE, "linear_cross_entropy: no kernel for this device");
}
