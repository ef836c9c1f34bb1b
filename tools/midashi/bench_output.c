/* See bench_output.h. */
#include "tools/midashi/bench_output.h"

#include <stdio.h>
#include <string.h>
#include "host/base/cuda_device.h"
#include "tools/midashi/bench_machine.h"
#include "tools/midashi/output.h"

static const char *const bound_names[] = {"arithmetic", "memory"};

static bool is_cpu(const struct bench_place *place)
{
    return place->device.kind == DEVICE_CPU;
}

/* "cpu x2", "cuda:0" */
static void format_place(char *text, size_t size, const struct bench_place *place)
{
    if (is_cpu(place))
        snprintf(text, size, "cpu x%d", threads_size(place->device.threads));
    else
        snprintf(text, size, "%s", place->name);
}

/* "163 GFLOP/s": of what the row's bound is in. */
static void format_rate(char *text, size_t size, const struct bench_result *result)
{
    const struct measurement *m = &result->measurement;
    if (m->bound == BOUND_ARITHMETIC)
        snprintf(text, size, "%.1f GFLOP/s", 1e-9 * result->operations / m->seconds);
    else
        snprintf(text, size, "%.1f GB/s", 1e-9 * result->bytes / m->seconds);
}

/* Four digits and a unit. */
static void format_seconds(char *text, size_t size, double seconds)
{
    double scale = seconds < 1e-3 ? 1e6 : seconds < 1 ? 1e3 : 1;
    const char *unit = seconds < 1e-3 ? "us" : seconds < 1 ? "ms" : "s";
    double value = seconds * scale;
    snprintf(text, size, "%.*f %s", value < 10 ? 3 : value < 100 ? 2 : 1, value, unit);
}

/* ---- softcuda's report of one run ----------------------------------------------------------- */

static const char *card_of(const json_t *report)
{
    const char *card = json_string_value(json_object_get(report, "card"));
    return card ? card : "?";
}

/* The projection of a kernel on the report's card; NULL: none. */
static json_t *projection_of(const json_t *report, const json_t *kernel)
{
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(kernel, "cards"), i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "card"));
        if (name && strcmp(name, card_of(report)) == 0)
            return json_object_get(entry, "projection");
    }
    return NULL;
}

/* Over the kernels of the run. */
static double sum_of_counter(const json_t *report, const char *name)
{
    size_t i;
    double sum = 0;
    json_t *kernel;
    json_array_foreach(json_object_get(report, "kernels"), i, kernel)
    {
        sum += json_number_value(json_object_get(json_object_get(kernel, "counters"), name));
    }
    return sum;
}

static double projected_seconds(const json_t *report)
{
    size_t i;
    double sum = 0;
    json_t *kernel;
    json_array_foreach(json_object_get(report, "kernels"), i, kernel)
    {
        sum += json_number_value(json_object_get(projection_of(report, kernel), "seconds"));
    }
    return sum;
}

/* ---- table ---------------------------------------------------------------------------------- */

static void table_measured(const struct bench_result *result)
{
    const struct measurement *m = &result->measurement;
    char median[32], rate[32];
    format_seconds(median, sizeof median, m->seconds);
    format_rate(rate, sizeof rate, result);
    double spread = 50 * (m->interval[1] - m->interval[0]) / m->seconds;
    printf("%10s %5.1f %% %14s %5.1f %% %s\n", median, spread, rate, 100 * m->share_of_bound,
           m->bound == BOUND_ARITHMETIC ? "fma" : "memory");
}

static void table_counted(const struct bench_result *result)
{
    char projected[32];
    const json_t *report = result->report;
    format_seconds(projected, sizeof projected, projected_seconds(report));
    printf("%12.0f %10.0f %10.3g %11s\n", sum_of_counter(report, "warp_instructions"),
           sum_of_counter(report, "dram_read_bytes") + sum_of_counter(report, "dram_write_bytes"),
           sum_of_counter(report, "mma_macs"), projected);
}

/* A heading for each operation. */
static void table_row(struct bench_output *output, const struct bench_row *row,
                      const struct bench_place *place, const struct bench_result *result)
{
    if (output->last_operation != row->operation)
        printf("%s %s\n", row->operation->name, bench_dtype(place, row->operation));
    output->last_operation = row->operation;
    printf("  %-30s ", row->shape);
    if (!result->verified)
        printf("WRONG: %.3g times the error that is allowed\n", result->worst_error);
    else if (result->report)
        table_counted(result);
    else
        table_measured(result);
}

static void table_place(struct bench_output *output, const struct bench_place *place)
{
    output->last_operation = NULL;
    print_limits(place);
    if (place->software)
        printf("%-32s %12s %10s %10s %11s\n", "operation, shape", "instructions", "DRAM bytes",
               "mma MACs", "projection");
    else
        printf("%-32s %10s %7s %14s %13s\n", "operation, shape", "median", "+-", "rate",
               "of the bound");
}

/* ---- CSV ------------------------------------------------------------------------------------ */

/* "avx2", a card's name: what JSON calls instructions. */
static const char *instructions_of(const struct bench_place *place)
{
    return is_cpu(place) ? cpu_isa_name(place->device.isa) : place->device.cuda->info.name;
}

static void csv_row(const struct bench_row *row, const struct bench_place *place,
                    const struct bench_result *result)
{
    const struct measurement *m = &result->measurement;
    printf("%s,%s,%s,%s,%d,%s,%s,", row->operation->name, bench_dtype(place, row->operation),
           place->name, instructions_of(place), threads_size(place->device.threads),
           result->report ? "counted" : "measured", row->shape);
    if (result->verified && !result->report)
        printf("%.9g,%.9g,%.9g,%.9g,%.9g,%d,%.9g,%.9g,%s,%.6g,true,,\n", m->seconds, m->interval[0],
               m->interval[1], m->best, m->processor_seconds, m->n_runs, result->operations,
               result->bytes, bound_names[m->bound], m->share_of_bound);
    else
        printf(",,,,,,%.9g,%.9g,,,%s,,\n", result->operations, result->bytes,
               result->verified ? "true" : "false");
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static json_t *shape_json(const struct bench_row *row)
{
    json_t *shape = json_object();
    for (int i = 0; shape && i < SHAPE_DIMENSIONS && row->operation->dimensions[i]; i++)
        if (json_object_set_new(shape, row->operation->dimensions[i], json_integer(row->size[i]))) {
            json_decref(shape);
            return NULL;
        }
    return shape;
}

static json_t *measured_json(const struct bench_result *result)
{
    const struct measurement *m = &result->measurement;
    return json_pack("{s:f, s:[f,f], s:f, s:f, s:i, s:f, s:f, s:s, s:f, s:f}", "seconds",
                     m->seconds, "interval", m->interval[0], m->interval[1], "best", m->best,
                     "processor_seconds", m->processor_seconds, "runs", m->n_runs,
                     "flops_per_second", result->operations / m->seconds, "bytes_per_second",
                     result->bytes / m->seconds, "bound", bound_names[m->bound], "bound_seconds",
                     m->bound_seconds, "share_of_bound", m->share_of_bound);
}

static json_t *counted_json(const struct bench_result *result)
{
    size_t i;
    json_t *kernel, *kernels = json_array();
    json_array_foreach(json_object_get(result->report, "kernels"), i, kernel)
    {
        json_t *entry = json_pack(
            "{s:O*, s:O*, s:O*, s:O*, s:O*}", "name", json_object_get(kernel, "name"), "ctas",
            json_object_get(kernel, "ctas"), "counters", json_object_get(kernel, "counters"), "mma",
            json_object_get(kernel, "mma"), "projection", projection_of(result->report, kernel));
        if (json_array_append_new(kernels, entry) != 0) {
            json_decref(kernels);
            kernels = NULL;
        }
    }
    return json_pack("{s:s, s:f, s:o}", "card", card_of(result->report), "projected_seconds",
                     projected_seconds(result->report), "kernels", kernels);
}

/* Adds what was measured or counted; of a row that is wrong nothing was. */
static int add_result(json_t *json, const struct bench_result *result)
{
    if (!result->verified)
        return 0;
    json_t *more = result->report ? counted_json(result) : measured_json(result);
    int failed = more ? json_object_update(json, more) : -1;
    json_decref(more);
    return failed;
}

static json_t *row_json(const struct bench_row *row, const struct bench_place *place,
                        const struct bench_result *result)
{
    json_t *shape = shape_json(row);
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:i, s:o, s:f, s:f, s:b}", "operation", row->operation->name,
        "dtype", bench_dtype(place, row->operation), "device", place->name, "kind",
        result->report ? "counted" : "measured", "instructions", instructions_of(place), "threads",
        threads_size(place->device.threads), "shape", shape, "flops", result->operations, "bytes",
        result->bytes, "verified", (int)result->verified);
    if (json && add_result(json, result) != 0) {
        json_decref(json);
        return NULL;
    }
    return json;
}

/* ---- all ------------------------------------------------------------------------------------ */

enum status bench_output_open(struct bench_output *output, const struct options *options,
                              struct err *err)
{
    *output = (struct bench_output){
        .format = options->json  ? BENCH_JSON
                  : options->csv ? BENCH_CSV
                                 : BENCH_TABLE,
    };
    switch (output->format) {
    case BENCH_JSON:
        output->rows = json_array();
        output->limits = json_object();
        return output->rows && output->limits ? STATUS_OK : err_no_memory(err, "the rows", 0);
    case BENCH_CSV:
        puts("operation,dtype,device,instructions,threads,kind,shape,seconds,interval_low,"
             "interval_high,best,processor_seconds,runs,flops,bytes,bound,share_of_bound,verified,"
             "peak_bytes,gpu_peak_bytes");
        return STATUS_OK;
    case BENCH_TABLE:
        print_machine();
        return STATUS_OK;
    }
    return STATUS_OK;
}

void bench_output_close(struct bench_output *output)
{
    json_decref(output->rows);
    json_decref(output->limits);
    *output = (struct bench_output){.rows = NULL};
}

enum status bench_output_place(struct bench_output *output, const struct bench_place *place,
                               struct err *err)
{
    char name[24];
    switch (output->format) {
    case BENCH_JSON:
        format_place(name, sizeof name, place);
        if (json_object_set_new(output->limits, name, limits_json(place)) != 0)
            return err_no_memory(err, "the limits", 0);
        return STATUS_OK;
    case BENCH_CSV:
        return STATUS_OK;
    case BENCH_TABLE:
        table_place(output, place);
        fflush(stdout);
        return STATUS_OK;
    }
    return STATUS_OK;
}

enum status bench_output_row(struct bench_output *output, const struct bench_row *row,
                             const struct bench_place *place, const struct bench_result *result,
                             struct err *err)
{
    switch (output->format) {
    case BENCH_JSON:
        if (json_array_append_new(output->rows, row_json(row, place, result)) != 0)
            return err_no_memory(err, "the rows", 0);
        return STATUS_OK;
    case BENCH_CSV:
        csv_row(row, place, result);
        break;
    case BENCH_TABLE:
        table_row(output, row, place, result);
        break;
    }
    fflush(stdout);
    return STATUS_OK;
}

static json_t *stage_json(const struct stage *stage, const struct bench_place *place,
                          const char *model)
{
    char name[48];
    snprintf(name, sizeof name, "pipeline_%s", stage->name);
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:s, s:i, s:f, s:s, s:f, s:I}", "operation", name, "device",
                  place->name, "kind", "pipeline", "model", model, "threads",
                  threads_size(place->device.threads), "items", stage->items, "unit", stage->unit,
                  "seconds", stage->seconds, "peak_bytes", (json_int_t)stage->peak_bytes);
    if (is_cpu(place))
        return json;
    json_t *more = json_pack("{s:s, s:I}", "instructions", instructions_of(place), "gpu_peak_bytes",
                             (json_int_t)stage->gpu_peak_bytes);
    if (json_object_update_new(json, more) != 0) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static void csv_stage(const struct stage *stage, const struct bench_place *place)
{
    printf("pipeline_%s,,%s,%s,%d,pipeline,%.0f %s,%.9g,,,,,,,,,,,%zu,", stage->name, place->name,
           is_cpu(place) ? "" : instructions_of(place), threads_size(place->device.threads),
           stage->items, stage->unit, stage->seconds, stage->peak_bytes);
    if (!is_cpu(place))
        printf("%zu", stage->gpu_peak_bytes);
    putchar('\n');
}

static void table_stage(const struct stage *stage, const struct bench_place *place)
{
    char seconds[32];
    format_seconds(seconds, sizeof seconds, stage->seconds);
    printf("pipeline_%-16s %14.0f %-8s %10s %12.0f a second %10.1f MB", stage->name, stage->items,
           stage->unit, seconds, stage->items / stage->seconds, 1e-6 * (double)stage->peak_bytes);
    if (!is_cpu(place))
        printf(" %10.1f MB", 1e-6 * (double)stage->gpu_peak_bytes);
    putchar('\n');
}

static void table_stages(const char *model, const struct bench_place *place)
{
    int threads = threads_size(place->device.threads);
    if (is_cpu(place))
        printf("\n%s, cpu, %d thread%s\n", model, threads, threads == 1 ? "" : "s");
    else
        printf("\n%s, %s, %s\n", model, place->name, instructions_of(place));
    printf("%-25s %23s %10s %21s %13s%s\n", "step", "", "time", "", "peak resident",
           is_cpu(place) ? "" : "   peak of GPU");
}

enum status bench_output_stages(struct bench_output *output, const char *model,
                                const struct bench_place *place, const struct stage *stages,
                                int n_stages, struct err *err)
{
    if (output->format == BENCH_TABLE)
        table_stages(model, place);
    for (int i = 0; i < n_stages; i++)
        switch (output->format) {
        case BENCH_JSON:
            if (json_array_append_new(output->rows, stage_json(&stages[i], place, model)) != 0)
                return err_no_memory(err, "the rows", 0);
            break;
        case BENCH_CSV:
            csv_stage(&stages[i], place);
            break;
        case BENCH_TABLE:
            table_stage(&stages[i], place);
            break;
        }
    return STATUS_OK;
}

enum status bench_output_end(struct bench_output *output, struct err *err)
{
    if (output->format != BENCH_JSON)
        return STATUS_OK;
    json_t *root = json_pack("{s:s, s:o, s:O, s:O}", "schema", "midashi-bench-1", "machine",
                             machine_json(), "limits", output->limits, "rows", output->rows);
    return print_json(root, err);
}
