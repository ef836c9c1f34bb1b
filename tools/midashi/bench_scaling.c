/* midashi bench scaling: see bench_pipeline.h. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "bench/plot.h"
#include "bench/scaling.h"
#include "bench/statistics.h"
#include "host/base/cuda_device.h"
#include "host/base/file.h"
#include "tools/midashi/bench_machine.h"
#include "tools/midashi/bench_pipeline.h"
#include "tools/midashi/output.h"

/* What is timed of the pipeline, as columns. */
static const char *const columns[] = {"load", "embed", "words", "kmeans", "after_embedding"};
#define N_COLUMNS ((int)(sizeof columns / sizeof *columns))
static const char *const size_names[KMEANS_SIZES] = {"n", "k", "d"};

struct scaling {
    struct scaling_run runs[SCALING_SIZES];
    int n_runs;
    struct bench_place place;
    bool gpu; /* k-means, which has no part on it, is not run */
    struct kmeans_run kmeans[KMEANS_SIZES][KMEANS_STEPS];
    /* The same as curves. */
    double texts[SCALING_SIZES], seconds[N_COLUMNS][SCALING_SIZES], peak[SCALING_SIZES],
        gpu_peak[SCALING_SIZES];
    double factor[KMEANS_STEPS], iteration[KMEANS_SIZES][KMEANS_STEPS];
};

static const struct stage *find_stage(const struct scaling_run *run, const char *name)
{
    for (int i = 0; i < run->n_stages; i++)
        if (strcmp(run->stages[i].name, name) == 0)
            return &run->stages[i];
    return NULL;
}

static void fill_curves(struct scaling *scaling)
{
    for (int i = 0; i < scaling->n_runs; i++) {
        const struct scaling_run *run = &scaling->runs[i];
        scaling->texts[i] = run->texts;
        for (int c = 0; c < N_COLUMNS; c++) {
            const struct stage *stage = find_stage(run, columns[c]);
            scaling->seconds[c][i] = stage ? stage->seconds : 0;
        }
        for (int s = 0; s < run->n_stages; s++) {
            scaling->peak[i] = fmax(scaling->peak[i], (double)run->stages[s].peak_bytes);
            scaling->gpu_peak[i] =
                fmax(scaling->gpu_peak[i], (double)run->stages[s].gpu_peak_bytes);
        }
    }
    for (int which = 0; which < KMEANS_SIZES; which++)
        for (int step = 0; step < KMEANS_STEPS; step++) {
            scaling->factor[step] = 1 << step;
            scaling->iteration[which][step] = scaling->kmeans[which][step].seconds;
        }
}

/* From the upper half of the sizes, where what does not grow no longer counts. NaN: one size, or no
 * numbers. */
static double exponent(const double *x, const double *y, int n)
{
    int first = n > 3 ? n / 2 : 0;
    return n - first >= 2 && y[first] > 0 ? fitted_exponent(x + first, y + first, n - first) : NAN;
}

/* "1.02", or "-". */
static const char *exponent_text(char text[16], const double *x, const double *y, int n)
{
    double found = exponent(x, y, n);
    if (!isfinite(found))
        return "-";
    snprintf(text, 16, "%.2f", found);
    return text;
}

/* ---- table ---------------------------------------------------------------------------------- */

static void print_texts(const struct scaling *scaling)
{
    char text[16];
    if (scaling->gpu)
        printf("\n%s, %s: load and embed; the other steps are the CPU's\n", scaling->place.name,
               scaling->place.device.cuda->info.name);
    printf("\nseconds by number of texts; the last line is the exponent over the larger half\n%9s",
           "texts");
    for (int c = 0; c < N_COLUMNS; c++)
        printf(" %15s", columns[c]);
    printf(" %10s%s\n", "peak MB", scaling->gpu ? "     GPU MB" : "");
    for (int i = 0; i < scaling->n_runs; i++) {
        printf("%9.0f", scaling->texts[i]);
        for (int c = 0; c < N_COLUMNS; c++)
            printf(" %15.3f", scaling->seconds[c][i]);
        printf(" %10.1f", 1e-6 * scaling->peak[i]);
        if (scaling->gpu)
            printf(" %10.1f", 1e-6 * scaling->gpu_peak[i]);
        putchar('\n');
    }
    printf("%9s", "");
    for (int c = 0; c < N_COLUMNS; c++)
        printf(" %15s", exponent_text(text, scaling->texts, scaling->seconds[c], scaling->n_runs));
    printf(" %10s", exponent_text(text, scaling->texts, scaling->peak, scaling->n_runs));
    if (scaling->gpu)
        printf(" %10s", exponent_text(text, scaling->texts, scaling->gpu_peak, scaling->n_runs));
    putchar('\n');
}

static void print_kmeans(const struct scaling *scaling)
{
    char text[16];
    const int *base = scaling->kmeans[0][0].size;
    printf("\nk-means, seconds an iteration, from n = %d, k = %d, d = %d, one of them doubled\n",
           base[0], base[1], base[2]);
    for (int which = 0; which < KMEANS_SIZES; which++) {
        printf("%9s", size_names[which]);
        for (int step = 0; step < KMEANS_STEPS; step++)
            printf("  x%d %9.6f", 1 << step, scaling->iteration[which][step]);
        printf("  exponent %s\n",
               exponent_text(text, scaling->factor, scaling->iteration[which], KMEANS_STEPS));
    }
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static json_t *curve_json(const double *x, const double *y, int n)
{
    json_t *points = json_array();
    for (int i = 0; i < n; i++)
        if (json_array_append_new(points, json_pack("[f, f]", x[i], y[i])) != 0) {
            json_decref(points);
            return NULL;
        }
    double found = exponent(x, y, n);
    json_t *number = isfinite(found) ? json_real(found) : json_null();
    return json_pack("{s:o, s:o}", "exponent", number, "points", points);
}

static enum status print_scaling_json(const struct scaling *scaling, struct err *err)
{
    json_t *texts = json_object(), *kmeans = json_object();
    int failed = 0, n = scaling->n_runs;
    for (int c = 0; c < N_COLUMNS && n > 0; c++)
        failed |= json_object_set_new(texts, columns[c],
                                      curve_json(scaling->texts, scaling->seconds[c], n));
    if (n > 0)
        failed |=
            json_object_set_new(texts, "peak_bytes", curve_json(scaling->texts, scaling->peak, n));
    if (n > 0 && scaling->gpu)
        failed |= json_object_set_new(texts, "gpu_peak_bytes",
                                      curve_json(scaling->texts, scaling->gpu_peak, n));
    for (int which = 0; which < KMEANS_SIZES && !scaling->gpu; which++)
        failed |= json_object_set_new(
            kmeans, size_names[which],
            curve_json(scaling->factor, scaling->iteration[which], KMEANS_STEPS));
    if (failed) {
        json_decref(texts);
        texts = NULL;
    }
    return print_json(json_pack("{s:s, s:o, s:s, s:o, s:o}", "schema", "midashi-bench-scaling-1",
                                "machine", machine_json(), "device", scaling->place.name, "texts",
                                texts, "kmeans", kmeans),
                      err);
}

/* ---- drawing -------------------------------------------------------------------------------- */

static void add_curve(struct plot *plot, char *name, size_t size, const char *what, const double *x,
                      const double *y, int n)
{
    char text[16];
    snprintf(name, size, "%s, exponent %s", what, exponent_text(text, x, y, n));
    plot->series[plot->n_series++] =
        (struct plot_series){.name = name, .x = x, .y = y, .n = n, .line = true};
}

static enum status draw(const struct scaling *scaling, const char *path, struct err *err)
{
    struct out_file file;
    char names[N_COLUMNS + 2 + KMEANS_SIZES][64];
    int n = scaling->n_runs, used = 0, panel = 0;
    struct plot time = {
        .title = "Time by number of texts", .x_label = "texts", .y_label = "seconds"};
    struct plot memory = {.title = "Memory by number of texts",
                          .x_label = "texts",
                          .y_label = scaling->gpu ? "peak MB" : "peak resident MB"};
    struct plot kmeans = {.title = "k-means: an iteration",
                          .x_label = "times 8000 rows, 32 clusters or 64 dimensions",
                          .y_label = "seconds"};
    double megabytes[SCALING_SIZES], gpu_megabytes[SCALING_SIZES];
    for (int i = 0; i < n; i++) {
        megabytes[i] = 1e-6 * scaling->peak[i];
        gpu_megabytes[i] = 1e-6 * scaling->gpu_peak[i];
    }
    for (int c = 0; c < N_COLUMNS; c++, used++)
        add_curve(&time, names[used], sizeof *names, columns[c], scaling->texts,
                  scaling->seconds[c], n);
    add_curve(&memory, names[used], sizeof *names, "whole pipeline", scaling->texts, megabytes, n);
    used++;
    if (scaling->gpu)
        add_curve(&memory, names[used++], sizeof *names, "the GPU's", scaling->texts, gpu_megabytes,
                  n);
    for (int which = 0; which < KMEANS_SIZES; which++, used++)
        add_curve(&kmeans, names[used], sizeof *names, size_names[which], scaling->factor,
                  scaling->iteration[which], KMEANS_STEPS);
    TRY(out_file_open(&file, path, err));
    plot_begin(file.stream, (n > 0 ? 2 : 0) + !scaling->gpu);
    if (n > 0) {
        plot_draw(file.stream, &time, panel++);
        plot_draw(file.stream, &memory, panel++);
    }
    if (!scaling->gpu)
        plot_draw(file.stream, &kmeans, panel);
    plot_end(file.stream);
    return out_file_commit(&file, err);
}

/* ---- all ------------------------------------------------------------------------------------ */

/* --device auto is the CPU. */
static enum status open_place(struct scaling *scaling, const struct options *options,
                              struct err *err)
{
    const char *name = options->device;
    TRY(bench_place_open(&scaling->place, strcmp(name, "auto") == 0 ? "cpu" : name,
                         options->threads, err));
    scaling->gpu = scaling->place.device.kind == DEVICE_CUDA;
    if (scaling->gpu && !options->model)
        return err_set(
            err, STATUS_USAGE,
            "--device %s: k-means alone is measured on the CPU; give a --model to embed with",
            name);
    if (scaling->place.software)
        return err_set(err, STATUS_USAGE,
                       "--device %s: bench scaling is timed, and a software device's times mean "
                       "nothing; use a GPU, or --device cpu",
                       name);
    return STATUS_OK;
}

static enum status measure(struct scaling *scaling, const struct options *options,
                           struct meter *meter, struct err *err)
{
    struct pipeline_settings settings;
    struct progress progress = meter_progress(meter);
    struct device *device = &scaling->place.device;
    if (options->model)
        TRY(bench_pipeline_plan(&settings, options, err));
    TRY(open_place(scaling, options, err));
    if (options->model)
        TRY(scaling_texts(scaling->runs, &scaling->n_runs, device, &settings,
                          (size_t)options->largest, &progress, err));
    return scaling->gpu ? STATUS_OK : scaling_kmeans(scaling->kmeans, device, &progress, err);
}

enum status bench_scaling(const struct options *options, struct err *err)
{
    struct meter meter;
    struct scaling *scaling = mem_alloc_zero(1, sizeof *scaling);
    if (!scaling)
        return err_no_memory(err, "the curves", sizeof *scaling);
    meter_open(&meter, options->quiet);
    if (!options->model)
        meter_note(&meter, "only k-means: give --model to run the whole pipeline");
    enum status status = measure(scaling, options, &meter, err);
    meter_close(&meter);
    if (status == STATUS_OK) {
        fill_curves(scaling);
        if (options->json) {
            status = print_scaling_json(scaling, err);
        } else {
            print_machine();
            if (scaling->n_runs > 0)
                print_texts(scaling);
            if (!scaling->gpu)
                print_kmeans(scaling);
        }
    }
    if (status == STATUS_OK && options->output)
        status = draw(scaling, options->output, err);
    bench_place_close(&scaling->place);
    mem_free(scaling);
    return status;
}
