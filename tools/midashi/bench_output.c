/* See bench_output.h. */
#include "tools/midashi/bench_output.h"

#include <stdio.h>
#include <string.h>
#include "tools/midashi/bench_machine.h"
#include "tools/midashi/output.h"

static const char *const bound_names[] = {"arithmetic", "memory"};

/* "163 GFLOP/s": of what the row's bound is in. */
static void format_rate(char *text, size_t size, const struct bench_result *result)
{
    const struct measurement *m = &result->measurement;
    if (m->bound == BOUND_ARITHMETIC)
        snprintf(text, size, "%.1f GFLOP/s", 1e-9 * result->operations / m->seconds);
    else
        snprintf(text, size, "%.1f GB/s", 1e-9 * result->bytes / m->seconds);
}

/* Three or four digits and a unit. */
static void format_seconds(char *text, size_t size, double seconds)
{
    double scale = seconds < 1e-3 ? 1e6 : seconds < 1 ? 1e3 : 1;
    const char *unit = seconds < 1e-3 ? "us" : seconds < 1 ? "ms" : "s";
    double value = seconds * scale;
    snprintf(text, size, "%.*f %s", value < 10 ? 3 : value < 100 ? 2 : 1, value, unit);
}

/* ---- table ---------------------------------------------------------------------------------- */

static void table_row(const struct bench_row *row, const struct device *device,
                      const struct bench_result *result)
{
    const struct measurement *m = &result->measurement;
    char median[32], rate[32], name[48];
    snprintf(name, sizeof name, "%s %s", row->operation->name, row->operation->dtype);
    printf("%-24s %-40s %2d ", name, row->shape, threads_size(device->threads));
    if (!result->verified) {
        printf(" WRONG: %.3g times the error that is allowed\n", result->worst_error);
        return;
    }
    format_seconds(median, sizeof median, m->seconds);
    format_rate(rate, sizeof rate, result);
    double spread = 50 * (m->interval[1] - m->interval[0]) / m->seconds;
    printf("%10s %5.1f %% %14s %5.1f %% of %s\n", median, spread, rate, 100 * m->share_of_bound,
           bound_names[m->bound]);
}

/* ---- CSV ------------------------------------------------------------------------------------ */

static void csv_row(const struct bench_row *row, const struct device *device,
                    const struct bench_result *result)
{
    const struct measurement *m = &result->measurement;
    printf("%s,%s,cpu,%s,%d,%s,%.9g,%.9g,%.9g,%.9g,%.9g,%d,%.9g,%.9g,%s,%.6g,%s\n",
           row->operation->name, row->operation->dtype, cpu_isa_name(device->isa),
           threads_size(device->threads), row->shape, m->seconds, m->interval[0], m->interval[1],
           m->best, m->processor_seconds, m->n_runs, result->operations, result->bytes,
           bound_names[m->bound], m->share_of_bound, result->verified ? "true" : "false");
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

/* What was measured; of a row that is wrong nothing was. */
static int add_measurement(json_t *json, const struct bench_result *result)
{
    const struct measurement *m = &result->measurement;
    json_t *more = json_pack(
        "{s:f, s:[f,f], s:f, s:f, s:i, s:f, s:f, s:s, s:f, s:f}", "seconds", m->seconds, "interval",
        m->interval[0], m->interval[1], "best", m->best, "processor_seconds", m->processor_seconds,
        "runs", m->n_runs, "flops_per_second", result->operations / m->seconds, "bytes_per_second",
        result->bytes / m->seconds, "bound", bound_names[m->bound], "bound_seconds",
        m->bound_seconds, "share_of_bound", m->share_of_bound);
    int failed = more ? json_object_update(json, more) : -1;
    json_decref(more);
    return failed;
}

static json_t *row_json(const struct bench_row *row, const struct device *device,
                        const struct bench_result *result)
{
    json_t *shape = shape_json(row);
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s, s:i, s:o, s:f, s:f, s:b}", "operation", row->operation->name, "dtype",
        row->operation->dtype, "device", "cpu", "instructions", cpu_isa_name(device->isa),
        "threads", threads_size(device->threads), "shape", shape, "flops", result->operations,
        "bytes", result->bytes, "verified", (int)result->verified);
    if (json && result->verified && add_measurement(json, result) != 0) {
        json_decref(json);
        return NULL;
    }
    return json;
}

/* ---- all ------------------------------------------------------------------------------------ */

enum status bench_output_begin(struct bench_output *output, const struct options *options,
                               const struct device *device, const struct cpu_limits *limits,
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
        return output->rows ? STATUS_OK : err_no_memory(err, "the rows", 0);
    case BENCH_CSV:
        puts("operation,dtype,device,instructions,threads,shape,seconds,interval_low,interval_high,"
             "best,processor_seconds,runs,flops,bytes,bound,share_of_bound,verified");
        return STATUS_OK;
    case BENCH_TABLE:
        print_machine(device, limits);
        printf("\n%-24s %-40s %2s %10s %7s %14s %s\n", "operation", "shape", "th", "median", "+-",
               "rate", "share of the bound");
        return STATUS_OK;
    }
    return STATUS_OK;
}

enum status bench_output_row(struct bench_output *output, const struct bench_row *row,
                             const struct device *device, const struct bench_result *result,
                             struct err *err)
{
    switch (output->format) {
    case BENCH_JSON:
        if (json_array_append_new(output->rows, row_json(row, device, result)) != 0)
            return err_no_memory(err, "the rows", 0);
        return STATUS_OK;
    case BENCH_CSV:
        csv_row(row, device, result);
        break;
    case BENCH_TABLE:
        table_row(row, device, result);
        break;
    }
    fflush(stdout);
    return STATUS_OK;
}

enum status bench_output_end(struct bench_output *output, const struct device *device,
                             const struct cpu_limits *limits, struct err *err)
{
    if (output->format != BENCH_JSON)
        return STATUS_OK;
    json_t *rows = output->rows;
    output->rows = NULL;
    return print_json(json_pack("{s:s, s:o, s:o, s:o}", "schema", "midashi-bench-1", "machine",
                                machine_json(device), "limits", limits_json(device, limits), "rows",
                                rows),
                      err);
}

void bench_output_close(struct bench_output *output)
{
    json_decref(output->rows);
}
