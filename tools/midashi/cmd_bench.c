/* midashi bench: what each operation costs on this machine, beside the machine's own limits. */
#include <string.h>
#include "bench/operations.h"
#include "bench/worker.h"
#include "tools/midashi/bench_compare.h"
#include "tools/midashi/bench_output.h"
#include "tools/midashi/commands.h"
#include "tools/midashi/progress.h"

struct job {
    const struct options *options;
    struct meter meter;
    struct bench_output output;
    struct bench_row *rows;
    int n_rows, n_run, n_wrong;
};

static enum status run_rows(struct job *job, struct device *device, struct err *err)
{
    for (int i = 0; i < job->n_rows; i++) {
        struct bench_result result;
        meter_status(&job->meter, "%d of %d: %s", i + 1, job->n_rows, job->rows[i].title);
        TRY(bench_run_row(&result, &job->rows[i], device, job->options->seconds, err));
        meter_clear(&job->meter);
        TRY(bench_output_row(&job->output, &job->rows[i], device, &result, err));
        job->n_run++;
        job->n_wrong += !result.verified;
    }
    return STATUS_OK;
}

/* All rows on all threads; with --full on one thread first. */
static enum status run_devices(struct job *job, struct err *err)
{
    struct device device;
    struct cpu_limits limits;
    TRY(device_open(&device, "cpu", job->options->threads, err));
    enum status status = measure_cpu_limits(&limits, &device, err);
    if (status == STATUS_OK)
        status = bench_output_begin(&job->output, job->options, &device, &limits, err);
    if (status == STATUS_OK && job->options->full && threads_size(device.threads) > 1) {
        struct device single;
        status = device_open(&single, "cpu", 1, err);
        if (status == STATUS_OK) {
            status = run_rows(job, &single, err);
            device_close(&single);
        }
    }
    if (status == STATUS_OK)
        status = run_rows(job, &device, err);
    if (status == STATUS_OK)
        status = bench_output_end(&job->output, &device, &limits, err);
    device_close(&device);
    return status;
}

/* Serves rows on one device, silently. */
static enum status serve(const struct job *job, struct err *err)
{
    struct device device;
    TRY(device_open(&device, "cpu", job->options->threads, err));
    enum status status = worker_serve(job->rows, job->n_rows, &device, stdin, stdout, err);
    device_close(&device);
    return status;
}

static enum status run_bench(const struct options *options, const char *pattern, struct err *err)
{
    struct job job = {.options = options};
    struct arena arena = {0};
    struct named_shape shape;
    struct bench_choice choice = {
        .pattern = pattern,
        .set = options->set,
        .shape = options->shape ? &shape : NULL,
        .full = options->full,
    };
    if (options->json && options->csv)
        return err_set(err, STATUS_USAGE, "--json and --csv contradict each other");
    if (options->shape)
        TRY(shape_parse(&shape, options->shape, err));
    meter_open(&job.meter, options->quiet);
    enum status status = bench_rows(&job.rows, &job.n_rows, bench_operations, &choice, &arena, err);
    if (status == STATUS_OK)
        status = options->worker ? serve(&job, err) : run_devices(&job, err);
    meter_close(&job.meter);
    bench_output_close(&job.output);
    arena_free(&arena);
    if (status == STATUS_OK && job.n_wrong)
        status = err_set(err, STATUS_FAILED,
                         "%d of %d rows differ from the reference by more than is allowed",
                         job.n_wrong, job.n_run);
    return status;
}

static enum status too_many(const struct options *options, const char *usage, struct err *err)
{
    return err_set(err, STATUS_USAGE, "midashi bench %s: usage: %s", options->arguments[0], usage);
}

static enum status run(const struct options *options, struct err *err)
{
    int n = options->n_arguments;
    const char *first = n ? options->arguments[0] : "",
               *second = n > 1 ? options->arguments[1] : "";
    if (strcmp(first, "compare") == 0 && options->against)
        return n > 2 ? too_many(options, "midashi bench compare --against BINARY [PATTERN]", err)
                     : bench_compare_against(options, second, err);
    if (strcmp(first, "compare") == 0)
        return n != 3 ? too_many(options, "midashi bench compare A.json B.json", err)
                      : bench_compare_files(options, second, options->arguments[2], err);
    if (options->against)
        return err_set(err, STATUS_USAGE, "--against goes with midashi bench compare");
    return n > 1 ? err_set(err, STATUS_USAGE, "midashi bench takes one PATTERN, not %s too", second)
                 : run_bench(options, first, err);
}

static void defaults(struct options *options)
{
    options->tolerance = 0.05;
}

static const char *const option_names[] = {
    "--set",     "--shape",     "--full",   "--seconds", "--threads", "--json", "--csv",
    "--against", "--tolerance", "--worker", "--quiet",   "--help",    NULL};

const struct command command_bench = {
    .name = "bench",
    .usage = "[PATTERN] | compare A.json B.json | compare --against BINARY [PATTERN]",
    .summary = "what each operation costs here, beside the machine's own limits",
    .details = "A row is held against the float64 reference first, then timed: the median of its\n"
               "runs, half of the 95 % interval of the median, and the share of the bound that\n"
               "applies, which is measured between the runs. PATTERN is part of a row's name or\n"
               "shape. compare joins two runs stored with --json; compare --against runs this\n"
               "build and another in turns and fails where this one is slower: that is the one to\n"
               "trust on a noisy machine.",
    .options = option_names,
    .least_arguments = 0,
    .most_arguments = 3,
    .run = run,
    .defaults = defaults,
};
