/* midashi bench: what each operation costs on this machine, beside the machine's own limits. */
#include <string.h>
#include "bench/operations.h"
#include "bench/worker.h"
#include "host/base/interrupt.h"
#include "tools/midashi/bench_compare.h"
#include "tools/midashi/bench_output.h"
#include "tools/midashi/bench_pipeline.h"
#include "tools/midashi/bench_roofline.h"
#include "tools/midashi/commands.h"
#include "tools/midashi/progress.h"

struct job {
    const struct options *options;
    struct meter meter;
    struct bench_output output;
    struct bench_row *rows;
    int n_rows, n_run, n_wrong;
    const char *pipeline;   /* the pattern of its rows, or NULL for none */
    bool pipeline_left_out; /* on softcuda */
};

static enum status run_row(struct job *job, struct bench_place *place, int i, struct err *err)
{
    struct bench_result result;
    meter_status(&job->meter, "%d of %d: %s", i + 1, job->n_rows, job->rows[i].title);
    TRY(interrupt_check(err));
    enum status status = bench_run_row(&result, &job->rows[i], place, job->options->seconds, err);
    meter_clear(&job->meter);
    if (status == STATUS_OK)
        status = bench_output_row(&job->output, &job->rows[i], place, &result, err);
    json_decref(result.report);
    job->n_run++;
    job->n_wrong += !result.verified;
    return status;
}

/* The rows that this place has. */
static enum status run_place(struct job *job, struct bench_place *place, struct err *err)
{
    int n = 0;
    for (int i = 0; i < job->n_rows; i++) {
        if (!bench_place_has(place, job->rows[i].operation))
            continue;
        if (n++ == 0) {
            TRY(bench_place_measure(place, err));
            TRY(bench_output_place(&job->output, place, err));
        }
        TRY(run_row(job, place, i, err));
    }
    return STATUS_OK;
}

/* Its steps are timed, and softcuda has nothing to time. */
static enum status run_pipeline(struct job *job, struct bench_place *place, struct err *err)
{
    struct stage stages[STAGES_LARGEST];
    int n_stages;
    if (!job->pipeline || !bench_pipeline_has(place, job->pipeline))
        return STATUS_OK;
    /* With --device auto a precision that GPUs do not have is the CPU's alone. */
    if (place->device.kind == DEVICE_CUDA && strcmp(job->options->device, "auto") == 0 &&
        strcmp(job->options->precision, "f32") == 0)
        return STATUS_OK;
    if (place->software) {
        job->pipeline_left_out = true;
        return STATUS_OK;
    }
    enum status status =
        bench_pipeline(stages, &n_stages, place, job->pipeline, job->options, &job->meter, err);
    meter_clear(&job->meter);
    job->n_run += n_stages;
    return status == STATUS_OK ? bench_output_stages(&job->output, job->options->model, place,
                                                     stages, n_stages, err)
                               : status;
}

typedef enum status run_part(struct job *job, struct bench_place *place, struct err *err);

/* optional: nothing is run where there is no such device. */
static enum status run_device(struct job *job, const char *name, int threads, bool optional,
                              run_part *run, struct err *err)
{
    struct bench_place place;
    enum status status = bench_place_open(&place, name, threads, err);
    if (status == STATUS_OK)
        status = run(job, &place, err);
    else if (optional)
        status = STATUS_OK;
    bench_place_close(&place);
    return status;
}

/* --device auto is the CPU, and a GPU where there is one. */
static enum status run_devices(struct job *job, run_part *run, struct err *err)
{
    const struct options *options = job->options;
    const char *name = options->device;
    bool all = strcmp(name, "auto") == 0, cpu = strcmp(name, "cpu") == 0;
    if ((all || cpu) && options->full && options->threads != 1 && run == run_place)
        TRY(run_device(job, "cpu", 1, false, run, err));
    if (all || cpu)
        TRY(run_device(job, "cpu", options->threads, false, run, err));
    return cpu ? STATUS_OK : run_device(job, all ? "cuda" : name, options->threads, all, run, err);
}

static enum status run_all(struct job *job, struct err *err)
{
    static const char left_out[] = "the pipeline's steps are timed, and a software device's times "
                                   "mean nothing";
    TRY(bench_output_open(&job->output, job->options, err));
    TRY(run_devices(job, run_place, err));
    if (job->pipeline)
        TRY(run_devices(job, run_pipeline, err));
    if (job->n_run == 0 && job->pipeline_left_out)
        return err_set(err, STATUS_USAGE, "%s; use a GPU, or --device cpu", left_out);
    if (job->n_run == 0)
        return err_set(err, STATUS_USAGE, "no row that is chosen runs on --device %s",
                       job->options->device);
    if (job->pipeline_left_out)
        meter_note(&job->meter, "%s: left out there", left_out);
    return bench_output_end(&job->output, err);
}

/* Serves the CPU's rows, silently. */
static enum status serve(struct job *job, struct err *err)
{
    struct bench_place place;
    enum status status = bench_place_open(&place, "cpu", job->options->threads, err);
    int n = 0;
    for (int i = 0; i < job->n_rows; i++)
        if (bench_place_has(&place, job->rows[i].operation))
            job->rows[n++] = job->rows[i];
    if (status == STATUS_OK)
        status = worker_serve(job->rows, n, &place.device, stdin, stdout, err);
    bench_place_close(&place);
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
    if (options->worker && strcmp(options->device, "auto") != 0 &&
        strcmp(options->device, "cpu") != 0)
        return err_set(err, STATUS_USAGE, "--worker serves rows of the CPU, not of %s",
                       options->device);
    if (options->shape)
        TRY(shape_parse(&shape, options->shape, err));
    bool pipeline = bench_pipeline_matches(pattern) && !options->shape && !options->worker;
    choice.may_be_empty = pipeline;
    meter_open(&job.meter, options->quiet);
    enum status status = bench_rows(&job.rows, &job.n_rows, bench_operations, &choice, &arena, err);
    if (status == STATUS_OK && job.n_rows == 0 && !options->model)
        status = err_set(err, STATUS_USAGE, "the pipeline's rows need a --model to run");
    job.pipeline = pipeline && options->model ? pattern : NULL;
    if (status == STATUS_OK)
        status = options->worker ? serve(&job, err) : run_all(&job, err);
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

/* What compare, roofline and scaling would leave aside. */
static enum status check_subcommand(const struct options *options, const char *name,
                                    struct err *err)
{
    bool cpu = strcmp(options->device, "auto") == 0 || strcmp(options->device, "cpu") == 0;
    if (options->csv)
        return err_set(err, STATUS_USAGE, "midashi bench %s has no --csv", name);
    if (options->against && !cpu)
        return err_set(err, STATUS_USAGE, "midashi bench %s runs on the CPU only, not on %s", name,
                       options->device);
    return STATUS_OK;
}

static bool is_subcommand(const char *word)
{
    return strcmp(word, "compare") == 0 || strcmp(word, "roofline") == 0 ||
           strcmp(word, "scaling") == 0;
}

static enum status run(const struct options *options, struct err *err)
{
    int n = options->n_arguments;
    const char *first = n ? options->arguments[0] : "",
               *second = n > 1 ? options->arguments[1] : "";
    if (is_subcommand(first))
        TRY(check_subcommand(options, first, err));
    if (strcmp(first, "compare") == 0 && options->against)
        return n > 2 ? too_many(options, "midashi bench compare --against BINARY [PATTERN]", err)
                     : bench_compare_against(options, second, err);
    if (strcmp(first, "compare") == 0)
        return n != 3 ? too_many(options,
                                 "midashi bench compare A.json B.json, or --against BINARY", err)
                      : bench_compare_files(options, second, options->arguments[2], err);
    if (strcmp(first, "roofline") == 0)
        return n != 2 || !options->output
                   ? too_many(options, "midashi bench roofline RUN.json --output FILE.svg", err)
                   : bench_roofline(second, options->output, err);
    if (strcmp(first, "scaling") == 0)
        return n != 1 ? too_many(options, "midashi bench scaling [--model MODEL]", err)
                      : bench_scaling(options, err);
    if (options->output)
        return err_set(err, STATUS_USAGE, "--output goes with midashi bench roofline and scaling");
    if (options->against)
        return err_set(err, STATUS_USAGE, "--against goes with midashi bench compare");
    return n > 1 ? err_set(err, STATUS_USAGE, "midashi bench takes one PATTERN, not %s too", second)
                 : run_bench(options, first, err);
}

static void defaults(struct options *options)
{
    options->tolerance = 0.05;
    options->precision = "nf4";
}

static const char *const option_names[] = {
    "--device",    "--threads",   "--set",    "--shape",  "--full",   "--seconds", "--model",
    "--corpus",    "--precision", "--topics", "--seed",   "--output", "--largest", "--against",
    "--tolerance", "--json",      "--csv",    "--worker", "--quiet",  "--help",    NULL};

const struct command command_bench = {
    .name = "bench",
    .usage = "[PATTERN] | compare | roofline | scaling",
    .summary = "what each operation costs here, beside the machine's own limits",
    .details =
        "A row is held against the float64 reference first, then timed: the median of its runs, "
        "half of the 95 % interval of the median, and the share of the bound that applies, which "
        "is measured between the runs. PATTERN is part of a row's name or shape. --model adds the "
        "steps of the pipeline.\n\n"
        "bench compare A.json B.json joins two runs stored with --json. bench compare --against "
        "BINARY [PATTERN] runs this build and another in turns, and fails where this one is "
        "slower: that is the one to trust on a noisy machine. bench roofline RUN.json --output "
        "FILE.svg draws a stored run. bench scaling [--model MODEL] [--output FILE.svg] runs "
        "k-means and the pipeline at growing sizes.",
    .options = option_names,
    .least_arguments = 0,
    .most_arguments = 3,
    .run = run,
    .defaults = defaults,
};
