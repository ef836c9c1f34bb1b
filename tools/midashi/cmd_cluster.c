/* midashi cluster: k-means over embeddings, from one .npy or several parts. */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "host/base/interrupt.h"
#include "host/embedding_parts.h"
#include "host/kmeans.h"
#include "host/representation.h"
#include "host/transform.h"
#include "loaders/npy.h"
#include "tools/midashi/commands.h"
#include "tools/midashi/output.h"
#include "tools/midashi/progress.h"
#include "tools/midashi/system.h"

struct job {
    const struct options *options;
    struct meter meter;
    struct device device;
    enum transform_normalise normalise;
    int remove_components;
    float *x;    /* (n_used, d): the rows that are not blank */
    bool *blank; /* (n_rows) */
    size_t n_rows, n_used;
    int d;
    float *centres;  /* (k, d) */
    int32_t *labels; /* (n_rows), -1 for a blank row */
    struct kmeans_result result;
    double last_report, seeding_seconds, seconds; /* of k-means; of its first seeding */
    struct arena arena;
};

static bool is_zero(const float *x, int d)
{
    for (int j = 0; j < d; j++)
        if (x[j] != 0)
            return false;
    return true;
}

/* Reads all parts; rows of zeros are blank texts and are left out. */
static enum status read_rows(struct job *job, struct err *err)
{
    struct embedding_parts parts;
    TRY(embedding_parts_measure(&parts, job->options->arguments, job->options->n_arguments, err));
    job->n_rows = parts.n_rows;
    job->d = parts.width;
    size_t d = (size_t)job->d;
    job->x = arena_alloc(&job->arena, job->n_rows * d, sizeof *job->x);
    job->blank = arena_alloc(&job->arena, job->n_rows, sizeof *job->blank);
    if (!job->x || !job->blank)
        return err_no_memory(err, "the embeddings", job->n_rows * d * sizeof *job->x);
    TRY(embedding_parts_read(&parts, job->x, err));
    for (size_t row = 0; row < job->n_rows; row++) {
        const float *x = job->x + row * d;
        job->blank[row] = is_zero(x, job->d);
        if (job->blank[row])
            continue;
        if (job->n_used < row)
            memcpy(job->x + job->n_used * d, x, d * sizeof *x);
        job->n_used++;
    }
    return STATUS_OK;
}

static enum status report_iteration(void *context, int restart, int iteration, double inertia,
                                    struct err *err)
{
    struct job *job = context;
    double now = seconds_now();
    if (restart == 0 && iteration == 0)
        job->seeding_seconds += now - job->last_report;
    job->last_report = now;
    TRY(interrupt_check(err));
    meter_status(&job->meter, "cluster: restart %d of %d, iteration %d, inertia %.6g", restart + 1,
                 job->options->restarts, iteration, inertia);
    return STATUS_OK;
}

static enum status cluster(struct job *job, struct err *err)
{
    const struct options *o = job->options;
    size_t k = (size_t)o->topics, n = job->n_rows;
    if (k > job->n_used)
        return err_set(err, STATUS_USAGE, "--topics %d: there are %zu rows; ask for fewer",
                       o->topics, job->n_used);
    struct transform transform;
    TRY(transform_fit(&job->device, &transform, job->normalise, job->remove_components, job->x,
                      NULL, (int)job->n_used, job->d, &job->arena, err));
    transform_apply(&job->device, &transform, job->x, NULL, (int)job->n_used);
    job->centres = arena_alloc(&job->arena, k * (size_t)job->d, sizeof *job->centres);
    job->labels = arena_alloc(&job->arena, n, sizeof *job->labels);
    if (!job->centres || !job->labels)
        return err_no_memory(err, "the centres", k * (size_t)job->d * 4 + n * 4);
    struct kmeans_settings settings = options_kmeans(o);
    settings.progress = report_iteration;
    settings.progress_context = job;
    job->result = (struct kmeans_result){.centres = job->centres, .labels = job->labels};
    double start = job->last_report = seconds_now();
    TRY(kmeans_fit(&job->device, &job->result, job->x, (int)job->n_used, job->d, NULL, &settings,
                   err));
    job->seconds = seconds_now() - start;
    size_t used = job->n_used;
    for (size_t i = n; i-- > 0;) /* from behind, since labels are spread in place */
        job->labels[i] = job->blank[i] ? -1 : job->labels[--used];
    return STATUS_OK;
}

static enum status print_result(const struct job *job, struct err *err)
{
    const struct kmeans_result *result = &job->result;
    if (!job->options->json) {
        printf("inertia %.9g after %d iterations%s\n", result->inertia, result->iterations,
               result->converged ? "" : " (not converged; raise --max-iterations)");
        return STATUS_OK;
    }
    json_t *root = json_pack(
        "{s:I, s:I, s:i, s:i, s:f, s:i, s:b, s:f, s:f}", "rows", (json_int_t)job->n_rows, "blank",
        (json_int_t)(job->n_rows - job->n_used), "width", job->d, "topics", job->options->topics,
        "inertia", result->inertia, "iterations", result->iterations, "converged",
        result->converged, "seconds", job->seconds, "seeding_seconds", job->seeding_seconds);
    return print_json(root, err);
}

static enum status run_job(struct job *job, struct err *err)
{
    const struct options *o = job->options;
    if (!o->output)
        return err_set(err, STATUS_USAGE, "where to? give --output LABELS.npy");
    if (o->centres)
        TRY(check_apart(o->centres, "--centres", o->output, err));
    for (int i = 0; i < o->n_arguments; i++) {
        TRY(check_apart(o->output, "--output", o->arguments[i], err));
        if (o->centres)
            TRY(check_apart(o->centres, "--centres", o->arguments[i], err));
    }
    if (o->normalise && strcmp(o->normalise, "auto") != 0)
        TRY(normalise_parse(&job->normalise, o->normalise, err));
    if (o->remove_components && strcmp(o->remove_components, "auto") != 0)
        TRY(remove_components_parse(&job->remove_components, o->remove_components, err));
    TRY(open_cpu_device(&job->device, o, err));
    TRY(read_rows(job, err));
    if (job->n_used < job->n_rows)
        meter_note(&job->meter, "%zu row%s zero (blank texts): label -1", job->n_rows - job->n_used,
                   job->n_rows - job->n_used == 1 ? " is" : "s are");
    TRY(cluster(job, err));
    meter_close(&job->meter);
    if (o->centres)
        TRY(npy_write(o->centres, NPY_F32, 2, o->topics, job->d, job->centres, err));
    TRY(npy_write(o->output, NPY_I32, 1, (int64_t)job->n_rows, 1, job->labels, err));
    return print_result(job, err);
}

static enum status run(const struct options *options, struct err *err)
{
    struct job job = {.options = options, .normalise = NORMALISE_NONE};
    meter_open(&job.meter, options->quiet);
    enum status status = run_job(&job, err);
    meter_close(&job.meter);
    arena_free(&job.arena);
    device_close(&job.device);
    return status;
}

static const char *const option_names[] = {"--output",   "@kmeans", "--centres",
                                           "@transform", "@common", NULL};

const struct command command_cluster = {
    .name = "cluster",
    .usage = "E.npy... --topics K --output LABELS.npy [options]",
    .summary = "k-means over embeddings",
    .details =
        "Several files are parts of one array, in order. A row of zeros is a blank text and "
        "gets the label -1. --normalise auto is none here, --remove-components auto is 0: the "
        "numbers are clustered as they are.",
    .options = option_names,
    .least_arguments = 1,
    .most_arguments = INT_MAX,
    .run = run,
};
