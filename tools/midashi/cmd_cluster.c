/* midashi cluster: k-means over embeddings, from one .npy or several parts. */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host/base/amount.h"
#include "host/base/cuda_device.h"
#include "host/base/interrupt.h"
#include "host/embedding_parts.h"
#include "host/kmeans.h"
#include "host/representation.h"
#include "host/row_chunks.h"
#include "host/topic_count.h"
#include "loaders/npy.h"
#include "tools/midashi/cluster_notes.h"
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
    struct embedding_parts parts;
    struct row_chunks rows;
    struct transform transform;
    float *initial;  /* (k, d), or NULL */
    float *centres;  /* (k, d) */
    int32_t *labels; /* of all rows, -1 for a blank one */
    int k;
    struct topic_count count; /* with --topics auto */
    struct kmeans_result result;
    struct {
        int least, median, largest, n_empty; /* of an even number the lower median */
    } sizes;
    double last_report, seeding_seconds, seconds; /* of k-means; of its first seeding */
    double choosing_seconds;                      /* --topics auto */
    struct arena arena;
};

static enum status report(void *context, const struct kmeans_state *state, struct err *err)
{
    struct job *job = context;
    double now = seconds_now();
    if (state->restart == 0 && state->iteration == 0)
        job->seeding_seconds += now - job->last_report;
    job->last_report = now;
    TRY(interrupt_check(err));
    kmeans_status(&job->meter, state, job->options->restarts);
    return STATUS_OK;
}

/* The centres of --init, which say how many topics there are where --topics does not. */
static enum status read_initial(struct job *job, struct kmeans_settings *settings, struct err *err)
{
    const char *path = job->options->init;
    struct embedding_parts parts;
    TRY(embedding_parts_measure(&parts, &path, 1, err));
    if (parts.width != job->parts.width)
        return err_set(err, STATUS_BAD_DATA, "%s: centres of %d numbers, but the rows have %d",
                       path, parts.width, job->parts.width);
    if (parts.n_rows == 0)
        return err_set(err, STATUS_BAD_DATA, "%s: no centres", path);
    if (job->options->topics_given && settings->k == 0)
        return err_set(err, STATUS_USAGE, "--topics auto: --init %s has %zu centres; leave one out",
                       path, parts.n_rows);
    if (job->options->topics_given && (size_t)settings->k != parts.n_rows)
        return err_set(err, STATUS_USAGE, "--topics %d: --init %s has %zu centres; leave one out",
                       settings->k, path, parts.n_rows);
    settings->k = (int)parts.n_rows;
    job->initial = arena_alloc(&job->arena, parts.n_rows * (size_t)parts.width, sizeof(float));
    if (!job->initial)
        return err_no_memory(err, "the centres", parts.n_rows * (size_t)parts.width * 4);
    return embedding_parts_read(&parts, job->initial, err);
}

/* What --memory leaves for the rows. On a GPU it is what k-means takes there, and the host has rows
 * in what is free. */
static enum status memory_for_rows(struct job *job, struct kmeans_settings *settings, size_t *bytes,
                                   struct err *err)
{
    bool gpu = job->device.kind == DEVICE_CUDA;
    const char *word = job->options->memory;
    struct device cpu = device_cpu(&job->device);
    int n_centres = settings->k > 0 ? settings->k : TOPIC_COUNT_LARGEST;
    size_t own = kmeans_bytes((int)job->parts.n_rows, job->parts.width, n_centres);
    own += (size_t)n_centres * (size_t)job->parts.width * sizeof *job->centres +
           job->parts.n_rows * sizeof *job->labels;
    if (gpu)
        TRY(parse_memory(&settings->gpu_memory, word, &job->device, err));
    TRY(parse_memory(bytes, gpu ? "auto" : word, &cpu, err));
    *bytes = *bytes > own ? *bytes - own : 0;
    return STATUS_OK;
}

static enum status open_rows(struct job *job, struct kmeans_settings *settings, struct err *err)
{
    const struct options *o = job->options;
    struct row_chunks *rows = &job->rows;
    size_t memory, row_bytes = (size_t)job->parts.width * sizeof(float);
    TRY(memory_for_rows(job, settings, &memory, err));
    meter_status(&job->meter, "cluster: reading %zu rows", job->parts.n_rows);
    TRY(row_chunks_open(rows, &job->device, &job->parts, memory, err));
    size_t n_blank = row_chunks_all(rows) - (size_t)rows->n;
    if (n_blank > 0)
        meter_note(&job->meter, "%zu row%s zero (blank texts): label -1", n_blank,
                   n_blank == 1 ? " is" : "s are");
    if (rows->n == 0)
        return err_set(err, STATUS_BAD_DATA, "%s: no rows to cluster%s", o->arguments[0],
                       n_blank > 0 ? ": all are zero" : "");
    if (settings->k > rows->n && o->init)
        return err_set(err, STATUS_USAGE, "--init %s has %d centres: there are %d rows", o->init,
                       settings->k, rows->n);
    if (settings->k > rows->n)
        return err_set(err, STATUS_USAGE, "--topics %d%s: there are %d rows; ask for fewer",
                       settings->k, o->topics_given ? "" : " (the default)", rows->n);
    struct amount bytes = amount_of((size_t)rows->n * row_bytes);
    if (!rows->owned && job->device.kind == DEVICE_CUDA)
        meter_note(&job->meter,
                   "the rows take %s, more than is free: where the GPU cannot hold them either, "
                   "they are read anew for each pass over them",
                   bytes.text);
    else if (!rows->owned)
        meter_note(&job->meter,
                   "the rows take %s, more than --memory %s leaves for them: they are read "
                   "anew for each iteration",
                   bytes.text, o->memory);
    TRY(transform_fit(&job->transform, job->normalise, job->remove_components, rows, &job->arena,
                      err));
    row_chunks_transform(rows, &job->transform);
    if (settings->k == 0) {
        struct progress progress = meter_progress(&job->meter);
        double start = seconds_now();
        TRY(topic_count_choose(&job->count, rows, settings, &progress, err));
        settings->k = job->count.chosen;
        job->choosing_seconds = seconds_now() - start;
        note_doubt(&job->meter, &job->count);
    }
    return STATUS_OK;
}

static int by_size(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static enum status measure_sizes(struct job *job, struct err *err)
{
    int *sizes = arena_alloc(&job->arena, (size_t)job->k, sizeof *sizes);
    if (!sizes)
        return err_no_memory(err, "the clusters' sizes", (size_t)job->k * sizeof *sizes);
    memset(sizes, 0, (size_t)job->k * sizeof *sizes);
    for (size_t i = 0; i < job->parts.n_rows; i++)
        if (job->labels[i] >= 0)
            sizes[job->labels[i]]++;
    qsort(sizes, (size_t)job->k, sizeof *sizes, by_size);
    job->sizes.least = sizes[0];
    job->sizes.median = sizes[(job->k - 1) / 2];
    job->sizes.largest = sizes[job->k - 1];
    while (job->sizes.n_empty < job->k && sizes[job->sizes.n_empty] == 0)
        job->sizes.n_empty++;
    return STATUS_OK;
}

static enum status cluster(struct job *job, struct err *err)
{
    const struct options *o = job->options;
    struct kmeans_settings settings = options_kmeans(o);
    TRY(embedding_parts_measure(&job->parts, o->arguments, o->n_arguments, err));
    note_order(&job->meter, o->arguments, o->n_arguments);
    if (o->init)
        TRY(read_initial(job, &settings, err));
    TRY(open_rows(job, &settings, err));
    job->k = settings.k;
    size_t k = (size_t)settings.k, d = (size_t)job->rows.d, n = job->parts.n_rows;
    job->centres = arena_alloc(&job->arena, k * d, sizeof *job->centres);
    job->labels = arena_alloc(&job->arena, n, sizeof *job->labels);
    if (!job->centres || !job->labels)
        return err_no_memory(err, "the centres", k * d * 4 + n * 4);
    settings.progress = report;
    settings.progress_context = job;
    job->result = (struct kmeans_result){.centres = job->centres, .labels = job->labels};
    double start = job->last_report = seconds_now();
    TRY(kmeans_fit(&job->result, &job->rows, job->initial, &settings, err));
    job->seconds = seconds_now() - start;
    size_t used = (size_t)job->rows.n;
    for (size_t i = n; i-- > 0;) /* from behind, since labels are spread in place */
        job->labels[i] = row_chunks_is_blank(&job->rows, i) ? -1 : job->labels[--used];
    return measure_sizes(job, err);
}

/* Both files or none. */
static enum status write_result(const struct job *job, struct err *err)
{
    const struct options *o = job->options;
    struct npy_writer centres = {0}, labels = {0};
    enum status status = STATUS_OK;
    if (o->centres)
        status = npy_write_aside(&centres, o->centres, NPY_F32, 2, job->k, job->rows.d,
                                 job->centres, err);
    if (status == STATUS_OK)
        status = npy_write_aside(&labels, o->output, NPY_I32, 1, (int64_t)job->parts.n_rows, 1,
                                 job->labels, err);
    if (status == STATUS_OK && o->centres)
        status = npy_writer_commit(&centres, err);
    if (status == STATUS_OK)
        status = npy_writer_commit(&labels, err);
    npy_writer_discard(&centres);
    npy_writer_discard(&labels);
    return status;
}

static void print_text(const struct job *job)
{
    const struct kmeans_result *result = &job->result;
    topic_count_print(&job->count, stdout);
    printf("%d row%s in %d cluster%s", job->rows.n, job->rows.n == 1 ? "" : "s", job->k,
           job->k == 1 ? "" : "s");
    if (job->k > 1)
        printf(" of %d to %d, median %d", job->sizes.least, job->sizes.largest, job->sizes.median);
    printf("\ninertia %.9g after %d iteration%s", result->inertia, result->iterations,
           result->iterations == 1 ? "" : "s");
    if (job->options->restarts > 1)
        printf(", restart %d of %d", result->restart + 1, job->options->restarts);
    puts(result->converged ? "" : " (not converged; raise --max-iterations)");
}

static void note_result(struct job *job)
{
    const struct options *o = job->options;
    char seconds[32];
    format_duration(seconds, sizeof seconds, job->choosing_seconds + job->seconds);
    note_empty(&job->meter, job->sizes.n_empty, "cluster", "rows");
    meter_note(&job->meter, "%s: labels%s%s%s; %s", o->output, o->centres ? "; " : "",
               o->centres ? o->centres : "", o->centres ? ": centres" : "", seconds);
}

static enum status print_result(const struct job *job, struct err *err)
{
    const struct kmeans_result *result = &job->result;
    if (!job->options->json) {
        print_text(job);
        return STATUS_OK;
    }
    char kernels[DEVICE_KERNELS_SIZE];
    device_kernels(&job->device, kernels);
    json_t *root = json_pack(
        "{s:I, s:I, s:i, s:i, s:{s:i, s:i, s:i, s:i}, s:f, s:i, s:i, s:b, s:f, s:f, s:f, s:f, s:f, "
        "s:b, s:s}",
        "rows", (json_int_t)job->parts.n_rows, "blank",
        (json_int_t)(job->parts.n_rows - (size_t)job->rows.n), "width", job->rows.d, "topics",
        job->k, "sizes", "least", job->sizes.least, "median", job->sizes.median, "largest",
        job->sizes.largest, "empty", job->sizes.n_empty, "inertia", result->inertia, "restart",
        result->restart + 1, "iterations", result->iterations, "converged", result->converged,
        "choosing_seconds", job->choosing_seconds, "seconds", job->seconds, "seeding_seconds",
        job->seeding_seconds, "compared", result->n_compared / result->n_assigned, "rechecked",
        result->n_rechecked / result->n_assigned, "streamed", result->streamed, "kernels", kernels);
    bool whole = root != NULL;
    if (whole && job->count.n_tried > 0)
        whole = json_object_set_new(root, "silhouette", topic_count_json(&job->count)) == 0;
    if (whole && job->device.cuda)
        whole =
            json_object_set_new(root, "gpu_peak_bytes",
                                json_integer((json_int_t)job->device.cuda->allocated.most)) == 0;
    if (!whole) {
        json_decref(root);
        root = NULL;
    }
    return print_json(root, err);
}

static enum status run_job(struct job *job, struct err *err)
{
    const struct options *o = job->options;
    if (!o->output)
        return err_set(err, STATUS_USAGE, "where to? give --output LABELS.npy");
    if (o->init && o->restarts > 1)
        return err_set(err, STATUS_USAGE, "--restarts %d: --init starts once; leave one out",
                       o->restarts);
    if (o->centres)
        TRY(check_file(o->centres, "--centres", err));
    if (o->centres)
        TRY(check_apart(o->centres, "--centres", o->output, err));
    for (int i = 0; i < o->n_arguments; i++) {
        TRY(check_apart(o->output, "--output", o->arguments[i], err));
        if (o->centres)
            TRY(check_apart(o->centres, "--centres", o->arguments[i], err));
    }
    if (o->init)
        TRY(check_apart(o->output, "--output", o->init, err));
    TRY(check_labels_file(o->output, "--output", err));
    if (o->normalise && strcmp(o->normalise, "auto") != 0)
        TRY(normalise_parse(&job->normalise, o->normalise, err));
    if (o->remove_components && strcmp(o->remove_components, "auto") != 0)
        TRY(remove_components_parse(&job->remove_components, o->remove_components, err));
    TRY(open_device(&job->device, o, &job->meter, err));
    TRY(cluster(job, err));
    meter_clear(&job->meter); /* an iteration that is over */
    TRY(write_result(job, err));
    note_result(job);
    return print_result(job, err);
}

static enum status run(const struct options *options, struct err *err)
{
    struct job job = {.options = options, .normalise = NORMALISE_NONE};
    meter_open(&job.meter, options->quiet);
    enum status status = run_job(&job, err);
    meter_close(&job.meter);
    row_chunks_close(&job.rows);
    arena_free(&job.arena);
    device_close(&job.device);
    return status;
}

static const char *const option_names[] = {"#Output",  "--output", "--centres", "#Topics",
                                           "@kmeans",  "--init",   "#Vectors",  "@transform",
                                           "#The run", "--memory", "@common",   NULL};

const struct command command_cluster = {
    .name = "cluster",
    .usage = "E.npy... --topics K|auto --output LABELS.npy [options]",
    .summary = "k-means over embeddings",
    .details =
        "Several files are parts of one array, in order. A row of zeros is a blank text and "
        "gets the label -1. --normalise auto is none here, --remove-components auto is 0: the "
        "numbers are clustered as they are. Rows that do not fit in --memory, of the GPU where one "
        "computes, are read anew for each iteration: slower, with the same bytes. Defaults are "
        "scikit-learn's KMeans's: greedy "
        "k-means++, 1 start, 300 iterations, tolerance 1e-4; but 20 topics, where it has 8.",
    .options = option_names,
    .least_arguments = 1,
    .most_arguments = INT_MAX,
    .run = run,
};
