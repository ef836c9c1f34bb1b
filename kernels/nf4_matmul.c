/* Matrix product with an NF4 weight: CPU code and dispatch. The product itself is kernels/gemm.c;
 * here is what decodes 16 rows of W into its panels. */
#include "kernels/nf4_matmul.h"

#include "kernels/cpu.h"
#include "kernels/gemm.h"

/* ---- CPU ------------------------------------------------------------------------------------ */

static void decode_portable(float *panel, const void *matrix, int row, int n_rows, int k, int n_k)
{
    const struct nf4_matrix *w = matrix;
    for (int r = 0; r < n_rows; r++)
        nf4_decode(panel + r, GEMM_PANEL, w, (int64_t)(row + r) * w->columns + k, n_k);
}

void nf4_matmul_fwd_cpu(struct device *device, float *y, const float *x, const struct nf4_matrix *w,
                        int m, bool add)
{
    struct gemm_weight weight = {w->rows, w->columns, w, decode_portable};
    gemm_cpu(device, y, x, &weight, m, add);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

enum status nf4_matmul_fwd(struct device *device, void *y, const void *x,
                           const struct nf4_matrix *w, int m, bool add, struct err *err)
{
    switch (device->kind) {
    case DEVICE_CPU:
        nf4_matmul_fwd_cpu(device, y, x, w, m, add);
        return STATUS_OK;
    }
    return err_set(err, STATUS_RESOURCE, "nf4_matmul: no kernel for this device");
}
