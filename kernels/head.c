/* A classification head: CUDA launches. */
#include "kernels/head.h"

#include <stdbool.h>
#include "host/base/cuda_device.h"
#include "host/base/divide_up.h"
#include "kernels/cuda_rows.h"

/* Whether rows of d from here on can be read and written by fours. */
static bool by_fours(const void *a, const void *b, int d)
{
    return d % 4 == 0 && ((uintptr_t)a | (uintptr_t)b) % 16 == 0;
}

enum status head_fwd_cuda(struct device *device, float *y, const float *x, const float *head, int n,
                          int n_labels, int d, struct err *err)
{
    unsigned warps = n < 8 ? (unsigned)n : 8; /* head.cu's most */
    if (n == 0)
        return STATUS_OK;
    return cuda_launch(
        device->cuda,
        &(struct cuda_launch){
            .image = "head",
            .name = by_fours(x, head, d) ? "head_fwd_by_fours" : "head_fwd_by_elements",
            .grid = {(unsigned)n_labels, (unsigned)divide_up(n, 8), 1},
            .block = {32 * warps, 1, 1},
            .values = (void *[]){&y, &x, &head, &n, &n_labels, &d},
        },
        err);
}

/* n rows of d columns, four or one a thread. */
static enum status launch_rows(struct device *device, const char *name, int width, int n, int d,
                               void **values, struct err *err)
{
    struct cuda_row_blocks blocks = cuda_row_blocks(d, width, 128); /* head.cu's most */
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "head",
                           .name = name,
                           .grid = {(unsigned)n, blocks.n, 1},
                           .block = {blocks.threads, 1, 1},
                           .values = values,
                       },
                       err);
}

enum status head_bwd_input_cuda(struct device *device, float *dx, const float *dy,
                                const float *head, int n, int n_labels, int d, struct err *err)
{
    void *values[] = {&dx, &dy, &head, &n_labels, &d};
    bool fours = by_fours(dx, head, d);
    if (n == 0)
        return STATUS_OK;
    return launch_rows(device, fours ? "head_bwd_input_by_fours" : "head_bwd_input_by_elements",
                       fours ? 4 : 1, n, d, values, err);
}

enum status head_gradient_cuda(struct device *device, float *dhead, const float *dy, const float *x,
                               const int32_t *units, int n_units, int n_labels, int d,
                               struct err *err)
{
    void *values[] = {&dhead, &dy, &x, &units, &n_units, &n_labels, &d};
    bool fours = by_fours(dhead, x, d);
    if (n_units == 0)
        return STATUS_OK;
    return launch_rows(device, fours ? "head_gradient_by_fours" : "head_gradient_by_elements",
                       fours ? 4 : 1, n_labels, d, values, err);
}
