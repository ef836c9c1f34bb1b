/* See bench_roofline.h. */
#include "tools/midashi/bench_roofline.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "bench/plot.h"
#include "host/base/file.h"
#include "host/base/memory.h"
#include "tools/midashi/bench_compare.h"

#define POINTS 512 /* of one operation */

struct cloud {
    char name[64];
    double x[POINTS], y[POINTS];
    int n;
};

struct picture {
    struct cloud clouds[PLOT_SERIES - 2]; /* the roofs take two */
    int n_clouds;
    double peak, bandwidth; /* operations and bytes a second */
};

static double number_of(const json_t *json, const char *key)
{
    return json_number_value(json_object_get(json, key));
}

static struct cloud *cloud_of(struct picture *picture, const char *name)
{
    for (int i = 0; i < picture->n_clouds; i++)
        if (strcmp(picture->clouds[i].name, name) == 0)
            return &picture->clouds[i];
    if (picture->n_clouds == PLOT_SERIES - 2)
        return NULL;
    struct cloud *cloud = &picture->clouds[picture->n_clouds++];
    snprintf(cloud->name, sizeof cloud->name, "%s", name);
    return cloud;
}

static void add_row(struct picture *picture, const json_t *row)
{
    char name[64];
    const char *operation = json_string_value(json_object_get(row, "operation"));
    const char *dtype = json_string_value(json_object_get(row, "dtype"));
    const char *device = json_string_value(json_object_get(row, "device"));
    double flops = number_of(row, "flops"), bytes = number_of(row, "bytes");
    double seconds = number_of(row, "seconds");
    if (!operation || !dtype || !device || strcmp(device, "cpu") != 0 || !(flops > 0) ||
        !(bytes > 0) || !(seconds > 0))
        return;
    snprintf(name, sizeof name, "%.50s %.10s", operation, dtype);
    struct cloud *cloud = cloud_of(picture, name);
    if (!cloud || cloud->n == POINTS)
        return;
    cloud->x[cloud->n] = flops / bytes;
    cloud->y[cloud->n++] = 1e-9 * flops / seconds;
}

/* The highest limits of the CPU in the run. */
static void read_limits(struct picture *picture, const json_t *run)
{
    const char *name;
    json_t *limits;
    json_object_foreach(json_object_get(run, "limits"), name, limits)
    {
        if (strncmp(name, "cpu", 3) != 0)
            continue;
        picture->peak = fmax(picture->peak, number_of(limits, "flops_per_second"));
        picture->bandwidth = fmax(picture->bandwidth, number_of(limits, "copy_bytes_per_second"));
    }
}

static enum status draw(const struct picture *picture, const char *output, struct err *err)
{
    struct out_file file;
    char peak[64], memory[64];
    struct plot plot = {.title = "Roofline",
                        .x_label = "floating-point operations a byte that must move",
                        .y_label = "GFLOP/s"};
    double lowest = INFINITY, highest = 0, ridge = picture->peak / picture->bandwidth;
    for (int i = 0; i < picture->n_clouds; i++) {
        const struct cloud *cloud = &picture->clouds[i];
        plot.series[plot.n_series++] =
            (struct plot_series){.name = cloud->name, .x = cloud->x, .y = cloud->y, .n = cloud->n};
        for (int j = 0; j < cloud->n; j++)
            lowest = fmin(lowest, cloud->x[j]), highest = fmax(highest, cloud->x[j]);
    }
    lowest = fmin(lowest, ridge / 4), highest = fmax(highest, 4 * ridge);
    const double roof_x[] = {ridge, highest}, slope_x[] = {lowest, ridge};
    const double roof_y[] = {1e-9 * picture->peak, 1e-9 * picture->peak};
    const double slope_y[] = {1e-9 * lowest * picture->bandwidth, 1e-9 * picture->peak};
    snprintf(peak, sizeof peak, "multiply-adds, %.1f GFLOP/s", 1e-9 * picture->peak);
    snprintf(memory, sizeof memory, "memory, copying %.1f GB/s", 1e-9 * picture->bandwidth);
    plot.series[plot.n_series++] =
        (struct plot_series){.name = peak, .x = roof_x, .y = roof_y, .n = 2, .line = true};
    plot.series[plot.n_series++] =
        (struct plot_series){.name = memory, .x = slope_x, .y = slope_y, .n = 2, .line = true};
    TRY(out_file_open(&file, output, err));
    plot_begin(file.stream, 1);
    plot_draw(file.stream, &plot, 0);
    plot_end(file.stream);
    return out_file_commit(&file, err);
}

enum status bench_roofline(const char *run_path, const char *output, struct err *err)
{
    json_t *run, *row;
    size_t i;
    TRY(bench_read_run(&run, run_path, err));
    struct picture *picture = mem_alloc_zero(1, sizeof *picture);
    enum status status = STATUS_OK;
    if (!picture)
        status = err_no_memory(err, "the picture", sizeof *picture);
    if (status == STATUS_OK) {
        read_limits(picture, run);
        json_array_foreach(json_object_get(run, "rows"), i, row)
        {
            add_row(picture, row);
        }
        if (picture->n_clouds == 0 || !(picture->peak > 0) || !(picture->bandwidth > 0))
            status =
                err_set(err, STATUS_BAD_DATA,
                        "%s: has no row of the CPU that counts operations, or no limits", run_path);
        else
            status = draw(picture, output, err);
    }
    mem_free(picture);
    json_decref(run);
    return status;
}
