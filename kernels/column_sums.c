/* See column_sums.h. */
#include "kernels/column_sums.h"

#include "host/base/cuda_device.h"
#include "host/base/divide_up.h"
#include "kernels/column_sums_job.h"

size_t column_sums_cuda_scratch_bytes(int n, int d)
{
    return (size_t)divide_up(n, COLUMN_SUMS_ROWS) * (size_t)d * sizeof(double);
}

static enum status launch(struct device *device, const char *name, int64_t blocks,
                          struct column_sums_job *job, struct err *err)
{
    return cuda_launch(device->cuda,
                       &(struct cuda_launch){
                           .image = "column_sums",
                           .name = name,
                           .grid = {(unsigned)blocks, 1, 1},
                           .block = {COLUMN_SUMS_COLUMNS, 1, 1},
                           .values = (void *[]){job},
                       },
                       err);
}

enum status column_sums_add_cuda(struct device *device, double *total, const float *x, int n, int d,
                                 void *scratch, struct err *err)
{
    struct column_sums_job job = {.total = total, .partials = scratch, .x = x, .n = n, .d = d};
    job.n_blocks = (int)divide_up(n, COLUMN_SUMS_ROWS);
    job.n_groups = (int)divide_up(d, COLUMN_SUMS_COLUMNS);
    if (n == 0)
        return STATUS_OK;
    TRY(launch(device, "column_sums_of_blocks", (int64_t)job.n_blocks * job.n_groups, &job, err));
    return launch(device, "column_sums_total", job.n_groups, &job, err);
}
