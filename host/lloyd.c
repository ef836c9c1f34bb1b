/* See lloyd.h: what both devices' parts share. */
#include "host/lloyd.h"

#include <math.h>

enum status lloyd_open(struct lloyd **out, struct row_chunks *rows,
                       const struct kmeans_settings *settings, int restarts,
                       const struct lloyd_reserve *reserve, struct err *err)
{
    switch (rows->device->kind) {
    case DEVICE_CPU:
        return lloyd_cpu_open(out, rows, settings, err);
    case DEVICE_CUDA:
        return lloyd_cuda_open(out, rows, settings, restarts, reserve, err);
    }
    return device_lacks("k-means", err);
}

void lloyd_close(struct lloyd *lloyd)
{
    if (lloyd)
        lloyd->operations->close(lloyd);
}

const float *lloyd_rows(const struct lloyd *lloyd)
{
    return lloyd->operations->rows(lloyd);
}

float *lloyd_begin(struct lloyd *lloyd, int n_runs)
{
    return lloyd->operations->begin(lloyd, n_runs);
}

enum status lloyd_start(struct lloyd *lloyd, const float *centres, struct err *err)
{
    return lloyd->operations->start(lloyd, centres, err);
}

enum status lloyd_step(struct lloyd *lloyd, const struct run_list *runs, int iteration,
                       struct err *err)
{
    return lloyd->operations->step(lloyd, runs, iteration, err);
}

void lloyd_advance(struct lloyd *lloyd, const struct run_list *runs)
{
    lloyd->operations->advance(lloyd, runs);
}

enum status lloyd_label(struct lloyd *lloyd, const struct run_list *runs, struct err *err)
{
    return lloyd->operations->label(lloyd, runs, err);
}

enum status lloyd_distances(struct lloyd *lloyd, int run, lloyd_visit *visit, void *context,
                            struct err *err)
{
    return lloyd->operations->distances(lloyd, run, visit, context, err);
}

enum status lloyd_give(struct lloyd *lloyd, int run, int row, int c, struct err *err)
{
    return lloyd->operations->give(lloyd, run, row, c, err);
}

enum status lloyd_follow(struct lloyd *lloyd, int run, struct err *err)
{
    return lloyd->operations->follow(lloyd, run, err);
}

enum status lloyd_fetch(struct lloyd *lloyd, int run, float *centres, int32_t *labels,
                        struct err *err)
{
    return lloyd->operations->fetch(lloyd, run, centres, labels, err);
}

void compensated_visit(void *compensated, const double *distance, int first, int n)
{
    (void)first;
    struct compensated *total = compensated;
    for (int i = 0; i < n; i++) {
        double value = distance[i], sum = total->sum + value;
        total->lost +=
            fabs(total->sum) >= fabs(value) ? total->sum - sum + value : value - sum + total->sum;
        total->sum = sum;
    }
}

double lloyd_sum(const double *values, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += values[i];
    return sum;
}

enum status lloyd_not_finite(int row, struct err *err)
{
    return err_set(err, STATUS_BAD_DATA,
                   "row %d of those that are not blank is not finite any more: its transform is "
                   "beyond float32, or another program writes the file",
                   row + 1);
}
