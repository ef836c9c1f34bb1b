/* Matrix product with a dense weight: CPU code and dispatch. The product itself is kernels/gemm.c;
 * here is what brings 16 rows of W into its panels, a transposition. */
#include "kernels/matmul.h"

#include <assert.h>
#include "host/base/float16.h"
#include "kernels/cpu.h"
#include "kernels/gemm.h"

/* ---- CPU ------------------------------------------------------------------------------------ */

static void decode_f32_portable(float *panel, const void *matrix, int row, int n_rows, int k,
                                int n_k)
{
    const struct dense_matrix *w = matrix;
    for (int r = 0; r < n_rows; r++) {
        const float *from = (const float *)w->data + (size_t)(row + r) * (size_t)w->columns + k;
        for (int i = 0; i < n_k; i++)
            panel[i * GEMM_PANEL + r] = from[i];
    }
}

static void decode_bf16_portable(float *panel, const void *matrix, int row, int n_rows, int k,
                                 int n_k)
{
    const struct dense_matrix *w = matrix;
    for (int r = 0; r < n_rows; r++) {
        const uint16_t *from =
            (const uint16_t *)w->data + (size_t)(row + r) * (size_t)w->columns + k;
        for (int i = 0; i < n_k; i++)
            panel[i * GEMM_PANEL + r] = bf16_to_float(from[i]);
    }
}

void matmul_fwd_cpu(struct device *device, float *y, const float *x, const struct dense_matrix *w,
                    int m, bool add)
{
    assert(w->type == PRECISION_F32 || w->type == PRECISION_BF16);
    struct gemm_weight weight = {w->rows, w->columns, w, NULL};
    weight.decode = w->type == PRECISION_F32 ? decode_f32_portable : decode_bf16_portable;
    gemm_cpu(device, y, x, &weight, m, add);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status matmul_fwd(struct device *device, void *y, const void *x, const struct dense_matrix *w,
                       int m, bool add, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        matmul_fwd_cpu(device, y, x, w, m, add);
        return STATUS_OK;
    }
    return err_set(err, STATUS_RESOURCE, "matmul: no kernel for this device");
}
